"""Fill a folder's pages from the results.json files that lie beside them: tables, pictures and
quoted figures.
"""

import argparse
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

# Not this folder: its `collect.py` would hide the package.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collect.commands.output import print_anything
from collect.figures import png
from collect.files import replace
from evaluate import joint, joint_report, pictures, report, sentences, tables, words
from evaluate.cells import marked
from evaluate.joining import is_joint, read
from evaluate.quoted import figure
from nowcast.types import UserError

PAGES = Path(__file__).resolve().parent.parent / "docs" / "results"
BEGINNING, END = r"<!-- results: (\S+) -->\n", r"<!-- end -->"
PLACE = re.compile(f"({BEGINNING}).*?({END})", re.DOTALL)
FIGURE = re.compile(r"(<!-- figure: (\S+) (\S+) (\S+) -->)[^|\n]*?(<!-- / -->)")


def pages(folder: Path) -> dict[Path, str]:
    """The text of every page of a folder, in which each folder of results has one place, on one
    page.
    """
    texts = {page: page.read_text(encoding="utf-8") for page in sorted(folder.glob("*.md"))}
    if not texts:
        raise UserError(f"{str(folder)!r} has no page: give a folder of Markdown files")
    for page, text in texts.items():
        ends = len(re.findall(END, text))
        if not len(PLACE.findall(text)) == len(re.findall(BEGINNING, text)) == ends:
            raise UserError(
                f"{page.name}: each <!-- results: NAME --> needs an {END} of its own, and here is"
                " one without the other"
            )
    places = Counter(name for text in texts.values() for name in re.findall(BEGINNING, text))
    kept = {file.relative_to(folder).parts[0] for file in folder.glob("*/**/results.json")}
    for name in sorted(kept | places.keys()):
        if places[name] != 1:
            raise UserError(
                f"{folder}: {places[name]} places have <!-- results: {name} -->; keep one, on one"
                " page"
            )
    return texts


def filled(text: str, folder: Path) -> str:
    """A page's text, made anew from ``folder/NAME`` where it has one of these:

    - ``<!-- results: NAME -->`` to ``<!-- end -->``: what :func:`block` makes;
    - ``<!-- figure: NAME ARM KIND -->`` to ``<!-- / -->``: :func:`evaluate.quoted.figure`.
    """
    text = PLACE.sub(lambda place: place[1] + "\n".join(block(folder / place[2])) + place[3], text)

    def quoted(place: re.Match[str]) -> str:
        return place[1] + marked(figure(content(folder / place[2]), *place.group(3, 4))) + place[5]

    return FIGURE.sub(quoted, text)


@cache
def content(place: Path) -> dict[str, Any]:
    """The results of a folder, or those of the tasks below it jointly.

    Raises:
        UserError: The folder holds both, or :func:`evaluate.joining.read` refuses it.
    """
    tasks = sorted(file.parent for file in place.glob("*/results.json"))
    if tasks and (place / "results.json").exists() and not is_joint(place):
        raise UserError(
            f"{str(place)!r} holds a results.json and folders of tasks ({tasks[0].name}, …); keep"
            " either"
        )
    return joint.join([read(task) for task in tasks]) if tasks else read(place)


def block(place: Path) -> list[str]:
    """What a page says of a folder's results.json, or of those of the tasks below it jointly; the
    pictures and ``report.md`` there are made anew.
    """
    results = content(place)
    if results["schema"] == joint.JOINT:
        drawn, text = {"forest": joint_report.picture(results)}, joint_report.markdown(results)
        settings = [f"- {task['setting']}" for task in results["tasks"]]
        shown = [*settings, *joint_report.ratios(results, without=["seconds_speed_up"])]
        warnings = results["warnings"]
        made_by = words.commands_as_markdown([task["command"] for task in results["tasks"]])
    else:
        drawn, text = pictures.drawn(results), report.markdown(results)
        own = report.own_table(results)
        table = own[1] if own else tables.digest(results)
        shown = [words.setting(results), "", tables.markdown(table)]
        shown[1:1] = ["", own[0]] if own else []
        warnings = [line.text for line in sentences.lines(results) if line.caution]
        made_by = words.commands_as_markdown(results["commands"][-1:])
    for kind, picture in drawn.items():
        replace(place / f"{kind}.png", png(picture))
    replace(place / "report.md", text)
    first, *others = (f"{place.name}/{kind}.png" for kind in drawn)
    links = f"[All tables and words]({place.name}/report.md)" + "".join(
        f", [curves]({link})" for link in others
    )
    warned = [*(f"- {line}" for line in warnings), ""] if warnings else []
    return [*shown, "", *warned, f"![{place.name}]({first})", "", f"{links}.", *made_by, ""]


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=PAGES,
        help="Markdown pages, and a folder for each of their results",
    )
    folder = parser.parse_args().folder
    try:
        for page, text in pages(folder).items():
            replace(page, filled(text, folder))
            print(f"tables: {page}")
    except (OSError, UnicodeDecodeError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
