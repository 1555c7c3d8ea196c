"""Save and load learned optimizers: bundles as those of forecasters, whose cards say ``optimizer``.

Two come with the project: ``l2o`` and ``l2o_amalgam``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collect.training.learned.kinds import KINDS
from collect.training.learned.optimizer import LearnedOptimizer
from nowcast import text
from nowcast.bundle import card_hash, card_of, read_params, write_folder
from nowcast.paths import expanded
from nowcast.types import UserError

PRETRAINED = Path(__file__).parent / "pretrained"
"""The bundles that come with the project."""


def load(name_or_path: str | os.PathLike[str]) -> LearnedOptimizer:
    """Load a learned optimizer.

    Args:
        name_or_path: ``l2o`` or ``l2o_amalgam``, which come with the project, or the folder of a
            bundle that ``nowcast-meta-train learner=…`` wrote (``./l2o`` for a folder of that
            name).

    Raises:
        UserError: No such name or folder; a bundle of something else, damaged, or changed since it
            was written.

    Examples:
        >>> from collect.training.learned import load
        >>> load("l2o").name
        'l2o'
    """
    name = str(name_or_path)
    folder = PRETRAINED / name if name in KINDS else expanded(name_or_path)
    if not folder.is_dir():
        raise UserError(
            f"learned optimizer {name!r} is neither a name nor a bundle's folder;"
            f" {text.choice(name, list(KINDS))}; {text.command('meta_train')} learner=l2o makes a"
            " bundle"
        )
    card = card_of(folder, name)
    if card.get("optimizer") not in KINDS:
        held = card.get("forecaster") or card.get("optimizer")
        raise UserError(
            f"bundle {name!r} holds {held!r}, which is no learned optimizer; give a bundle of"
            f" {text.command('meta_train')} learner={'|'.join(KINDS)}"
        )
    if card.get("card_sha256") != card_hash(card):
        raise UserError(
            f"bundle {name!r}: card.json is not as it was written (its sha256 differs); make the"
            " bundle again"
        )
    params = read_params(folder, name, card)
    unknown = sorted(set(params) - set(KINDS[card["optimizer"]].networks))
    if unknown or not params:
        raise UserError(
            f"bundle {name!r}: has the networks {', '.join(sorted(params)) or 'none'}, and"
            f" {card['optimizer']} has {', '.join(KINDS[card['optimizer']].networks)}; make the"
            " bundle again"
        )
    return LearnedOptimizer(card["optimizer"], params, card)


def save(
    optimizer: LearnedOptimizer, folder: str | os.PathLike[str], card: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a learned optimizer as a bundle, and return its card as written.

    The folder appears whole or not at all, and replaces an older bundle.
    """
    return write_folder(folder, optimizer.params, {**card, "optimizer": optimizer.name})
