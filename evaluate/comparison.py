"""Run a comparison: calibrate, fix the targets, train every arm, summarise, write the report."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from collect.figures import png
from collect.files import replace
from collect.tasks import build, check
from collect.tasks.protocol import Task, spacing
from collect.training.optimizers import LEARNED
from collect.training.stop import Stop
from evaluate import budget, cost, lengths, metrics, pictures, report, robust, sentences
from evaluate.arms import Arm
from evaluate.calibration import calibrate
from evaluate.ends import best
from evaluate.fingerprint import fingerprint
from evaluate.folder import claim, locked, write_json
from evaluate.forecasters import commands_of_bundles, describe_fits
from evaluate.preparation import prepare
from evaluate.protocol import BUDGET, ROBUST, WARMUPS, Plan, warmup_entry
from evaluate.starts import SWEPT, WARMUP, rows
from evaluate.starts import spread as spread_from
from evaluate.summary import summarise
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
    networks: Mapping[str, Task] | None = None,
    about: Mapping[str, Any] | None = None,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Compare ways to train a task, and return the results.

    Runs that ``folder`` holds already are not trained again. So a call with more arms or more
    seeds trains only what is missing.

    Without ``target_value``, ``starts`` and ``base_lengths``, the comparison follows the honest
    protocol (:mod:`evaluate`). Each of these three arguments chooses another protocol.

    Args:
        task: An object with the members of :class:`collect.tasks.Task`. Its first metric is the one
            that runs are judged by.
        arms: The arms by name.
        folder: The folder that keeps every finished run.
        epochs: Length of every run.
        optimizer: The optimizer of arms that name none: a name of
            :data:`collect.training.optimizers.OPTIMIZERS`.
        learning_rate: The rate of arms whose rate is ``given``.
        learning_rates: The rates that calibration tries for tuned arms; None: the optimizer's grid
            in :data:`collect.training.optimizers.GRIDS`.
        warmups: The warm-ups that calibration tries with each of these rates, for tuned arms that
            give no warm-up; shares of a run.
        seeds: The seeds that are compared.
        calibration_seeds: The seeds of the calibration runs, from which rates and targets come.
        record_every: Steps between two snapshots, and between two evaluations; None: the task's.
        target_share: The share of a base's length whose value is the target of the verdicts.
        target_metric: The metric of ``target_value``, by name; None: the task's first metric.
        target_value: Follow the paper's protocol, with this target for all arms, on the last split.
        starts: Follow the robust protocol: train every arm from these multiples of the swept base's
            best rate.
        start_warmup: The warm-up, in the robust protocol, of arms that give none; a share of a run.
        base_lengths: Follow the budget protocol: train the swept base at these multiples of the
            arms' length.
        workers: Runs that train side by side; None: one per core.
        together: Whether the seeds of an arm train as one program; None: only on an accelerator.
        networks: For arms that train another network: the task with each of these networks, by the
            name in :attr:`evaluate.arms.Arm.model`.
        about: Further facts that all runs of the folder depend on. The folder refuses other ones,
            and the report shows them.
        stop: Consulted after every snapshot.

    Returns:
        The results as ``results.schema.json`` describes them, ready for :func:`write`.

    Raises:
        UserError: The task, the arms, a bundle or the folder cannot be used, or no run can reach a
            target.
        Stopped: ``stop`` had a reason to stop. Finished runs are kept.
    """
    for name, count, unit in (
        ("record_every", record_every, "steps"),
        ("workers", workers, "runs"),
    ):
        if count is not None:
            whole(name, count, unit)
    folder, stop = expanded(folder), stop or Stop()
    check_writable(f"report={str(folder)!r}", folder)
    networks = networks or {}
    for each in (task, *networks.values()):
        if not build.is_ours(type(each)):
            check.check(each, type(each).__name__)
    for name in networks:
        if name not in {arm.model for arm in arms.values()}:
            raise UserError(f"networks: no arm has the model {name!r}; leave it out")
    ready = prepare(
        task,
        arms,
        folder,
        epochs=epochs,
        optimizer=optimizer,
        learning_rate=learning_rate,
        learning_rates=learning_rates,
        warmups=warmups,
        seeds=seeds,
        calibration_seeds=calibration_seeds,
        record_every=record_every,
        target_share=target_share,
        target_metric=target_metric,
        target_value=target_value,
        starts=starts,
        start_warmup=start_warmup,
        base_lengths=base_lengths,
        workers=workers,
        together=together,
        networks=networks,
        stop=stop,
    )
    plan, trials, shorter, forecasters = ready.plan, ready.trials, ready.shorter, ready.forecasters
    chosen, left_out = plan.arms, ready.left_out
    protocol = ROBUST if starts is not None else BUDGET if base_lengths is not None else ""
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
            {"seeds": list(plan.calibration_seeds), "learning_rates": learning_rates}
            | warmup_entry(plan)
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
    costly = {name: card for name, card in cards.items() if card} | {
        name: cost.of_optimizer(arm)
        for name, arm in trained.items()
        if arm.optimizer in LEARNED and arm.over and not _same_optimizer(arm, trained[arm.over])
    }
    if protocol == ROBUST:
        results |= {"robust": robust.summarised(results, spread, plan.metric, start_warmup)}
    elif protocol == BUDGET:
        results |= {"budget": budget.summarised(results, base_runs, plan.metric)}
    if protocol:
        results |= {"verdicts": sentences.texts(results)}
    return results | {
        "about": {
            "task": task.name,
            "content": content,
            "epochs": epochs,
            "steps_per_epoch": task.steps_per_epoch,
            "record_every": spacing(task, record_every),
            "left_out": left_out,
            "seen": describe_fits(cards, task.name),
            "more": dict(about or {}),
        },
        "cost": {name: cost.of(results, name, card) for name, card in costly.items()},
        "beside_title": "",
        "beside": {},
        "made_by": commands_of_bundles(costly),
        "pictures": {
            name: picture
            for name, arm in trained.items()
            if (picture := trials.picture(arm, plan.seeds[0]))
        },
    }


def _same_optimizer(one: Arm, other: Arm) -> bool:
    return (one.optimizer, one.learned) == (other.optimizer, other.learned)


def _check_reached(plan: Plan, results: Mapping[str, Any]) -> None:
    """Refuse a given target that no run of any arm reaches.

    Honest targets need no such check: the calibration runs reached them.
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
        f"target_value={plan.target_value:g}: no run of any arm reaches this {metric.name}, and the"
        f" best run reaches {nearest}; give a {easier} one, or more epochs: trained runs are kept"
    )


def write(
    folder: str | Path, results: dict[str, Any], commands: Sequence[str] = ()
) -> dict[str, Any]:
    """Write ``report.html``, ``report.md``, ``results.json`` and the pictures to a folder.

    The pictures are those of :func:`evaluate.pictures.drawn`, as PNG files.

    Args:
        folder: The folder to write to.
        results: From :func:`compare`.
        commands: The commands that produce the results again. Those that made the bundles are known
            from their cards, and come first.

    Returns:
        The content of ``results.json``.
    """
    folder = expanded(folder)
    left_out = ("made_by", "pictures")
    full = {key: value for key, value in results.items() if key not in left_out} | {
        "commands": [*results["made_by"], *commands],
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    write_json(folder / "results.json", full)
    full = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for name, drawn in pictures.drawn(full).items():
        replace(folder / f"{name}.png", png(drawn))
    replace(folder / "report.md", report.markdown(full))
    replace(folder / "report.html", report.page(full, results.get("pictures")))
    return full
