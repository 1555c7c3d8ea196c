"""Import a series of checkpoints as a run of a corpus."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from tqdm import tqdm

from collect.corpus import checkpoints as files
from collect.corpus import destination, places
from collect.corpus.given import operation_of
from collect.corpus.recording import record
from collect.corpus.series import find
from nowcast.paths import expanded
from nowcast.types import OPERATIONS, UserError, first_line

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""What PyTorch's normalisation layers save besides their parameters."""


class Imported(NamedTuple):
    """The result of an import."""

    snapshots: int
    every: int
    """Steps between two checkpoints."""
    operations: dict[str, int]
    """How many leaves each operation has."""
    notes: list[str]
    """Sentences on what was converted or left out, and on whether the run diverged."""


class Choice:
    """Which arrays of a checkpoint are recorded, and as which operation.

    Args:
        first: The arrays of the first checkpoint.
        patterns: Operations by patterns of names (``*.bn?.weight``), the first that fits; None for
            what is left out.
    """

    def __init__(self, first: Mapping[str, np.ndarray], patterns: Mapping[str, str | None]):
        self.labels: dict[str, str] = {}
        self.left_out: list[str] = []
        unused = set(patterns)
        for name, array in first.items():
            fits = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
            unused -= set(fits)
            operation = (
                patterns[fits[0]]
                if fits
                else None
                if _is_no_weight(name, array)
                else operation_of(name, array)
            )
            if operation is None:
                self.left_out.append(name)
            elif not _is_float(array):
                raise UserError(
                    f"operations: {fits[0]!r} is {operation}, but {name} holds {array.dtype}: only"
                    " floats are recorded; give null"
                )
            else:
                self.labels[name] = operation
        if unused:
            raise UserError(
                f"operations: no array has a name like {sorted(unused)[0]!r}; there are"
                f" {', '.join(list(first)[:5])}"
            )
        if not self.labels:
            raise UserError(
                "operations: every array is left out; give an operation to those that are weights"
            )
        self._shapes = {name: first[name].shape for name in self.labels}

    def of(self, path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays to record of a checkpoint.

        They must have the names and shapes of those of the first one.
        """
        for name, shape in self._shapes.items():
            if name not in arrays:
                raise UserError(
                    f"checkpoints: {path} lacks {name}, which those before it have; {_APART}"
                )
            if arrays[name].shape != shape:
                raise UserError(
                    f"checkpoints: in {path} {name} has shape {arrays[name].shape}, and {shape}"
                    f" before it; {_APART}"
                )
            if not _is_float(arrays[name]):
                raise UserError(
                    f"checkpoints: in {path} {name} holds {arrays[name].dtype}, and floats before"
                    f" it; {_APART}"
                )
        more = [name for name in arrays if name not in self._shapes and name not in self.left_out]
        if more:
            raise UserError(
                f"checkpoints: {path} has {more[0]}, which those before it lack; {_APART}"
            )
        return {name: arrays[name] for name in self._shapes}


_APART = "import what lies before and behind as two runs, with narrower patterns"


def import_checkpoints(
    checkpoints: str,
    corpus: str,
    *,
    run: str,
    task: str | None = None,
    operations: str | None = None,
    prefix: str | None = None,
    sample: int | None = None,
    kind: str = "weights",
    band: int = 16,
    command: str | None = None,
) -> Imported:
    """Record a series of checkpoints as a run.

    Args:
        checkpoints: A folder of them, or a pattern: ``runs/7/step_*.safetensors``.
        corpus: The corpus's folder or URL.
        run: The run's name in it.
        task: What was trained; None: the run's name without the number behind it.
        operations: A YAML file with ``pattern: operation``; what it leaves open is told by names
            and ranks.
        prefix: The part of a checkpoint that holds the parameters; None: it is found.
        sample: As in :func:`collect.record`.
        kind: ``record`` of :func:`collect.record`.
        band: As in :func:`collect.record`.
        command: The command that does this.

    Raises:
        UserError: Anything wrong with the checkpoints, the file of operations or the corpus; then
            nothing of the run is left behind.

    Arrays stay as they lie in the files: a convolution of PyTorch's keeps its order (out, in,
    height, width). Forecasters work on single weights, or on all of a leaf, whatever their order.
    """
    patterns = _patterns(operations)
    series = find(checkpoints)
    place = places.at(corpus)
    _refuse_known(place, run)
    first = files.read(series.paths[0], prefix)
    choice = Choice(first, patterns)
    kinds: Counter[str] = Counter()
    broken: list[str] = []
    with tqdm(total=len(series.paths), unit="checkpoint", desc=run) as bar:
        recording = record(
            place,
            run=run,
            params=choice.of(series.paths[0], first),
            task=task,
            labels=choice.labels,
            record_every=series.every,
            config={"checkpoints": checkpoints},
            sample=sample,
            record=kind,
            band=band,
            command=command,
        )
        new = isinstance(place, Path) and not place.exists()
        try:
            with recording:
                try:
                    for number, path in enumerate(series.paths):
                        arrays = files.read(path, prefix) if number else first
                        weights = choice.of(path, arrays)
                        kinds.update({str(array.dtype) for array in weights.values()})
                        if not all(map(_is_finite, weights.values())):
                            broken.append(path.name)
                        recording.snapshot(weights, step=series.steps[number])
                        bar.update()
                except BaseException:
                    recording.discard()
                    raise
        except BaseException:
            if new and isinstance(place, Path):
                shutil.rmtree(place, ignore_errors=True)
            raise
    counts = {operation: list(choice.labels.values()).count(operation) for operation in OPERATIONS}
    return Imported(
        len(series.paths),
        series.every,
        {name: count for name, count in counts.items() if count},
        _notes(kinds, len(series.paths), choice, broken, sound=recording.sound),
    )


def _refuse_known(place: places.Place, run: str) -> None:
    into = destination.make(place)
    into.check()
    if run in into.finished([run]):
        raise UserError(
            f"run={run}: {place} holds a run of this name already; choose another name, or remove"
            " that run's folder"
        )


def _notes(
    kinds: Mapping[str, int], total: int, choice: Choice, broken: Sequence[str], *, sound: bool
) -> list[str]:
    """Notes for the user.

    Args:
        kinds: How many of the checkpoints hold weights of each precision.
        total: How many checkpoints there are.
        choice: What was recorded of them.
        broken: The names of checkpoints with weights that are not finite.
        sound: Whether the last one's weights are finite.
    """
    others = [
        kind if count == total else f"{kind} in {count} of {total} checkpoints"
        for kind, count in sorted(kinds.items())
        if kind != "float32"
    ]
    notes = [f"converted to float32: {', '.join(others)}"] if others else []
    if not sound:
        notes.append(
            "diverged: the last checkpoint holds weights that are not finite; the run is marked so"
        )
    elif broken:
        some = ", ".join(broken[:3]) + (", …" if len(broken) > 3 else "")
        notes.append(
            f"not finite: weights of {len(broken)} checkpoints ({some}); no forecaster is fitted to"
            " windows with them"
        )
    if choice.left_out:
        some = ", ".join(choice.left_out[:3]) + (", …" if len(choice.left_out) > 3 else "")
        notes.append(
            f"left out, as they are no weights or operations says so: {len(choice.left_out)} arrays"
            f" ({some})"
        )
    return notes


def _patterns(file: str | None) -> dict[str, str | None]:
    """Read the file of operations."""
    if file is None:
        return {}
    try:
        found: Any = yaml.safe_load(expanded(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"operations={file}: cannot be read ({first_line(error)}); give a YAML file of"
            " 'pattern: operation'"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(pattern, str) for pattern in found):
        raise UserError(
            f"operations={file}: must hold lines of 'pattern: operation', such as"
            " '\"*.bn?.weight\": norm'"
        )
    for pattern, operation in found.items():
        if operation is not None and operation not in OPERATIONS:
            raise UserError(
                f"operations={file}: {operation!r} of {pattern!r} is not an operation: use"
                f" {', '.join(OPERATIONS)}, or null to leave it out"
            )
    return found


def _is_no_weight(name: str, array: np.ndarray) -> bool:
    """Whether an array is left out by default."""
    return not _is_float(array) or name.replace("/", ".").rsplit(".", 1)[-1] in BUFFERS


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array.astype(np.float32)).all())


def _is_float(array: np.ndarray) -> bool:
    import jax

    return bool(jax.dtypes.issubdtype(array.dtype, np.floating))
