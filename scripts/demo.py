"""The whole pipeline on real data, small: collect → meta_train → evaluate, through the commands a
user would type.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

# Not this folder: its `collect.py` would hide the package.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collect.commands.output import print_anything

ROOT = Path(__file__).resolve().parent.parent
COLLECTED = ("mlp", "lenet model.width=0.5", "vanilla_cnn")
BASES = ("constant", "cosine")


class Size(NamedTuple):
    """How much of everything, and how long each step takes on 2 idle cores, in seconds."""

    suffix: str
    """Of the folders."""
    collected: tuple[str, ...]
    """Architectures of the corpus."""
    runs: int
    epochs: int
    steps: int
    arms: tuple[str, ...]
    """What is trained over both bases, beside the bases themselves."""
    model: str
    """The architecture of the comparison, which is in no corpus."""
    seeds: int
    comparison: str
    """The rest of the comparison's keys."""
    seconds: tuple[int, int, int]
    """Of collecting one architecture, of meta-training, of comparing."""


RESNET = "resnet20 model.depth=8 model.width=0.5"
LONG = (
    "epochs=64 record_every=4 target_share=0.5 tuned.learning_rates=[0.003,0.01,0.03]"
    " tuned.warmups=[0]"
)
SIZES = {
    "fast": Size(
        "-fast",
        COLLECTED[:1],
        4,
        12,
        40,
        ("nowcast",),
        "lenet model.width=0.5",
        2,
        "epochs=12 tuned.seeds=1 tuned.learning_rates=[0.003,0.01] tuned.warmups=[0]",
        (12, 15, 40),
    ),
    "usual": Size(
        "",
        COLLECTED,
        4,
        24,
        1200,
        ("nowcast",),
        RESNET,
        5,
        f"{LONG} tuned.seeds=3",
        (22, 33, 140),
    ),
    "full": Size(
        "-full",
        COLLECTED,
        10,
        30,
        3000,
        ("linear", "nowcast", "wnn", "gram_guarded"),
        RESNET,
        20,
        f"{LONG} tuned.seeds=5",
        (30, 60, 300),
    ),
}
"""The WNN of the demo itself (``nowcast``) beside the linear fit, the shipped WNN, and the shipped
``gram`` with a guard.
"""


class Step(NamedTuple):
    """One command of the demo."""

    words: str
    command: str
    seconds: int


def steps(size: Size) -> list[Step]:
    """The demo's commands; the comparison trains an architecture that the corpus does not hold."""
    corpus, bundle, report = (
        f"{folder}/demo{size.suffix}" for folder in ("corpora", "bundles", "reports")
    )
    arms = ",".join(f"{base}_{arm}" if arm else base for base in BASES for arm in ("", *size.arms))
    collect, fit, compare = size.seconds
    return [
        *(
            Step(
                f"collect: train {size.runs} runs of {model.split()[0]} on handwritten digits, and"
                " record every weight",
                f"python scripts/collect.py model={model} data=digits batch_size=256"
                f" runs={size.runs} epochs={size.epochs} vary.learning_rate=[0.001,0.03]"
                f" vary.schedule=[constant,cosine] corpus={corpus}",
                collect,
            )
            for model in size.collected
        ),
        Step(
            "meta-train: fit a WNN to those trajectories",
            f"python scripts/meta_train.py corpus={corpus} forecaster=wnn steps={size.steps}"
            f" bundle={bundle}",
            fit,
        ),
        Step(
            f"compare: train a small {size.model.split()[0]} with and without nowcasting,"
            f" {2 * (len(size.arms) + 1)} ways × {size.seeds} seeds",
            f"python scripts/evaluate.py forecaster={bundle} model={size.model} data=digits "
            f"batch_size=512 seeds={size.seeds} {size.comparison} arm=[{arms}] report={report}",
            compare,
        ),
    ]


def duration(seconds: float) -> str:
    """In words, not more exactly than is known."""
    return f"{max(5, round(seconds / 5) * 5)} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--fast", action="store_true", help="about a minute, and numbers that mean nothing"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="more runs, seeds and arms: what docs/results/tuned_bases.md shows of it",
    )
    given = parser.parse_args()
    todo = steps(size := SIZES["fast" if given.fast else "full" if given.full else "usual"])
    expected = sum(step.seconds for step in todo)
    print(f"demo: {len(todo)} steps, about {duration(expected)} on 2 idle cores; Ctrl-C stops it")
    for number, step in enumerate(todo, start=1):
        print(f"  {number}. {step.words} (about {duration(step.seconds)})")
    # An older demo's may be of other commands or another version.
    for folder in (
        "corpora",
        "bundles",
        "reports",
    ):
        shutil.rmtree(ROOT / folder / f"demo{size.suffix}", ignore_errors=True)
    begun, done = time.monotonic(), 0
    for number, step in enumerate(todo, start=1):
        # Of this machine, as far as it is known.
        pace = (time.monotonic() - begun) / done if done else 1.0
        left = duration(pace * (expected - done))
        print(
            f"\n[{number}/{len(todo)}, about {left} left] {step.words}\n$ {step.command}",
            flush=True,
        )
        run(step.command)
        done += step.seconds
    print(f"\ndemo: done in {time.monotonic() - begun:.0f} s")


def run(command: str) -> None:
    """Run a command, and end with it if it fails."""
    _, *arguments = shlex.split(command)
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the command got it too, and stops in good order
            code = process.wait() or 130
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
