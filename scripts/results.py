"""Fill the tables of a page from the results.json files that lie beside it: every number there is a run's."""

import argparse
import re
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its `collect.py` would hide the package

from collect.joint_report import read
from nowcast.evaluation import report, tables
from nowcast.paths import replace
from nowcast.types import UserError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results.md"
PLACE = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, folder: Path) -> str:
    """The page with what stands between ``<!-- results: NAME -->`` and ``<!-- end -->`` made anew from ``folder/NAME/results.json``."""

    def one(place: re.Match[str]) -> str:
        results = read(folder / place[2])
        lines = [report.setting(results), "", tables.markdown(tables.digest(results)), *report.made_by(results), ""]
        return place[1] + "\n".join(lines) + place[3]

    return PLACE.sub(one, text)


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
