"""Record any loop: :func:`record`."""

import operator
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from collect.corpus import destination, places
from collect.corpus.given import arrays_of, free_name, labels_of, number, plain, pure
from collect.corpus.json_files import read_metrics
from collect.corpus.leaf import describe_leaves, sampled
from collect.corpus.recorder import Recorder, holds
from collect.corpus.run import read_run
from nowcast import text
from nowcast.ops import path_name
from nowcast.types import PyTree, UserError, whole

KINDS = ("weights", "gram")
"""The kinds of record of a run."""
BAND = 16


def record(
    corpus: str | places.Place,
    *,
    run: str,
    params: PyTree,
    task: str | None = None,
    labels: PyTree | None = None,
    record_every: int | None = None,
    config: Mapping[str, Any] | None = None,
    sample: int | None = None,
    record: str = "weights",
    band: int = BAND,
    command: str | None = None,
) -> "Recording":
    """A context in which the snapshots of a run are recorded, whatever loop trains it.

    Args:
        corpus: The corpus's folder, made where it is missing, or its URL in a store.
        run: The run's name, unique in the corpus.
        params: The parameters, for their names, shapes and operations: arrays of JAX, NumPy or
            PyTorch, in dicts and lists, in any other pytree, in a flat dict of names
            (``dict(model.named_parameters())``), or a ``flax.nnx`` module.
        task: What is trained, such as ``ppo-pendulum``: runs of one task are alike. Left out: the
            run's name without the number behind it.
        labels: The operation of every leaf; left out: :func:`nowcast.label_ops`, where dots divide
            the names of a flat dict into parts.
        record_every: Steps between two snapshots; left out: the distance of most snapshots.
        config: What else determines the run, as JSON: ``{"seed": 3, "optimizer": "adam"}``.
        sample: Record at most so many scalars of each leaf, the same in every run, for forecasters
            of single weights.
        record: ``weights``, or ``gram``: inner products in their place, for the forecaster
            ``gram``.
        band: With ``record="gram"``, how many increments each is multiplied with; so many snapshots
            are held in memory.
        command: The command that makes the run, for those who want to make it again.

    Raises:
        UserError: Anything wrong with the arguments or the corpus.

    A clean exit declares the run finished. After an exception the run stays unfinished, readers do
    not see it, and the same call goes on after ``last_step``. A snapshot at a step that is already
    recorded is recorded again, and all later ones are removed. A clean exit that adds no
    snapshot finishes the run with those that there are.

    Examples:
        >>> from collect import record
        >>> with record("corpora/mine", run="ppo-3", params=params) as run:  # doctest: +SKIP
        ...     run.snapshot(params, step=0, metrics={"reward": 1.5})
    """
    if not (isinstance(run, str) and re.fullmatch(r"[\w.+=-]*\w[\w.+=-]*", run)):
        raise UserError(
            f"run={run!r}: must be a name of letters, digits and -_.+=, such as run='ppo-3'"
        )
    if record not in KINDS:
        raise UserError(f"record={record!r} is unknown; {text.choice(str(record), list(KINDS))}")
    sample = None if sample is None else whole("sample", sample, "scalars")
    if sample is not None and record == "gram":
        raise UserError(
            f"sample={sample} and record=gram: inner products are of whole leaves; leave one of"
            " them out"
        )
    band = whole("band", band, "snapshots")
    if not (task is None or (isinstance(task, str) and task)):
        raise UserError(f"task={task!r}: must be a text, such as task='ppo-pendulum'")
    every = 0 if record_every is None else whole("record_every", record_every, "steps")
    tree = pure(params)
    arrays = arrays_of(tree)
    described: dict[str, Any] = {
        **plain(config or {}),
        "task": task or re.sub(r"[-_.]?\d+$", "", run) or run,
        "run": run,
        "record_every": every,
        **holds(sample, record, band),
    }
    leaves = sampled(describe_leaves(arrays, labels_of(tree, arrays, labels)), sample)
    return Recording(
        places.at(corpus),
        run,
        config=described,
        leaves=leaves,
        sample=sample,
        band=band if record == "gram" else None,
        command=command,
    )


