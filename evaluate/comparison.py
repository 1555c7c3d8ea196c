"""A comparison from its arms to its results: calibrate, fix the targets, train every arm, and
summarise.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from collect.figures import png
from collect.files import replace
from collect.tasks import build, check
from collect.tasks.protocol import Task, spacing
from collect.training.optimizers import GRIDS
from collect.training.stop import Stop
from evaluate import budget, cost, lengths, metrics, pictures, report, robust, said
from evaluate.arms import ORACLE, Arm
from evaluate.calibration import calibrate
from evaluate.ends import best
from evaluate.folder import claim, locked, write_json
from evaluate.forecasters import made_by, of, seen
from evaluate.inheritance import resolve
from evaluate.protocol import BUDGET, HONEST, ROBUST, WARMUPS, Plan, warmed
from evaluate.starts import SWEPT, WARMUP, prepared, rows
from evaluate.starts import spread as spread_from
from evaluate.summary import summarise
from evaluate.trials import Trials
from nowcast.paths import check_writable, expanded
from nowcast.types import UserError, whole

PACKAGES = ("weight-nowcaster", "jax", "flax", "optax", "numpy")


def compare(
    task: Task,
    arms: Mapping[str, Arm],
    folder: str | Path,
    *,
    epochs: int,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    learning_rates: Sequence[float] | None = None,
    warmups: Sequence[float] = WARMUPS,
    seeds: Sequence[int] = range(5),
    calibration_seeds: Sequence[int] = range(1000, 1003),
    record_every: int | None = None,
    target_share: float = 0.75,
    target_metric: str | None = None,
    target_value: float | None = None,
    starts: Sequence[float] | None = None,
    start_warmup: float = WARMUP,
    base_lengths: Sequence[float] | None = None,
    workers: int | None = None,
    together: bool | None = None,
    about: Mapping[str, Any] | None = None,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Compare ways to train any task: train what is missing in ``folder``, and give the results.

    Args:
        task: Anything with the methods of :class:`collect.tasks.Task`; its first metric is what
            runs are judged by.
        arms: By name.
        folder: Where finished runs are kept; it goes on where it is.
        epochs: Length of every run.
        optimizer: Of arms that say nothing else: a name of
            :data:`collect.training.optimizers.OPTIMIZERS`.
        learning_rate: Of arms with the given one.
        learning_rates: What tuned arms try; None: the optimizer's own grid.
        warmups: What tuned arms that say no warm-up try with each rate, as shares of a run.
        seeds: What is compared.
        calibration_seeds: What rates and targets come from.
        record_every: Steps between two snapshots and evaluations; what the task says when None.
        target_share: The headline's target: what a base has reached after this share of its length.
        target_metric: The name of the metric that ``target_value`` is one of; None: the first.
        target_value: Instead, the paper's protocol: this value on the last split, first reached
            before a jump.
        starts: Instead, the robust protocol: every arm from these multiples of the rate that is
            best for a swept base.
        start_warmup: There, of arms that say none.
        base_lengths: Instead, the budget protocol: arms beside a swept base of these multiples of
            their length.
        workers: Runs side by side; None: as many as cores.
        together: Whether the seeds of an arm train as one program; None: on an accelerator.
        about: What else all runs of the folder depend on, for its check and for the report.
        stop: Asked between two snapshots.

    Returns:
        Results as ``results.schema.json`` has them, for :func:`write`.

    Raises:
        UserError: Anything wrong with the task, the arms, the bundles or the folder; a target that
            no run can reach.
        Stopped: In good order, before the end.
    """
    for name, count, unit in (
        ("record_every", record_every, "steps"),
        ("workers", workers, "runs"),
    ):
        if count is not None:
            whole(name, count, unit)
    folder, stop = expanded(folder), stop or Stop()
    check_writable(f"report={str(folder)!r}", folder)
    if not build.is_ours(type(task)):
        check.check(task, type(task).__name__)
    if starts is not None:
        chosen, left_out = prepared(arms, optimizer=optimizer, warmup=start_warmup)
    else:
        settle = resolve if base_lengths is None else lengths.prepared
        chosen, left_out = settle(arms, optimizer=optimizer, learning_rate=learning_rate)
    protocol = ROBUST if starts is not None else BUDGET if base_lengths is not None else ""
    forecasters = {
        str(arm.forecast_by): of(arm) for arm in chosen if arm.forecaster not in (None, ORACLE)
    }
    plan = Plan(
        arms=tuple(chosen),
        grids={name: tuple(learning_rates or grid) for name, grid in GRIDS.items()},
        seeds=tuple(seeds),
        calibration_seeds=tuple(calibration_seeds),
        warmups=tuple(warmups),
        metrics=tuple(task.metrics),
        splits=tuple(task.splits),
        target_share=target_share,
        target_metric=target_metric,
        target_value=target_value,
    )
    _check_splits(task, plan)
    make = functools.partial(
        Trials, task, epochs=epochs, record_every=record_every, folder=folder / "runs", stop=stop,
        forecasters={name: one.forecaster for name, one in forecasters.items()},
        identities={name: one.identity for name, one in forecasters.items()},
        protocol=plan.protocol, workers=workers, together=together,
    )  # fmt: skip
    trials = make()
    trials.check(chosen)
    plan.check_length(trials.evaluations)
    shorter = lengths.trials(make, chosen[0], base_lengths or ())
    content = fingerprint(task)
    own = {
        "task": task.name,
        "content": content,
        "epochs": epochs,
        "record_every": record_every,
        "protocol": protocol or plan.protocol,
        "target_share": target_share,
        "learning_rate": learning_rate,
        "calibration": (
            {"seeds": list(plan.calibration_seeds), "learning_rates": learning_rates} | warmed(plan)
        ),
    }
    claim(folder, own | {key: value for key, value in (about or {}).items() if key not in own})
    with locked(folder):
        rates, targets = calibrate(plan, trials, folder)
        spread = (
            {} if starts is None else spread_from(chosen, rates[SWEPT]["learning_rate"], starts)
        )
        trained = rows(chosen, rates, spread)
        trials.train(list(trained.values()), plan.seeds, "compare")
        base_runs = lengths.train(shorter, trained[SWEPT], plan.seeds) if shorter else {}

    errors = {
        name: trials.forecast_errors(arm, trained[arm.over], plan.seeds)
        for name, arm in trained.items()
        if arm.over and not protocol
    }
    known = {
        name: forecasters[str(arm.forecast_by)]
        for name, arm in trained.items()
        if arm.forecast_by in forecasters
    }
    identities = {name: one.identity for name, one in known.items()}
    shown = dataclasses.replace(
        plan, arms=tuple(dataclasses.replace(arm, name=name) for name, arm in trained.items())
    )
    results = summarise(
        shown,
        rates,
        targets,
        lambda arm, seed: trials.curve(trained[arm.name], seed),
        errors,
        identities,
    )
    _check_reached(plan, results)
    cards = {name: one.card for name, one in known.items()}
    if protocol == ROBUST:
        results |= {"robust": robust.summarised(results, spread, plan.metric, start_warmup)}
    elif protocol == BUDGET:
        results |= {"budget": budget.summarised(results, base_runs, plan.metric)}
    if protocol:
        results |= {"verdicts": said.texts(results)}
    return results | {
        "about": {
            "task": task.name,
            "content": content,
            "epochs": epochs,
            "steps_per_epoch": task.steps_per_epoch,
            "record_every": spacing(task, record_every),
            "left_out": left_out,
            "seen": seen(cards, task.name),
            "more": dict(about or {}),
        },
        "cost": {name: cost.of(results, name, card) for name, card in cards.items() if card},
        "beside_title": "",
        "beside": {},
        "made_by": made_by(cards),
    }


