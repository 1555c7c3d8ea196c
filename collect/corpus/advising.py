"""Prepare the input of advice: inner products of a run's increments.

They come from a corpus or from checkpoints.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from collect.corpus import checkpoints, gram, places
from collect.corpus.importing import Choice
from collect.corpus.json_files import read_manifest
from collect.corpus.layout import FINISHED
from collect.corpus.leaf import Leaf, laid_out
from collect.corpus.opening import open as open_corpus
from collect.corpus.run import Run, read_run, read_runs
from collect.corpus.series import find
from nowcast.advice import Advice, check_many, of_products
from nowcast.advice_rules import readings
from nowcast.advice_table import Factor
from nowcast.movement import BAND, WINDOW
from nowcast.types import UserError


class Increments(NamedTuple):
    """The inner products of one run's increments."""

    name: str
    each: Float[np.ndarray, "D L 4"]
    """D increments × L leaves × 4 increments back (:func:`nowcast.movement.products`)."""
    steps: list[int]
    """The snapshots' steps, one more than there are increments."""
    leaves: list[Leaf]
    length: int | None
    """Steps of the whole run, if it is finished."""
    notes: list[str]
    """Sentences on what was left out."""

    @property
    def every(self) -> int:
        """Steps between two snapshots."""
        return self.steps[1] - self.steps[0]


class Reading(NamedTuple):
    """The advice from the windows of a run up to one step."""

    step: int
    drift: float
    noise: float
    factor: Factor
    length: float
    """Length of the last increment, as a share of the longest so far."""


def of_run(corpus: str, run: str | None) -> Increments:
    """The increments of a run in a corpus, finished or still being recorded.

    Raises:
        UserError: There is no such run, its inner products reach too few snapshots back, or its
            steps are not evenly spaced.
    """
    found = _run(places.at(corpus), run)
    if found.status not in FINISHED:
        found = Run(found.path, {**found.info, "snapshots": len(found.rows)})
    if found.band is not None and found.band < BAND:
        raise UserError(
            f"corpus: run {found.path} was recorded with band={found.band}, and advice needs "
            f"band={BAND}; collect it with band={BAND} or more"
        )
    steps = [row["step"] for row in found.rows]
    check_many(f"run={found.id}", len(steps))
    length = steps[-1] if found.status in FINISHED else None
    return _even(
        Increments(found.id, gram.increments(found, BAND), steps, found.leaves, length, [])
    )


def of_checkpoints(pattern: str, prefix: str | None) -> Increments:
    """The increments of a series of checkpoints.

    Raises:
        UserError: The checkpoints cannot be read, or are fewer than advice needs.
    """
    series = find(pattern)
    check_many(f"checkpoints={pattern}", len(series.steps))
    first = checkpoints.read(series.paths[0], prefix)
    choice = Choice(first, {})
    arrays = choice.of(series.paths[0], first)
    shapes = {name: array.shape for name, array in arrays.items()}
    leaves = laid_out({"path": n, "shape": shapes[n], "op": choice.labels[n]} for n in arrays)
    snapshots = (choice.of(path, checkpoints.read(path, prefix)) for path in series.paths)
    each = gram.multiplied(map(_flat, snapshots), leaves, BAND)
    left_out = len(choice.left_out)
    notes = [f"arrays left out, as they are no weights: {left_out}"] if left_out else []
    return _even(Increments("checkpoints", each, series.steps, leaves, None, notes))


def advice(increments: Increments, length: int | None) -> Advice:
    """The advice at the end of a run.

    Args:
        increments: The increments of the run.
        length: The steps that the run is to take; None: those of a finished run, else it is not
            known.
    """
    leaves, length = increments.leaves, length or increments.length
    return of_products(
        increments.each,
        [leaf.path for leaf in leaves],
        [leaf.op for leaf in leaves],
        [leaf.columns for leaf in leaves],
        every=increments.every,
        share=length and min(1.0, increments.steps[-1] / length),
    )


def course(increments: Increments, found: Advice, length: int | None) -> list[Reading]:
    """The advice at each snapshot that ends a window."""
    steps, length = increments.steps[WINDOW - 1 :], length or increments.length
    shares = [length and min(1.0, step / length) for step in steps]
    lengths = np.sqrt(increments.each[:, :, 0].sum(axis=1))
    faded = (lengths / np.maximum.accumulate(lengths))[BAND - 1 :]
    read = readings(found.movement, shares)
    each = zip(steps, faded, read, strict=True)
    return [Reading(step, *said, float(part)) for step, part, said in each]


def _run(place: places.Place, name: str | None) -> Run:
    """The run of this name; without a name, the only one."""
    if isinstance(place, places.Path) and (place / "runs").is_dir():
        if (place / "manifest.json").exists():  # a corpus that is begun has none
            read_manifest(place)
        if name is not None and (place / "runs" / name / "run.json").is_file():
            return read_run(place / "runs" / name)
        runs = read_runs(place)
    else:
        runs = open_corpus(place).runs
    there = [run.id for run in runs]
    if name is None and len(runs) == 1:
        return runs[0]
    for run in runs:
        if run.id == name:
            return run
    some = ", ".join(there[:5]) + (", …" if len(there) > 5 else "")
    holds = f"{len(there)} runs: {some}; name one" if there else "no run; collect one"
    said = f"corpus={place} holds" if name is None else f"run={name}: {place} holds"
    raise UserError(f"{said} {holds}")


def _flat(arrays: Mapping[str, np.ndarray]) -> Float[np.ndarray, "N"]:
    return np.concatenate([np.ravel(array).astype(np.float32) for array in arrays.values()])


def _even(found: Increments) -> Increments:
    """Cut the increments off before weights that are not finite, and before an early last snapshot.

    Raises:
        UserError: Other snapshots are not evenly spaced, or too few are left.
    """
    steps, each, notes = found.steps, found.each, list(found.notes)
    apart = np.diff(steps)
    every = Counter(apart.tolist()).most_common(1)[0][0]
    if apart[-1] < every:
        notes.append(f"left out, as it comes early: the last snapshot, of step {steps[-1]}")
        steps, each, apart = steps[:-1], each[:-1], apart[:-1]
    if (apart != every).any():
        odd = int(np.argmax(apart != every))
        raise UserError(
            f"{found.name}: snapshots {steps[odd]} and {steps[odd + 1]} are {apart[odd]} steps "
            f"apart, and most others {every}; give a series that is evenly spaced"
        )
    bad = ~np.isfinite(each[:, :, 0]).all(axis=1)
    if bad.any():
        kept = int(np.argmax(bad))
        notes.append(f"left out, as weights are not finite: all from step {steps[kept + 1]} on")
        steps, each = steps[: kept + 1], each[:kept]
    check_many(found.name, len(steps))
    return found._replace(steps=steps, each=each, notes=notes)
