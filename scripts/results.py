"""Fill a page from the results.json files that lie beside it, tables and pictures: every number there is a run's."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its `collect.py` would hide the package

from collect.joint_report import read
from nowcast.evaluation import joint, pictures, report, tables
from nowcast.paths import replace
from nowcast.types import UserError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results.md"
PLACE = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, folder: Path) -> str:
    """The page with what stands between ``<!-- results: NAME -->`` and ``<!-- end -->`` made anew from ``folder/NAME``."""

    def one(place: re.Match[str]) -> str:
        name = place[2]
        links = [
            f"![{name}]({folder.name}/{name}/curves.png)",
            "",
            f"[All tables and words]({folder.name}/{name}/report.md). Made by",
        ]
        return place[1] + "\n".join(block(folder / name, links)) + place[3]

    return PLACE.sub(one, text)


def block(folder: Path, links: Sequence[str]) -> list[str]:
    """What a page says of ``results.json`` in a folder, or of those of the tasks below it jointly; its ``curves.png`` and ``report.md`` are made anew."""
    tasks = sorted(file.parent for file in folder.glob("*/results.json"))
    if not tasks:
        results = read(folder)
        drawn, text = pictures.curves(results), report.markdown(results)
        said = [report.setting(results), "", tables.markdown(tables.digest(results))]
        made_by = report.made_by(results["commands"][-1:])
    else:
        joined = joint.join([read(task) for task in tasks])
        drawn, text = joint.picture(joined), joint.markdown(joined)
        said = [
            *(f"- {task['setting']}" for task in joined["tasks"]),
            *joint.ratios(joined, ("speed_up", "final_loss_ratio")),
        ]
        made_by = report.made_by([task["command"] for task in joined["tasks"]])
    replace(folder / "curves.png", pictures.png(drawn))
    replace(folder / "report.md", text)
    return [*said, "", *links, *made_by, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "page", nargs="?", type=Path, default=PAGE, help="a Markdown page; its results lie in a folder of its name"
    )
    page = parser.parse_args().page
    try:
        replace(page, filled(page.read_text(), page.with_suffix("")))
    except (OSError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"tables: {page}")


if __name__ == "__main__":
    main()
