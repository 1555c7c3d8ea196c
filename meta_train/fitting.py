"""From corpora to a bundle: draw examples, fit, validate, save."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import nowcast
from collect import corpus
from collect.corpus import Corpus, Run
from collect.figures import png
from collect.files import replace
from collect.training.stop import Stop
from meta_train import log, objective, processes, trainer, validate
from meta_train.checkpoint import Checkpoint
from meta_train.config import MetaTrainConfig
from meta_train.leaves import Leaves
from meta_train.limits import limits
from meta_train.picture import picture
from meta_train.source import Rule, Source
from meta_train.trainer import Progress
from meta_train.windows import Windows
from nowcast import bundle, text
from nowcast.forecasters import Learned
from nowcast.types import OPERATIONS, UserError

SCORED, WATCHED = 200_000, 16_384
"""About how many windows an operation is scored on, and how many decide when to stop.

Both are over all runs.
"""
SCORED_LEAVES = 20_000
"""About how many leaves an operation is scored on."""
NOT_OF_THE_FIT = (
    "bundle",
    "corpus",
    "log",
    "max_minutes",
    "processes",
    "process",
    "coordinator",
    "served_by",
)


class Outcome(NamedTuple):
    """The outcome of a meta-training."""

    card: dict[str, Any] | None
    """The bundle's card; None: the fit was stopped.

    It says what the bundle is, on which corpora (by hash), its scores, versions and command.
    """
    stopped: str = ""
    exit_code: int = 0


class Data(NamedTuple):
    """The examples of a fit."""

    networks: list[str]
    train: Source
    watched: dict[str, Any]
    """Validation windows by network: they decide which parameters are kept, and when to stop."""
    validation: validate.Drawn
    held_out: validate.Drawn
    training: Sequence[Run]
    """The runs that are fitted to."""
    about: dict[str, Any]
    """What the card says about the data."""


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
        validate.scores(forecaster, drawn) for drawn in (data.validation, data.held_out)
    )
    scores = {"runs for validation": validation, "architectures kept out": held_out}
    card = {
        **made_by(config, command),
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


def made_by(config: MetaTrainConfig, command: str | None) -> dict[str, Any]:
    """What a card says of the fit itself: the command, its configuration, the versions."""
    names = ("weight-nowcaster", "jax", "optax", "numpy")
    return {
        "command": command,
        "configuration": {k: v for k, v in asdict(config).items() if k != "served_by"},
        "versions": {name: metadata.version(name) for name in names},
    }


def read(config: MetaTrainConfig) -> Data:
    """Open the corpora, split their runs, and draw the windows for the scores.

    The bundle's place is checked first.
    """
    bundle.check_destination(config.bundle)
    named = f"corpus={', '.join(config.corpus)}"
    corpora = [corpus.open(path) for path in config.corpus]
    runs = distinct(corpora)
    if not runs:
        raise UserError(f"{named} holds no finished run; let {text.command('collect')} finish one")
    validate.check_keep_out(runs, config.keep_out)
    parts = validate.split(runs, config.validation_share, config.keep_out, config.seed)
    if not parts.training or not parts.validation:
        raise UserError(
            f"{named} has {len(parts.training)} run(s) to fit and {len(parts.validation)} for"
            f" validation, besides {len(parts.held_out)} of keep_out=[{','.join(config.keep_out)}];"
            " collect 2 or more of one task, that differ in more than epochs and record_every"
        )
    train, checked = (_source(config, some, config.networks) for some in parts[:2])
    longest = max(_ahead(run, config.rule) for run in parts.training)
    if config.kind.many and config.rule.horizon > longest > 0:
        raise UserError(
            f"horizon={config.rule.horizon}: the longest run to fit has windows with {longest}"
            f" snapshots after them; give horizon={longest}, or collect longer runs"
        )
    networks = _networks(config, train, checked)
    watched = validate.draw(checked, networks, WATCHED, config.seed)
    each = {
        operation: operation
        for operation, network in config.networks.items()
        if network in networks
    }
    validation, held_out = (
        validate.draw(
            _source(config, some, each),
            list(each),
            SCORED if config.kind.elementwise else SCORED_LEAVES,
            config.seed,
        )
        for some in parts[1:]
    )
    joined = {name: np.concatenate(windows) for name, windows in watched.items()}
    return Data(
        networks,
        train,
        joined,
        validation,
        held_out,
        parts.training,
        described(config, corpora, parts),
    )


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
            for progress in trainer.fit(
                config.kind, data.networks, data.train, data.watched, settings, begun
            ):
                bar.update(progress.step - bar.n)
                lowest = zip(data.networks, progress.lowest, strict=True)
                bar.set_postfix_str(" ".join(f"{name} {error:.4f}" for name, error in lowest))
                stopped = processes.anywhere(bool(stop.reason))
                if stopped or processes.anywhere(checkpoint.due()):
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


def distinct(corpora: Sequence[Corpus]) -> list[Run]:
    """All runs of the corpora, each once, in an order that does not depend on the corpora's.

    A run that lies in two corpora could otherwise be both fitted to and validated on.
    """
    found = {json.dumps(run.config, sort_keys=True): run for opened in corpora for run in opened}
    return [found[key] for key in sorted(found)]


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


def _ahead(run: Run, rule: Rule) -> int:
    """The most snapshots that follow a window of this run, as far as it was recorded."""
    ahead = run.snapshots - rule.shortest + 1
    return ahead if run.band is None else min(ahead, run.band - rule.window + 1)


def _holds(run: Run) -> str:
    """What a run holds, in words."""
    if run.band is not None:
        return f"inner products of {run.band} increments"
    sampled = [leaf.columns for leaf in run.leaves if leaf.columns < leaf.size]
    return f"a sample of {max(sampled)} weights a leaf" if sampled else "all weights"


def _source(
    config: MetaTrainConfig, runs: Sequence[Run], networks: Mapping[str, str | None]
) -> Source:
    """Where the forecaster's examples come from."""
    if config.kind.elementwise:
        return Windows(runs, networks, config.rule, config.sampling)
    return Leaves(runs, networks, config.rule)


