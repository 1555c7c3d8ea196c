"""Turn corpora into a bundle: read the data, fit, validate, save."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from tqdm import tqdm

import nowcast
from collect.figures import png
from collect.files import replace
from collect.training.stop import Stop
from meta_train import log, objective, processes, trainer, validate, whole
from meta_train.checkpoint import Checkpoint
from meta_train.config import MetaTrainConfig
from meta_train.data import Data, read
from meta_train.limits import limits
from meta_train.picture import picture
from meta_train.trainer import Progress
from nowcast.forecasters import Learned
from nowcast.types import OPERATIONS, UserError

NOT_OF_THE_FIT = (
    "bundle",
    "corpus",
    "log",
    "max_minutes",
    "processes",
    "process",
    "coordinator",
)


class Outcome(NamedTuple):
    """The outcome of a meta-training."""

    card: dict[str, Any] | None
    """The bundle's card; None: the fit was stopped.

    It says what the bundle is, on which corpora (by hash), its scores, versions and command.
    """
    stopped: str = ""
    exit_code: int = 0


def meta_train(config: MetaTrainConfig, command: str | None = None) -> Outcome:
    """Fit a forecaster to corpora and write its bundle, with ``loss.png`` beside the card.

    ``command`` is noted in the card. A fit that was stopped or killed goes on from
    ``BUNDLE.checkpoint`` when it is called again, and ends in the same parameters.
    """
    processes.join(config.processes, config.process, config.coordinator)
    data = processes.together(lambda: read(config))
    identity = {key: value for key, value in asdict(config).items() if key not in NOT_OF_THE_FIT}
    hashes = sorted({part["hash"] for part in data.about["parts"]})
    identity |= {"corpora": hashes}
    processes.check_alike(
        identity | {"bundle": config.bundle},
        "give all of them the same command and the same corpora",
    )
    with (
        processes.together(lambda: Checkpoint(config.bundle, identity)) as checkpoint,
        Stop(config.max_minutes) as stop,
    ):
        begun = time.perf_counter()
        progress, first = fit(config, data, checkpoint, stop)
        seconds = (time.perf_counter() - begun) * progress.step / max(progress.step - first, 1)
    if not progress.ended(config.settings):
        return Outcome(None, stop.reason or "another process was stopped", stop.exit_code)
    forecaster = assemble(config, data.networks, progress)
    never_jump = [operation for operation in OPERATIONS if not forecaster.can_forecast(operation)]
    configs, longest = (
        [run.config for run in data.training],
        max(run.snapshots for run in data.training),
    )
    validation, held_out = (
        (whole if config.kind.whole else validate).scores(forecaster, drawn)
        for drawn in (data.validation, data.held_out)
    )
    scores = {"runs for validation": validation, "architectures kept out": held_out}
    card = {
        **describe_fit(config, command),
        "corpus": data.about,
        "limits": limits(forecaster.name, never_jump, configs, longest, scores),
        "validation": validation,
        "held_out": held_out,
        "steps": progress.step,
        "seconds": round(seconds, 1),
        "curves": progress.curves,
    }
    card = processes.together(lambda: _saved(forecaster, config.bundle, card))
    checkpoint.remove()
    return Outcome(card)


def describe_fit(config: Any, command: str | None) -> dict[str, Any]:
    """The entries of a card on the fit: its command, its configuration (a dataclass), versions."""
    names = ("weight-nowcaster", "jax", "optax", "numpy")
    return {
        "command": command,
        "configuration": asdict(config),
        "versions": {name: metadata.version(name) for name in names},
    }


def fit(
    config: MetaTrainConfig, data: Data, checkpoint: Checkpoint, stop: Stop
) -> tuple[Progress, int]:
    """Fit from the checkpoint on, to the end or until stopped.

    Returns the progress, and the step at which this fit began.
    """
    rule, settings = config.rule, config.settings
    fresh = trainer.start(config.kind, data.networks, rule.window, rule.horizon, settings)
    begun = progress = checkpoint.load(fresh) or fresh
    write = processes.together(
        lambda: log.start(config.log if processes.is_first() else None, config.bundle)
    )
    going: dict[str, Any] = {
        "initial": begun.step,
        "desc": f"meta-train {config.forecaster}",
        "unit": "step",
    }
    with tqdm(total=settings.steps, disable=not processes.is_first(), **going) as bar:
        try:
            steps = (whole if config.kind.whole else trainer).fit
            for progress in steps(
                config.kind, data.networks, data.train, data.watched, settings, begun
            ):
                bar.update(progress.step - bar.n)
                lowest = zip(data.networks, progress.lowest, strict=True)
                bar.set_postfix_str(" ".join(f"{name} {error:.4f}" for name, error in lowest))
                stopped = processes.in_any_process(bool(stop.reason))
                if stopped or processes.in_any_process(checkpoint.due()):
                    checkpoint.save(progress)
                processes.together(partial(write, progress.curves))
                if stopped:
                    break
        except trainer.NotFinite as error:
            if progress.step > begun.step:
                checkpoint.save(progress)
            good = (
                f"the last good checkpoint is step {progress.step}; remove {checkpoint.folder} and"
            )
            raise UserError(
                f"meta-training: {error}; {good if progress.step else 'no checkpoint yet;'} lower"
                f" learning_rate={config.learning_rate:g}"
            ) from None
    return progress, begun.step


def assemble(config: MetaTrainConfig, networks: Sequence[str], progress: Progress) -> Learned:
    """Make the forecaster with the best parameters of each network."""
    best = jax.tree.map(jnp.asarray, jax.device_get(progress.best))
    params = dict(zip(networks, objective.apart(best, len(networks)), strict=True))
    mapping = {
        operation: name if name in networks else None for operation, name in config.networks.items()
    }
    # With many horizons all up to `longest` are fitted; the default one is the forecaster's own.
    longest = config.rule.horizon
    horizon = min(longest, config.kind.horizon) if config.kind.many else longest
    return config.kind(
        params=params, window=config.rule.window, horizon=horizon, longest=longest, networks=mapping
    )


def _saved(forecaster: Learned, path: str, card: dict[str, Any]) -> dict[str, Any]:
    """Write the bundle in the first process, and return the card."""
    if processes.is_first():
        card = nowcast.save(forecaster, path, card)
        replace(Path(path) / "loss.png", png(picture(card)))
    return card