class Recording:
    """A run that is being recorded; made by :func:`record`."""

    def __init__(
        self,
        place: places.Place,
        run: str,
        *,
        config: dict[str, Any],
        leaves: list[dict[str, Any]],
        **about: Any,
    ):
        self._place, self._run, self._config, self._leaves, self._about = (
            place,
            run,
            config,
            leaves,
            about,
        )
        self._steps: list[int] = []
        self._fresh = True
        self._opened: Recorder | None = None
        self._open = False

    def __enter__(self) -> "Recording":
        self._into = destination.make(self._place)
        self._into.check()
        self._into.__enter__()
        try:
            self._check_known()
            recorder = self._into.recorder(
                self._run, config=self._config, leaves=self._leaves, snapshots=None, **self._about
            )
            recorder.__enter__()
        except BaseException:
            self._into.__exit__()
            raise
        self._opened, self._open, self._fresh = recorder, True, True
        self._steps = [row["step"] for row in read_metrics(recorder.path)]
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            if kind is None and not self.finished and self._steps:
                self._finish()
        finally:
            self._open = False
            self._recorder.__exit__()
            self._into.__exit__()

    @property
    def _recorder(self) -> Recorder:
        if self._opened is None:
            raise _closed(self._run)
        return self._opened

    @property
    def finished(self) -> bool:
        """Whether the corpus holds the run whole; then :meth:`snapshot` does nothing."""
        return self._recorder.finished

    @property
    def last_step(self) -> int | None:
        """The step of the last recorded snapshot, or None."""
        return self._steps[-1] if self._steps else None

    @property
    def sound(self) -> bool:
        """Whether all weights of the last snapshot are finite; otherwise the run diverged."""
        return self._recorder.sound

    def snapshot(
        self, params: PyTree, *, step: int, metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Record the parameters after ``step`` steps, and the metrics measured then.

        Raises:
            UserError: Other leaves than at the beginning, a step that is not behind the last one,
                a metric that is not a number, or a call outside ``with``.
        """
        if not self._open:
            raise _closed(self._run)
        try:
            step = operator.index(step)
        except TypeError:
            raise UserError(f"step={step!r}: must be a whole number of steps, 0 or more") from None
        if step < 0:
            raise UserError(f"step={step}: must be a whole number of steps, 0 or more")
        arrays = arrays_of(pure(params))
        self._check_leaves(arrays)
        row = {
            "step": step,
            **{free_name(name): number(name, value) for name, value in (metrics or {}).items()},
        }
        if self.finished:
            return
        if self._fresh:
            self._fresh = False
            self._steps = [done for done in self._steps if done < step]
            self._recorder.rewind(len(self._steps))
        if self._steps and step <= self._steps[-1]:
            raise UserError(
                f"step={step}: snapshots go forward, and the last one is of step {self._steps[-1]};"
                " give the number of steps taken since the run's start"
            )
        self._recorder.append(len(self._steps), arrays, row, None, checkpoint=False)
        self._recorder.forget(len(self._steps) - 2 * (self._about["band"] or 0))
        self._steps.append(step)

    def discard(self) -> None:
        """Remove what was recorded of the run, unless it is finished."""
        if not self.finished:
            self._recorder.discard()
            self._steps = []

    def _finish(self) -> None:
        if self._fresh:  # reopened, and nothing was left to record
            self._recorder.keep(len(self._steps))
        if not self._config["record_every"]:
            apart = Counter(np.diff(self._steps).tolist()).most_common(1)
            self._recorder.describe(record_every=apart[0][0] if apart else 1)
        self._recorder.finish("complete" if self._recorder.sound else "diverged")

    def _check_known(self) -> None:
        """Refuse a run of this name in the corpus that differs from this run."""
        there = self._into.path / "runs" / self._run
        if not (there / "run.json").exists():
            return
        info = read_run(there).info
        if info["leaves"] != self._leaves:
            raise UserError(
                f"run={self._run!r} is in {self._place} with other parameters; choose another name"
                " for this run"
            )
        without = [
            {key: value for key, value in each.items() if key != "record_every"}
            for each in (info["config"], self._config)
        ]
        if without[0] != without[1]:
            keys = sorted(
                key
                for key in {*without[0], *without[1]}
                if without[0].get(key) != without[1].get(key)
            )
            said = ", ".join(
                f"{key}={without[0].get(key)!r}, now {without[1].get(key)!r}" for key in keys
            )
            raise UserError(
                f"run={self._run!r} is in {self._place} with {said}; choose another name for"
                " this run"
            )

    def _check_leaves(self, arrays: PyTree) -> None:
        now = {
            path_name(path): list(np.shape(leaf))
            for path, leaf in jax.tree.flatten_with_path(arrays)[0]
        }
        then = {leaf["path"]: leaf["shape"] for leaf in self._leaves}
        for name in [*then, *now]:
            if name not in now:
                raise UserError(
                    f"leaf {name!r} is missing in this snapshot; give the same parameters every"
                    " time"
                )
            if name not in then:
                raise UserError(
                    f"leaf {name!r} was not there at the beginning; give the same parameters every"
                    " time"
                )
            if now[name] != then[name]:
                raise UserError(
                    f"leaf {name!r} has shape {tuple(now[name])}, and had {tuple(then[name])} at"
                    " the beginning; record a run whose shapes change as two runs"
                )


def _closed(run: str) -> UserError:
    return UserError(
        f"run={run!r} is not open: use it within 'with collect.record(…) as run:' alone"
    )
