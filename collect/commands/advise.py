"""Say how far a run's learning rate is from its best: corpus or checkpoints → advice."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from collect.commands.cli import command
from collect.commands.inspect_corpus import where
from collect.commands.typed import argument
from collect.corpus_config import AdviseConfig
from nowcast import text
from nowcast.advice import LeafMovement
from nowcast.advice_rules import rate_of
from nowcast.memory import USUAL
from nowcast.paths import check_writable

if TYPE_CHECKING:
    from collect.corpus.advising import Reading

ROWS = 12
"""The most rows in the table over the run."""
NAMED = 10
"""The most leaves that are shown."""


def main(config: AdviseConfig) -> None:
    """Print the advice, how the run moved, and the leaves that differ; draw the picture."""
    from collect.corpus import advising, places  # here: --help needs none of what these import
    from collect.corpus.advice_picture import draw
    from collect.figures import png
    from collect.files import replace

    if config.corpus:
        pictures = where(config.pictures, places.at(config.corpus))
        increments = advising.of_run(config.corpus, config.run)
        then = f"{text.command('inspect_corpus')} {argument('corpus', config.corpus)}"
    else:
        pictures = Path(config.pictures or "advice-pictures")
        check_writable(f"pictures={str(pictures)!r}", pictures)
        increments = advising.of_checkpoints(str(config.checkpoints), config.prefix)
        given = argument("checkpoints", str(config.checkpoints))
        then = f"{text.command('import_checkpoints')} {given} corpus=corpora/mine run=mine"
    advice = advising.advice(increments, config.steps)
    course = advising.course(increments, advice, config.steps)
    print(text.printable(str(advice)))
    for note in increments.notes:
        print(note)
    if increments.every < USUAL:
        print(f"snapshots are {increments.every} steps apart: momentum may look like drift")
    print(*text.align(table(course), left=0), sep="\n")
    if differing := [leaf for leaf in advice.leaves if leaf.differs]:
        print(*text.align(leaves(differing)), sep="\n")
    if pictures is None:
        print("picture: none, for nothing can be written beside the corpus; give pictures=…")
    else:
        pictures.mkdir(parents=True, exist_ok=True)
        file = pictures / f"{increments.name}-advice.png"
        replace(file, png(draw(increments, course)))
        print(f"picture: {file}")
    print(f"next: {then}")


def table(course: "Sequence[Reading]") -> list[tuple[str, ...]]:
    """How a run moved, one row for each of some snapshots, header first."""
    chosen = sorted({round(place) for place in np.linspace(0, len(course) - 1, ROWS)})
    return [
        ("step", "drift", "noise", "best rate / rate", "the rate is"),
        *(
            (
                str(reading.step),
                f"{reading.drift:.2f}",
                f"{reading.noise:.0%}",
                f"{reading.factor.low:.2g} to {reading.factor.high:.2g}",
                rate_of(reading.factor, reading.length),
            )
            for reading in (course[place] for place in chosen)
        ),
    ]


def leaves(differing: Sequence[LeafMovement]) -> list[tuple[str, ...]]:
    """The leaves that move differently from the whole, largest movement first; header first."""
    shown = sorted(differing, key=lambda leaf: -leaf.share)[:NAMED]
    more = len(differing) - len(shown)
    return [
        (
            f"leaves that differ{f' ({more} more)' if more else ''}",
            "operation",
            "drift",
            "noise",
            "of the movement",
        ),
        *(
            (
                leaf.name,
                leaf.operation,
                f"{leaf.drift:.2f}",
                f"{leaf.noise:.0%}",
                f"{leaf.share:.0%}",
            )
            for leaf in shown
        ),
    ]


def start() -> None:
    """Run the command."""
    command("advise", AdviseConfig, main)
