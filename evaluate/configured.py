"""Run the comparison that a configuration describes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from collect.tasks import build
from collect.tasks.protocol import Task
from collect.training.learned import celo_file
from collect.training.stop import Stop
from evaluate.arms import ORACLE
from evaluate.comparison import compare
from evaluate.config import EvaluateConfig
from evaluate.estimate import Estimate, estimate
from evaluate.forecasters import load
from evaluate.inheritance import resolve
from evaluate.preparation import prepare
from evaluate.protocol import BUDGET, PAPER, ROBUST
from nowcast.types import UserError

GIVEN = (
    "forecaster",
    "introspection",
    "introspection_linear",
    "introspection_further",
    "nino",
    "wnn_plus",
    "published",
)
"""The keys of a configuration that give a forecaster."""
GIVEN_OPTIMIZERS = ("celo",)
"""Those that give the weights of a learned optimizer."""


def evaluate(config: EvaluateConfig, folder: Path, stop: Stop) -> dict[str, Any]:
    """Call :func:`evaluate.comparison.compare` with the values of a configuration.

    Args:
        config: The configuration of ``nowcast-evaluate``.
        folder: The report's folder.
        stop: Consulted after every snapshot.

    Returns:
        The results, with the texts of ``beside`` for the tables' last column.

    Raises:
        UserError: No arm uses a forecaster or an optimizer's file that was given; what ``compare``
            refuses.
    """
    _check_files(config)
    results = compare(
        build.make(config),
        config.arm,
        folder,
        **_arguments(config),
        networks=_networks(config),
        about=about(config),
        stop=stop,
    )
    return results | {"beside_title": config.beside_title, "beside": dict(config.beside)}


def dry_run(config: EvaluateConfig, folder: Path) -> Estimate:
    """Estimate the size and time of the comparison; nothing is written, and no run begins.

    Raises:
        UserError: What :func:`evaluate` refuses before it trains.
    """
    _check_files(config)
    task = build.make(config)
    options = _arguments(config)
    networks = _networks(config)
    ready = prepare(task, config.arm, folder, **options, networks=networks, stop=Stop())
    return estimate(task, ready, options["starts"], config.workers)


def _arguments(config: EvaluateConfig) -> dict[str, Any]:
    """The arguments of :func:`evaluate.comparison.compare` that a configuration gives."""
    paper = config.protocol == PAPER
    return {
        "epochs": config.epochs,
        "optimizer": config.optimizer.name,
        "learning_rate": config.optimizer.learning_rate,
        "learning_rates": config.tuned.learning_rates,
        "warmups": config.tuned.warmups,
        "seeds": range(config.seed, config.seed + config.seeds),
        "calibration_seeds": range(config.tuned.seed, config.tuned.seed + config.tuned.seeds),
        "record_every": config.record_every,
        "target_share": config.target_share,
        "target_metric": config.target_metric if paper else None,
        "target_value": config.target_value if paper else None,
        "starts": config.robust.starts if config.protocol == ROBUST else None,
        "start_warmup": config.robust.warmup,
        "base_lengths": config.budget.lengths if config.protocol == BUDGET else None,
        "workers": config.workers,
        "together": config.together,
    }


def _networks(config: EvaluateConfig) -> dict[str, Task]:
    """The comparison's task with each network that an arm has for itself, of the given width."""
    names = {arm.model for arm in config.arm.values() if arm.model}
    if not build.is_classification(config):
        return {}  # such an arm is refused
    return {
        name: build.make(replace(config, model=replace(config.model, name=name, depth=None)))
        for name in sorted(names)
    }


def _check_files(config: EvaluateConfig) -> None:
    """Refuse files of weights that no arm uses or that cannot be loaded, before data are read."""
    arms, _ = resolve(
        config.arm, optimizer=config.optimizer.name, learning_rate=config.optimizer.learning_rate
    )
    used = {given for arm in arms for given in (arm.forecaster, arm.of)}
    for key in GIVEN:
        given = getattr(config, key)
        if given and given not in used and given != getattr(EvaluateConfig, key):
            raise UserError(
                f"{key}={given!r}: no arm of this command jumps by this forecaster; leave the key"
                " out, or add an arm that uses it to arm=[…]"
            )
        if given in used - {ORACLE}:
            load(given)
    for key in GIVEN_OPTIMIZERS:
        given = getattr(config, key)
        if given and given not in {arm.learned for arm in arms}:
            raise UserError(
                f"{key}={given!r}: no arm of this command trains with this optimizer; leave the key"
                f" out, or add the arm {key} to arm=[…]"
            )
        if given:
            celo_file.read(given)


def about(config: EvaluateConfig) -> dict[str, Any]:
    """The keys of a configuration that describe its task.

    A report's folder belongs to one task: these keys must stay the same, while arms and seeds may
    be added later.
    """
    return build.described(config) | {"batch_size": config.batch_size}
