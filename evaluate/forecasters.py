"""The forecasters that arms jump by: loaded by name, and what is known of each."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import nowcast
from evaluate.arms import Arm
from nowcast import bundle
from nowcast.forecasters import SIMPLE, Forecaster
from nowcast.published import is_published


class Loaded(NamedTuple):
    """A forecaster, and what is known of it."""

    forecaster: Forecaster
    identity: str
    """A name, or the hash of its parameters."""
    card: dict[str, Any]


def of(arm: Arm) -> Loaded:
    """What an arm jumps by; of a null forecaster the one whose jumps it imitates is in it."""
    if not arm.of:
        return load(str(arm.forecaster))
    of = load(arm.of)
    null = SIMPLE[str(arm.forecaster)](of=of.forecaster)  # type: ignore[call-arg]
    return Loaded(null, f"{arm.forecaster} of {of.identity}", {})


def load(name_or_path: str) -> Loaded:
    """A forecaster by name, from a bundle, or of the WNN authors' files."""
    if is_published(name_or_path):
        published = nowcast.import_published_wnn(name_or_path)
        return Loaded(published, bundle.params_hash(published), {})
    if name_or_path in SIMPLE:
        return Loaded(nowcast.load(name_or_path), name_or_path, {})
    forecaster = nowcast.load(name_or_path)
    card = bundle.read_card(name_or_path)
    return Loaded(forecaster, card["params_sha256"], card)


def seen(cards: Mapping[str, Mapping[str, Any]], task: str) -> list[str]:
    """What the learned forecasters were fitted to, and whether this task was among it, in words;
    those alike in one sentence.
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


def made_by(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The commands behind the bundles: those of their corpora, then their own."""
    lines = [
        line
        for card in cards.values()
        for line in (*card.get("corpus", {}).get("commands", []), card.get("command"))
    ]
    return list(dict.fromkeys(line for line in lines if line))
