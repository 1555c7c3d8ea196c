"""One run of a corpus, and how its description is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from collect.corpus.json_files import parse, read_json, read_metrics
from collect.corpus.layout import FINISHED, width
from collect.corpus.leaf import Leaf, laid_out, wrong
from collect.corpus.places import Place, Remote
from collect.corpus.trajectory import Trajectory
from nowcast.types import UserError


@dataclass(frozen=True)
class Run:
    """One recorded training: its trajectory, and its description."""

    path: Place
    info: dict[str, Any]

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """Everything that determined the run: model, data, optimizer, seed, schedule, epochs."""
        return self.info["config"]

    @property
    def status(self) -> str:
        """``running`` (or killed), ``complete`` or ``diverged``."""
        return self.info["status"]

    @property
    def folder(self) -> Place:
        """The folder of its arrays and metrics."""
        return self.path / self.info["folder"] if "folder" in self.info else self.path

    @cached_property
    def leaves(self) -> list[Leaf]:
        """Path, shape, operation and columns of every array of parameters."""
        return laid_out(self.info["leaves"])

    @property
    def snapshots(self) -> int:
        """How many snapshots the run has."""
        return self.info["snapshots"]

    @property
    def band(self) -> int | None:
        """How many snapshots back the inner products of a run with ``record=gram`` reach.

        None: the run holds weights.
        """
        return self.info["gram"]["band"] if "gram" in self.info else None

    @cached_property
    def weights(self) -> Trajectory:
        """The weights, ``(S, N)``, read lazily."""
        if self.band is not None:
            raise UserError(
                f"corpus: run {self.path} holds inner products and no weights; collect it without"
                " record=gram"
            )
        return self._trajectory("weights", self.leaves)

    @cached_property
    def gram(self) -> Trajectory:
        """The inner products of a run with ``record=gram``, ``(S, leaves · band)``.

        See :mod:`collect.corpus.gram`.
        """
        if self.band is None:
            raise UserError(
                f"corpus: run {self.path} holds weights and no inner products; collect it with"
                " record=gram"
            )
        return self._trajectory("gram", self.leaves)

    @property
    def arrays(self) -> dict[str, Trajectory]:
        """All arrays that the run holds, by name."""
        names = [
            "weights" if self.band is None else "gram",
            *(["statistics"] if "statistics" in self.info else []),
        ]
        return {name: getattr(self, name) for name in names}

    @cached_property
    def statistics(self) -> Trajectory:
        """BatchNorm's means and variances, ``(S, M)``, with ``leaves`` of their own.

        They are what the run carried besides its weights.
        """
        if "statistics" not in self.info:
            raise UserError(
                f"corpus: run {self.path} was recorded without BatchNorm's statistics; collect it"
                " with batch_stats=true"
            )
        return self._trajectory("statistics", laid_out(self.info["statistics"]["leaves"]))

    def _trajectory(self, name: str, leaves: list[Leaf]) -> Trajectory:
        """One of its arrays, checked against ``run.json``."""
        array = Trajectory(self.folder / name, self.info["snapshots"], leaves)
        if self.status in FINISHED and (
            array.shape[1] != width(self.info, name) or len(array) > array.stored
        ):
            raise UserError(
                f"corpus: {self.path}/run.json does not fit its {name}; remove that folder and"
                " collect it again"
            )
        return array

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; one per snapshot in a finished run."""
        rows = read_metrics(self.folder)
        if self.status in FINISHED and len(rows) != self.info["snapshots"]:
            raise UserError(
                f"corpus: {self.folder}/metrics.jsonl is damaged (line {len(rows) + 1}); remove"
                " that folder and collect it again"
            )
        return rows

    @cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        """Per snapshot: ``step``, ``epoch``, ``train_loss``, and the validation metrics.

        NaN where a snapshot lacks one.
        """
        keys = dict.fromkeys(
            key for row in self.rows for key in row if not key.startswith("sha256")
        )
        return {key: np.array([row.get(key, np.nan) for row in self.rows]) for key in keys}


def trained(config: Mapping[str, Any]) -> str:
    """The name of what a run trained: its task's, with the width of its model where that is not 1.

    The name that is recorded says no width, for earlier collections and reports go on by that name.

    Examples:
        >>> print(trained({"task": "mlp-digits", "model": {"name": "mlp", "width": 0.5}}))
        mlp_w0.5-digits
    """
    name, model = config["task"], config.get("model")
    width = model.get("width", 1) if isinstance(model, Mapping) else 1
    if isinstance(width, bool) or not isinstance(width, int | float) or width == 1:
        return name
    network, hyphen, data = name.partition("-")
    return f"{network}_w{width:g}{hyphen}{data}"


def read_runs(corpus: Path) -> list[Run]:
    """All runs in a corpus's folder, finished or not."""
    return [read_run(file.parent) for file in sorted((corpus / "runs").glob("*/run.json"))]


def read_descriptions(path: Remote, runs: Sequence[str]) -> dict[str, tuple[Place, dict[str, Any]]]:
    """Place and ``run.json`` of the named runs that a store holds."""
    places = [path / "runs" / name for name in runs]
    contents = path.read_all([f"runs/{name}/run.json" for name in runs])
    return {
        place.name: (place, parse(place / "run.json", content))
        for place, content in zip(places, contents, strict=True)
        if content is not None
    }


def read_run(folder: Path) -> Run:
    """Read the run in a folder; refuse one whose description is damaged."""
    run = Run(folder, read_json(folder / "run.json"))
    check_description(run)
    return run


def check_description(run: Run) -> None:
    """Refuse a ``run.json`` that lacks something, or has another form than readers expect."""
    missing = {"config", "status", "leaves", "snapshots", "sha256"} - run.info.keys()
    if missing:
        raise UserError(
            f"corpus: {run.path}/run.json lacks {', '.join(sorted(missing))}; remove that folder"
            " and collect it again"
        )
    if damaged := wrong(run.info):
        raise UserError(
            f"corpus: {run.path}/run.json is damaged ({damaged[0]}); remove that folder and collect"
            " it again"
        )
