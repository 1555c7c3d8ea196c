"""Load the forecasters that arms jump by, and describe how each was made."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import nowcast
from evaluate.arms import Arm
from nowcast import bundle, published_nino
from nowcast.forecasters import SIMPLE, Forecaster
from nowcast.published import is_published
from nowcast.types import UserError


class Loaded(NamedTuple):
    """A forecaster, its identity, and its card."""

    forecaster: Forecaster
    identity: str
    """The SHA-256 of its parameters; the name of a forecaster that has none."""
    card: dict[str, Any]
    """The card of its bundle; empty where it comes from no bundle."""


def of(arm: Arm) -> Loaded:
    """Load the forecaster of an arm.

    A null forecaster (``noise``, ``permuted``) is made around the forecaster that it imitates.
    """
    if not arm.of:
        return load(str(arm.forecaster))
    of = load(arm.of)
    null = SIMPLE[str(arm.forecaster)](of=of.forecaster)  # type: ignore[call-arg]
    return Loaded(null, f"{arm.forecaster} of {of.identity}", {})


def load(name_or_path: str) -> Loaded:
    """Load a forecaster.

    Args:
        name_or_path: A name, a bundle's folder, a folder with the WNN authors' files, or a PyTorch
            file of NiNo's authors.

    Raises:
        UserError: There is no such forecaster, or its files are damaged.
    """
    if is_published(name_or_path):
        published = nowcast.import_published_wnn(name_or_path)
        return Loaded(published, bundle.params_hash(published), {})
    if published_nino.is_published(name_or_path):
        nino = nowcast.import_published_nino(name_or_path)
        return Loaded(nino, bundle.params_hash(nino), {})
    if name_or_path in SIMPLE:
        return Loaded(nowcast.load(name_or_path), name_or_path, {})
    forecaster = nowcast.load(name_or_path)
    if not isinstance(forecaster, Forecaster):
        raise UserError(
            f"forecaster={name_or_path!r} reads learning rates and forecasts no weights; give it to"
            f" an arm whose rate follows it: arm.NAME.auto.forecaster={name_or_path}"
        )
    card = bundle.read_card(name_or_path)
    return Loaded(forecaster, card["params_sha256"], card)


def describe_fits(cards: Mapping[str, Mapping[str, Any]], task: str) -> list[str]:
    """Sentences that say on which tasks the learned forecasters were fitted.

    Each sentence also says whether this task was among them. Forecasters that were fitted on the
    same tasks share a sentence.

    Args:
        cards: The forecasters' cards, by arm.
        task: The name of the task that is compared on.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for arm, card in cards.items():
        if card:
            found.setdefault(tuple(card.get("corpus", {}).get("tasks", [])), []).append(arm)
    lines = []
    for tasks, arms in found.items():
        what = (
            f"meta-trained on {', '.join(tasks)}" if tasks else "meta-trained on what is not known"
        )
        whether = (
            f"{'ALREADY' if task in tasks else 'never'} seen {task}"
            if tasks
            else f"perhaps seen {task}"
        )
        lines.append(f"The forecaster of {', '.join(arms)} was {what}; it has {whether}.")
    return lines


def commands_of_bundles(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The commands that made the bundles, each once: those of the corpora, then the fits."""
    lines = [
        line
        for card in cards.values()
        for line in (*card.get("corpus", {}).get("commands", []), card.get("command"))
    ]
    return list(dict.fromkeys(line for line in lines if line))