def _networks(config: MetaTrainConfig, train: Source, checked: Source) -> list[str]:
    """Networks that have weights in the runs to fit and in those for validation."""
    found = sorted(train.runs)
    if found != sorted(checked.runs):
        raise UserError(
            f"corpus: training runs have weights for {found}, validation runs for"
            f" {sorted(checked.runs)}; collect more runs"
        )
    if not found or not config.asked <= set(found):
        missing = ", ".join(sorted(config.asked - set(found)) or ["any of these"])
        raise UserError(
            f"networks={config.networks}: no run has weights for {missing}; "
            "collect other architectures, or leave these networks out"
        )
    return found


def described(
    config: MetaTrainConfig, corpora: Sequence[Corpus], parts: validate.Parts
) -> dict[str, Any]:
    """What the card says about the source of the windows."""
    each = [
        {"path": path, "hash": opened.hash, "runs": len(opened)}
        for path, opened in zip(config.corpus, corpora, strict=True)
    ]
    runs, hashes = (
        [run for some in parts for run in some],
        sorted(opened.hash for opened in corpora),
    )
    lies = {
        id(run): path for path, opened in zip(config.corpus, corpora, strict=True) for run in opened
    }
    return {
        "path": ", ".join(config.corpus),
        "hash": (
            hashes[0]
            if len(hashes) == 1
            else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        ),
        "parts": each,
        "runs": len(runs),
        "seconds": _seconds(runs),
        "tasks": sorted({run.config["task"] for run in parts.training}),
        "commands": list(
            dict.fromkeys(run.info.get("command") for run in runs if run.info.get("command"))
        ),
        "training_runs": len(parts.training),
        "validation_runs": [f"{lies[id(run)]}: {run.id}" for run in parts.validation],
        "held_out_runs": [f"{lies[id(run)]}: {run.id}" for run in parts.held_out],
        "holds": sorted({_holds(run) for run in runs}),
        "snapshot_steps": sorted({run.config["record_every"] for run in runs}),
    }


def _seconds(runs: Sequence[Run]) -> float | None:
    """The sum of the runs' training seconds; None where one was recorded without them."""
    each = [run.info.get("seconds") for run in runs]
    return None if None in each else round(sum(one for one in each if one is not None), 1)
