"""Inspect a corpus: what it holds, whether it is whole, and pictures of how weights move.

The pictures are those of Sinha et al. (ICLR 2017), figures 1 to 9: the evolution of sampled
weights, and how far weights end from where they began, per operation.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from collect.corpus.layout import DIGESTS, width
from collect.corpus.leaf import scalars
from collect.corpus.opening import Corpus
from collect.corpus.run import Run, trained
from collect.figures import PLAIN, Figure, matplotlib, png
from collect.files import replace
from nowcast.types import OPERATIONS, UserError

BLOCK = 1 << 18
"""Scalars read at once, so that memory stays bounded."""
BINS = 61


def table(corpus: Corpus) -> list[tuple[str, ...]]:
    """A row for each network on its data, and their sum, header first.

    The columns are runs, diverged ones, snapshots, scalars a run, values, and size on disk.
    """
    rows: list[tuple[str, ...]] = [
        ("task", "runs", "diverged", "snapshots", "scalars", "values", "MiB")
    ]
    total = np.zeros(5)
    for task in dict.fromkeys(trained(run.config) for run in corpus):
        runs = [run for run in corpus if trained(run.config) == task]
        snapshots = [run.info["snapshots"] for run in runs]
        widths = [scalars(run.info["leaves"]) for run in runs]
        different = sorted(set(widths))
        values = sum(
            run.snapshots * width(run.info, "weights" if run.band is None else "gram")
            for run in runs
        )
        numbers = [
            len(runs),
            sum(run.status == "diverged" for run in runs),
            sum(snapshots),
            values,
            sum(map(size, runs)),
        ]
        total += numbers
        rows.append(
            (
                task,
                *_text(
                    numbers, "–".join(f"{n:,}" for n in different[:: max(1, len(different) - 1)])
                ),
            )
        )
    return [*rows, ("all", *_text(total.tolist(), ""))]


def _text(numbers: Sequence[float], scalars: str) -> tuple[str, ...]:
    runs, diverged, snapshots, values, bytes_ = numbers
    size = "?" if np.isnan(bytes_) else f"{bytes_ / 2**20:,.1f}"
    return f"{runs:g}", f"{diverged:g}", f"{snapshots:,.0f}", scalars, f"{values:,.0f}", size


def size(run: Run) -> float:
    """Bytes that a run takes; NaN in a store to which it was not copied by scripts/collect.py."""
    if isinstance(run.path, Path):
        return sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
    return run.info.get("bytes", float("nan"))


def verify(run: Run) -> None:
    """Read every array of a run, and compare its snapshots with the recorded hashes.

    Raises:
        UserError: A chunk is damaged or missing, or a snapshot is not what was recorded.
    """
    for name, array in run.arrays.items():
        for snapshot, row in enumerate(run.rows):
            if hashlib.sha256(array[snapshot].tobytes()).hexdigest() != row.get(DIGESTS[name]):
                raise UserError(
                    f"corpus: snapshot {snapshot} of {run.path} is not what was recorded ({name}); "
                    "remove that folder and collect it again"
                )


def evolution(run: Run, *, per_operation: int = 12, seed: int = 0) -> Figure:
    """Draw the values of some random weights over a run, a panel per operation."""
    rng = np.random.default_rng(seed)
    chosen = {}
    for operation, columns in _columns(run):
        place = np.sort(rng.permutation(columns)[:per_operation])
        chosen[operation] = run.weights[:, place]
    figure = _panels(run, len(chosen), "weight")
    time = next(name for name in ("epoch", "step", "snapshot") if name in run.metrics)
    for axes, (operation, values) in zip(figure.axes, chosen.items(), strict=True):
        axes.plot(run.metrics[time], values, lw=1)
        axes.set(title=operation, xlabel=time)
    return figure


def changes(run: Run) -> dict[str, np.ndarray]:
    """|last snapshot − first| of every weight, by operation."""
    return {
        operation: np.concatenate(
            [
                np.abs(run.weights[-1, part] - run.weights[0, part])
                for part in (columns[i : i + BLOCK] for i in range(0, len(columns), BLOCK))
            ]
        )
        for operation, columns in _columns(run)
    }


def histogram(run: Run) -> Figure:
    """Draw how many weights changed by how much over the whole run, a panel per operation.

    Both axes are logarithmic.
    """
    moved = changes(run)
    figure = _panels(run, len(moved), "weights", ": total change")
    for axes, (operation, values) in zip(figure.axes, moved.items(), strict=True):
        positive = values[np.isfinite(values) & (values > 0)]
        if len(positive):
            axes.hist(
                positive, bins=np.geomspace(positive.min(), positive.max() * 1.001, BINS).tolist()
            )
        unmoved = np.mean(values == 0)
        axes.set(
            title=operation + (f" ({unmoved:.0%} never moved)" if unmoved else ""),
            xlabel="|last − first|",
        )
        axes.set(xscale="log", yscale="log")
    return figure


def _panels(run: Run, count: int, label: str, what: str = "") -> Figure:
    """An empty figure about a run, with ``count`` panels side by side."""
    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(3.6 * count, 3.2), layout="constrained")
        figure.subplots(1, count)
        figure.axes[0].set_ylabel(label)
        who = f"seed {run.config['seed']}" if "seed" in run.config else run.id
        figure.suptitle(f"{trained(run.config)}, {who}{what}")
    return figure


def _columns(run: Run) -> Iterator[tuple[str, np.ndarray]]:
    """The columns of every operation that the run has."""
    for operation in OPERATIONS:
        spans = [
            np.arange(leaf.scalars.start, leaf.scalars.stop)
            for leaf in run.leaves
            if leaf.op == operation
        ]
        if spans:
            yield operation, np.concatenate(spans)


def draw(run: Run, folder: Path, *, per_operation: int, seed: int) -> None:
    """Write both pictures of a run to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "evolution": evolution(run, per_operation=per_operation, seed=seed),
        "change": histogram(run),
    }
    for name, figure in figures.items():
        replace(folder / f"{run.id}-{name}.png", png(figure))
