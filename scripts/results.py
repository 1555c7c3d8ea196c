"""Fill a folder's pages from the results.json files that lie beside them, tables and pictures:
every number there is a run's.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

# Not this folder: its `collect.py` would hide the package.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collect.commands.output import print_anything
from collect.figures import png
from collect.files import replace
from evaluate import joint, joint_report, pictures, report, sentences, tables, words
from evaluate.joining import is_joint, read
from nowcast.types import UserError

PAGES = Path(__file__).resolve().parent.parent / "docs" / "results"
BEGINNING, END = r"<!-- results: (\S+) -->\n", r"<!-- end -->"
PLACE = re.compile(f"({BEGINNING}).*?({END})", re.DOTALL)


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
    """A page's text, with what stands between ``<!-- results: NAME -->`` and ``<!-- end -->`` made
    anew from ``folder/NAME``.
    """
    return PLACE.sub(lambda place: place[1] + "\n".join(block(folder / place[2])) + place[3], text)


def block(place: Path) -> list[str]:
    """What a page says of a folder's results.json, or of those of the tasks below it jointly; the
    pictures and ``report.md`` there are made anew.
    """
    tasks = sorted(file.parent for file in place.glob("*/results.json"))
    if tasks and (place / "results.json").exists() and not is_joint(place):
        raise UserError(
            f"{str(place)!r} holds a results.json and folders of tasks ({tasks[0].name}, …); keep"
            " either"
        )
    if tasks:
        joined = joint.join([read(task) for task in tasks])
        drawn, text = {"forest": joint_report.picture(joined)}, joint_report.markdown(joined)
        settings = [f"- {task['setting']}" for task in joined["tasks"]]
        shown = [*settings, *joint_report.ratios(joined, without=["seconds_speed_up"])]
        warnings = joined["warnings"]
        made_by = words.commands_as_markdown([task["command"] for task in joined["tasks"]])
    else:
        results = read(place)
        drawn, text = pictures.drawn(results), report.markdown(results)
        own = report.own_table(results)
        table = own[1] if own else tables.digest(results)
        shown = [words.setting(results), "", tables.markdown(table)]
        shown[1:1] = ["", own[0]] if own else []
        warnings = [line.text for line in sentences.lines(results) if line.caution]
        made_by = words.commands_as_markdown(results["commands"][-1:])
    for kind, figure in drawn.items():
        replace(place / f"{kind}.png", png(figure))
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