def _check_splits(task: Task, plan: Plan) -> None:
    """Rates and honest targets are not chosen by what says how good they are in the end."""
    chosen = plan.protocol == HONEST or any(arm.rate_of for arm in plan.arms)
    if chosen and task.splits[0] == "test":
        raise UserError(
            f"{task.name} has a test split alone, and targets or rates are to be chosen; give it a"
            " validation split"
        )


def fingerprint(task: Task) -> str:
    """Of a task's initial weights, order and data (of a stream its first batch): what another task
    of the same name has others of.
    """
    digest = hashlib.sha256(str((task.steps_per_epoch, task.order(0, 0).tolist())).encode())
    stream = getattr(task, "stream", None)
    first = () if stream is None else next(stream(0, range(1)))
    for leaf in jax.tree.leaves((task.init(0), task.arrays, first)):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        digest.update(np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())
    return digest.hexdigest()


def _check_reached(plan: Plan, results: Mapping[str, Any]) -> None:
    """A value that nobody reaches is a mistake; an honest target has been reached by the
    calibration runs.
    """
    if plan.target_value is None:
        return
    if any(
        own[plan.headline]["reached"] for row in results["arms"] for own in row["against"].values()
    ):
        return
    metric = plan.metric_of_target
    bests = [best(metric, run) for runs in results["curves"].values() for run in runs]
    nearest = metrics.number(float(metrics.oriented(metric, min(metrics.oriented(metric, bests)))))
    easier = "higher" if metric.better == "lower" else "lower"
    raise UserError(
        f"target_value={plan.target_value:g}: no run of any arm reaches this {metric.name}, the"
        f" best comes to {nearest}; give a {easier} one, or more epochs: what is trained is kept"
    )


def write(
    folder: str | Path, results: dict[str, Any], commands: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything a reader may want: ``report.html``, ``report.md``, ``curves.png``, where bases
    differ in a learning rate alone ``sweep.png``, and ``results.json``, which is returned.

    Args:
        folder: Where.
        results: From :func:`compare`.
        commands: That make them again; those of the bundles are known.
    """
    folder = expanded(folder)
    full = {key: value for key, value in results.items() if key != "made_by"} | {
        "commands": [*results["made_by"], *commands],
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    write_json(folder / "results.json", full)
    full = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for name, drawn in pictures.drawn(full).items():
        replace(folder / f"{name}.png", png(drawn))
    replace(folder / "report.md", report.markdown(full))
    replace(folder / "report.html", report.page(full))
    return full
