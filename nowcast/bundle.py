"""Save and load bundles: forecasters on disk.

A bundle is a folder of two files::

    card.json     what it is, how it was made, what it scored; and the hash of params.npz
    params.npz    one array per parameter, named "network/layer/kernel"
"""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nowcast.bundle_folder import folder_of, kinds, shipped
from nowcast.forecasters import SIMPLE, Forecaster
from nowcast.paths import check_writable, expanded
from nowcast.rate_forecaster import Rate
from nowcast.types import PyTree, UserError

SCHEMA = "weight-nowcaster/bundle/1"
WRONG = (
    *(UserError, zipfile.BadZipFile, ValueError, TypeError, AttributeError, KeyError, EOFError),
)
"""What parameters of another forecaster, or damaged ones, make Python say."""


def load(name_or_path: str | os.PathLike[str]) -> Any:
    """Load a forecaster by its name, or from a bundle's folder.

    Args:
        name_or_path: ``"wnn"``, ``"gram"`` or ``"introspection"``, which come with the library,
            meta-trained; ``"linear"``, ``"last_value"`` and the like, which need no learning; or
            the path of a bundle that ``scripts/meta_train.py`` wrote (``"./wnn"`` where a folder
            has such a name).

    Returns:
        A :class:`nowcast.Forecaster` of weights; of a bundle of ``forecaster=rate`` a
        :class:`nowcast.rate_forecaster.Rate`, which :func:`nowcast.auto_rate` takes.

    Raises:
        UserError: No such name or folder; a bundle of another schema, damaged, or changed since it
            was written.

    Examples:
        >>> import nowcast
        >>> nowcast.load("wnn").window
        5
    """
    name = str(name_or_path)
    if name in SIMPLE:
        return SIMPLE[name]()
    folder = folder_of(name_or_path, [*shipped(), *SIMPLE])
    card = read_card(name_or_path)
    kind = kinds()[card["forecaster"]]
    params = read_params(folder, name, card)
    try:
        return kind(params=params, **{key: card[key] for key in _settings(kind) if key in card})
    except WRONG as error:
        raise _other(name, error) from None


def read_params(folder: Path, name: str, card: Mapping[str, Any]) -> PyTree:
    """The parameters in a bundle's folder, if they are those that its card describes.

    Messages call the bundle by ``name``.
    """
    content = _read(folder / "params.npz")
    if hashlib.sha256(content).hexdigest() != card["params_sha256"]:
        raise UserError(
            f"bundle {name!r}: params.npz is not the file its card describes (sha256 differs); make"
            " the bundle again"
        )
    try:
        return _unflatten(content)
    except WRONG as error:
        raise _other(name, error) from None


def _other(name: str, error: Exception) -> UserError:
    return UserError(
        f"bundle {name!r}: params.npz does not hold what its card says ({error}); make the bundle"
        " again"
    )


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a bundle's card, by its folder or shipped name, and check its schema and keys."""
    card = card_of(folder_of(folder, shipped()), str(folder))
    if "optimizer" in card:
        raise UserError(
            f"bundle {str(folder)!r} holds a learned optimizer and no forecaster; load it by"
            f" collect.training.learned.load({str(folder)!r})"
        )
    written = dict(card)
    if "served_by" in card:  # the older name
        card["networks"] = card.pop("served_by")
    of_weights = set() if card.get("forecaster") == Rate.name else {"window", "horizon", "networks"}
    missing = ({"forecaster", "params_sha256"} | of_weights) - card.keys()
    if missing:
        raise UserError(
            f"bundle {str(folder)!r}: its card lacks {', '.join(sorted(missing))}; make the bundle"
            " again"
        )
    shaped = {
        "forecaster": str,
        "window": int,
        "horizon": int,
        "networks": dict,
        "params_sha256": str,
        "corpus": dict,
    }
    for key, kind in shaped.items():
        if key in card and not isinstance(card[key], kind):
            raise UserError(
                f"bundle {str(folder)!r}: its card says {key}={card[key]!r}; make the bundle again"
            )
    if card["forecaster"] not in kinds():
        raise UserError(
            f"bundle {str(folder)!r} holds a {card['forecaster']!r}, and this version knows"
            f" {', '.join(kinds())}; upgrade weight-nowcaster"
        )
    if card.get("card_sha256") != card_hash(written):
        raise UserError(
            f"bundle {str(folder)!r}: card.json is not as it was written (its sha256 differs); make"
            " the bundle again"
        )
    return card


