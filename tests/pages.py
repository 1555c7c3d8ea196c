"""What the tests look at in an HTML page."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """What matters of a page: its tags with attributes, its tables, its words, and whether every
    tag is closed.
    """

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.open, self.words, self.text = [], [], [], [], text
        self.bold = []
        self.feed(text)
        self.close()

    @property
    def cells(self):
        return [cell for table in self.tables for row in table[1:] for cell in row]

    def table(self, *titles):
        """The first one whose header has these titles: its rows, by their first cell."""
        [found, *_] = [table for table in self.tables if set(titles) <= set(table[0])]
        return {row[0]: dict(zip(found[0], row, strict=True)) for row in found[1:]}

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] == "b":
            self.bold.append(data)

    def check(self):
        """Well-formed, and on its own: nothing is loaded, every reference has its one target."""
        assert self.open == []
        assert {"h1", "table", "svg", "pre", "title"} <= {tag for tag, _ in self.tags}
        assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in self.tags}
        for tag, attributes in self.tags:
            for key in ("src", "href", "xlink:href", "data", "action"):
                assert attributes.get(key, "#").startswith("#"), (tag, attributes)
        assert "@import" not in self.text
        assert "url(http" not in self.text
        ids = re.findall(r'\bid="([^"]*)"', self.text)
        assert len(ids) == len(set(ids)) > 20
        assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', self.text)) <= set(ids)
