"""What a reader sees of the intervals in a report: the numbers, the sign before them, and bold."""

import re

from pages import Page

INTERVAL = re.compile(r"(≈?)([≥≤~] )?([-+]?[\d.]+)(×?) \[([-+]?[\d.]+), ([-+]?[\d.]+)\]")


def in_markdown(text):
    """``(cell, whether it is bold)`` of every cell of every table."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [(cell, "**" in cell) for row in rows for cell in row.split("|")]


def in_html(text):
    page = Page(text)
    return [(cell, cell in page.bold) for cell in page.cells]


def checked(cells):
    """The signs and the boldness of the cells with an interval, each of them as it must be: bold if
    and only if the printed interval excludes the value of equal runs, which no sign before it
    undoes; and the printed value lies in it.
    """
    found = []
    for cell, bold in cells:
        if not (read := INTERVAL.search(cell)):
            continue
        shared, bound, value, ratio, low, high = read.groups(default="")
        ends, equal = (float(low), float(high)), 1.0 if ratio else 0.0
        assert ends[0] <= float(value) <= ends[1], cell
        undone = shared or bound == "~ " or bound == ("≤ " if ends[0] > equal else "≥ ")
        assert bold == ((ends[0] > equal or ends[1] < equal) and not undone), cell
        found.append((shared or bound, bold))
    return found