def card_of(folder: Path, name: str) -> dict[str, Any]:
    """The content of a bundle's ``card.json``, if its schema is ours; messages say ``name``."""
    content = _read(folder / "card.json")
    try:
        card = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"bundle {name!r}: card.json is damaged ({error}); make the bundle again"
        ) from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        found = card.get("schema") if isinstance(card, dict) else None
        raise UserError(
            f"bundle {name!r} has schema {found!r}, and this version reads {SCHEMA!r}; make the"
            " bundle again"
        )
    return card


def save(
    forecaster: Forecaster | Rate,
    folder: str | os.PathLike[str],
    card: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a learned forecaster as a bundle.

    The folder appears whole or not at all, and replaces an older bundle.

    Args:
        forecaster: A learned one; the others need no bundle.
        folder: Where. Refused if it exists and is not a bundle.
        card: What else its card should say: corpus, configuration, scores (anything JSON can hold).

    Returns:
        The card as written.

    Raises:
        UserError: The forecaster has nothing to save; the folder holds something else.
    """
    if not forecaster.learned:
        raise UserError(
            f"{forecaster.name!r} has no parameters to save: nowcast.load({forecaster.name!r})"
            " makes it"
        )
    said = {
        **(card or {}),
        "forecaster": forecaster.name,
        **{key: getattr(forecaster, key) for key in _settings(forecaster)},
    }
    return write_folder(folder, forecaster.params, said)  # type: ignore[union-attr]


def write_folder(
    folder: str | os.PathLike[str], params: PyTree, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Write parameters and a card as a bundle's folder; it appears whole or not at all.

    Args:
        folder: Where. Refused if it exists and is not a bundle.
        params: Nested dictionaries of arrays.
        card: What the card says, beside the schema and the hashes.

    Returns:
        The card as written.
    """
    folder = expanded(folder)
    check_destination(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    fresh.mkdir()
    try:
        np.savez(fresh / "params.npz", **flatten(params))  # type: ignore[arg-type]
        full = {
            **card,
            "schema": SCHEMA,
            "params_sha256": hashlib.sha256((fresh / "params.npz").read_bytes()).hexdigest(),
        }
        full["card_sha256"] = card_hash(full)
        (fresh / "card.json").write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            old = fresh.with_name(fresh.name + ".old")
            folder.rename(old)
            fresh.rename(folder)
            shutil.rmtree(old)
        else:
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return full


def check_destination(folder: str | os.PathLike[str]) -> None:
    """Refuse a path where a bundle cannot be written: a file, or a folder with other content."""
    folder = expanded(folder)
    check_writable(f"bundle {str(folder)!r}", folder)
    if folder.exists() and (held := {item.name for item in folder.iterdir()}):
        ours = (
            "card.json" in held
            and b'"weight-nowcaster/bundle/' in (folder / "card.json").read_bytes()
        )
        foreign = sorted(held - {"card.json", "params.npz", "loss.png"})
        if not ours or foreign:
            what = f"also holds {foreign[0]!r}" if ours else "exists and is not a bundle"
            raise UserError(f"bundle {str(folder)!r} {what}; choose another path")


def params_hash(forecaster: Forecaster | Rate) -> str:
    """SHA-256 of a learned forecaster's parameters, without a bundle."""
    digest = hashlib.sha256()
    for name, value in sorted(flatten(forecaster.params).items()):  # type: ignore[union-attr]
        digest.update(name.encode() + np.asarray(value).tobytes())
    return digest.hexdigest()


def card_hash(card: Mapping[str, Any]) -> str:
    """SHA-256 of a card's content."""
    said = json.loads(
        json.dumps({key: value for key, value in card.items() if key != "card_sha256"})
    )
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _settings(forecaster: Any) -> list[str]:
    """The fields that a forecaster has besides its parameters, and that a bundle keeps."""
    return [
        field.name
        for field in dataclasses.fields(forecaster)
        if field.name != "params" and field.metadata.get("saved", True)
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"bundle {str(path.parent)!r}: cannot read {path.name} ({error.strerror}); make the"
            " bundle again"
        ) from None


def flatten(params: PyTree) -> dict[str, np.ndarray]:
    """Nested dictionaries as one, with names such as ``conv/dense_1/kernel``."""
    leaves = jax.tree.flatten_with_path(params)[0]
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


def _unflatten(content: bytes) -> PyTree:
    tree: dict[str, Any] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name in arrays.files:
            *parents, leaf = name.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = jnp.asarray(arrays[name])
    return tree
