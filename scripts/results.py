"""Fill a page from the results.json files that lie beside it, tables and pictures: every number there is a run's."""

import argparse
import re
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its `collect.py` would hide the package

from collect.commands.output import print_anything
from collect.figures import png
from collect.files import replace
from evaluate import joint, pictures, report, tables, words
from evaluate.joining import is_joint, read
from evaluate.verdicts import warns
from nowcast.types import UserError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results.md"
BEGINNING, END = r"<!-- results: (\S+) -->\n", r"<!-- end -->"
PLACE = re.compile(f"({BEGINNING}).*?({END})", re.DOTALL)


def filled(text: str, folder: Path) -> str:
    """The page with what stands between ``<!-- results: NAME -->`` and ``<!-- end -->`` made anew from ``folder/NAME``."""
    ends = len(re.findall(END, text))
    if not len(PLACE.findall(text)) == len(re.findall(BEGINNING, text)) == ends:
        raise UserError(
            f"{folder.name}.md: each <!-- results: NAME --> needs an {END} of its own, and here is one without the other"
        )
    return PLACE.sub(lambda place: place[1] + "\n".join(block(folder, place[2])) + place[3], text)


def block(folder: Path, name: str) -> list[str]:
    """What a page says of ``folder/NAME/results.json``, or of those of the tasks below it jointly; the pictures and ``report.md`` there are made anew."""
    place = folder / name
    tasks = sorted(file.parent for file in place.glob("*/results.json"))
    if tasks and (place / "results.json").exists() and not is_joint(place):
        raise UserError(f"{str(place)!r} holds a results.json and folders of tasks ({tasks[0].name}, …); keep either")
    if tasks:
        joined = joint.join([read(task) for task in tasks])
        drawn, text = {"forest": joint.picture(joined)}, joint.markdown(joined)
        settings = [f"- {task['setting']}" for task in joined["tasks"]]
        said = [*settings, *joint.ratios(joined, without=["seconds_speed_up"])]
        warnings = joined["warnings"]
        made_by = words.made_by([task["command"] for task in joined["tasks"]])
    else:
        results = read(place)
        drawn, text = pictures.drawn(results), report.markdown(results)
        said = [words.setting(results), "", tables.markdown(tables.digest(results))]
        warnings = [line for line in results["verdicts"] if warns(line)]
        made_by = words.made_by(results["commands"][-1:])
    for kind, figure in drawn.items():
        replace(place / f"{kind}.png", png(figure))
    replace(place / "report.md", text)
    shown, *others = (f"{folder.name}/{name}/{kind}.png" for kind in drawn)
    links = f"[All tables and words]({folder.name}/{name}/report.md)" + "".join(
        f", [curves]({link})" for link in others
    )
    warned = [*(f"- {line}" for line in warnings), ""] if warnings else []
    return [*said, "", *warned, f"![{name}]({shown})", "", f"{links}.", *made_by, ""]


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "page", nargs="?", type=Path, default=PAGE, help="a Markdown page; its results lie in a folder of its name"
    )
    page = parser.parse_args().page
    try:
        replace(page, filled(page.read_text(encoding="utf-8"), page.with_suffix("")))
    except (OSError, UnicodeDecodeError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"tables: {page}")


if __name__ == "__main__":
    main()
