"""The examples of a fit: open the corpora, split their runs, draw the windows for the scores."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from collect import corpus
from collect.corpus import Corpus, Run
from meta_train import splitting, validate, whole
from meta_train.config import MetaTrainConfig
from meta_train.leaves import Leaves
from meta_train.networks import Networks, has_graph
from meta_train.scaled import ScaledWindows
from meta_train.source import Rule, Source
from meta_train.windows import Windows
from nowcast import bundle, text
from nowcast.types import UserError

SCORED, WATCHED = 200_000, 16_384
"""About how many windows an operation is scored on, and how many decide when to stop.

Both are over all runs.
"""
SCORED_LEAVES = 20_000
"""About how many leaves an operation is scored on."""


class Data(NamedTuple):
    """The examples of a fit."""

    networks: list[str]
    train: Source
    watched: Any
    """Validation windows by network, or networks: they decide which parameters are kept, and when
    to stop.
    """
    validation: Any
    """What the forecaster is scored on: windows (:data:`meta_train.validate.Drawn`) or networks."""
    held_out: Any
    training: Sequence[Run]
    """The runs that are fitted to."""
    about: dict[str, Any]
    """The entries of the card on the data."""


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
    splitting.check_keep_out(runs, config.keep_out)
    parts = splitting.split(runs, config.validation_share, config.keep_out, config.seed)
    if config.kind.whole:  # nothing can be scored on a network without a graph
        dropped = sorted({run.config["task"] for run in parts.held_out if not has_graph(run)})
        parts = parts._replace(held_out=list(filter(has_graph, parts.held_out)))
        if dropped:
            print(f"not scored, for they have no neuron graph: {', '.join(dropped)}", flush=True)
    if not parts.training or not parts.validation:
        raise UserError(
            f"{named} has {len(parts.training)} run(s) to fit and {len(parts.validation)} for"
            f" validation, besides {len(parts.held_out)} of keep_out=[{','.join(config.keep_out)}];"
            " collect 2 or more of one task, that differ in more than epochs and record_every"
        )
    train, checked = (_source(config, some, config.networks) for some in parts[:2])
    longest = max(_ahead(run, config.rule) for run in parts.training)
    if config.kind.many and config.rule.horizon > longest > 0:
        asked = f"horizon={config.rule.horizon}"
        if config.default_horizon:
            asked = f"{config.forecaster} forecasts 1 to {config.rule.horizon} snapshots by default"
        raise UserError(
            f"{asked}: the longest run to fit has windows with {longest} snapshots after them;"
            f" give horizon={longest}, or collect longer runs"
        )
    networks = _networks(config, train, checked)
    each = {
        operation: operation
        for operation, network in config.networks.items()
        if network in networks
    }
    validation, held_out = (_scored(config, _source(config, some, each)) for some in parts[1:])
    return Data(
        networks,
        train,
        _watched(config, checked, networks),
        validation,
        held_out,
        parts.training,
        described(config, corpora, parts),
    )


def _watched(config: MetaTrainConfig, source: Source, networks: Sequence[str]) -> Any:
    """The validation examples that decide which parameters are kept, and when to stop."""
    if isinstance(source, Networks):
        return whole.watched(source, config.seed)
    drawn = validate.draw(source, networks, WATCHED, config.seed)
    return {name: np.concatenate(windows) for name, windows in drawn.items()}


def _scored(config: MetaTrainConfig, source: Source) -> Any:
    """The examples that a forecaster is scored on, by operation; or the networks."""
    if isinstance(source, Networks):
        return source
    most = SCORED_LEAVES if config.kind.leaves else SCORED
    return validate.draw(source, list(source.runs), most, config.seed)


def distinct(corpora: Sequence[Corpus]) -> list[Run]:
    """All runs of the corpora, each once, in an order that does not depend on the corpora's.

    A run that lies in two corpora could otherwise be both fitted to and validated on.
    """
    found = {json.dumps(run.config, sort_keys=True): run for opened in corpora for run in opened}
    return [found[key] for key in sorted(found)]


def _ahead(run: Run, rule: Rule) -> int:
    """The most snapshots that follow a window of this run, as far as it was recorded."""
    ahead = run.snapshots - rule.shortest + 1
    return ahead if run.band is None else min(ahead, run.band - rule.window + 1)


def _holds(run: Run) -> str:
    """The kind of record of a run, in words."""
    if run.band is not None:
        return f"inner products of {run.band} increments"
    sampled = [leaf.columns for leaf in run.leaves if leaf.columns < leaf.size]
    return f"a sample of {max(sampled)} weights a leaf" if sampled else "all weights"


def _source(
    config: MetaTrainConfig, runs: Sequence[Run], networks: Mapping[str, str | None]
) -> Source:
    """Make the source of the forecaster's examples."""
    if config.kind.whole:
        return Networks(runs, networks, config.rule)
    if config.kind.leaves:
        return Leaves(runs, networks, config.rule)
    windows = ScaledWindows if config.kind.context else Windows
    return windows(runs, networks, config.rule, config.sampling)


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
    config: MetaTrainConfig, corpora: Sequence[Corpus], parts: splitting.Parts
) -> dict[str, Any]:
    """The entries of the card on the corpora, and on the runs that were used."""
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
