"""Guess the operation of each leaf of a bare pytree from names, types and ranks, in that order.

Linen, Haiku and plain dicts have only names; in Equinox and other modules that are pytrees the type
of the module counts as well.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from nowcast.types import PyTree


class Named(NamedTuple):
    """A leaf, its names and the module that holds it."""

    names: tuple[str, ...]
    """The parts of its path."""
    holder: str
    """Type of the innermost module around the leaf, such as ``Linear``; empty if there is none."""
    depthwise: bool
    """Whether that module is a convolution with a group for each input channel."""
    value: Any


class Guess(NamedTuple):
    """The guessed operation of a leaf."""

    operation: str
    by_rank: bool
    """Whether the guess follows from the number of axes alone."""


_EMBEDDING = re.compile(r"embed|wte|wpe", re.IGNORECASE)
_TOKEN = re.compile(r"(cls|class)(_?token)?|pos_?emb\w*", re.IGNORECASE)
_NORM_PARENT = re.compile(r"(^|_)((bn|ln|gn)(_[a-z]+)?|norm\w*|\w*norm)(_?\d+)*$", re.IGNORECASE)
_NORM_TYPE = re.compile(r"norm(ali[sz]ation)?(\d+d)?$", re.IGNORECASE)
_NORM_LEAF = ("scale", "gamma", "beta")
_BIAS_LEAF = re.compile(r"b|bias(es|_\w+)?", re.IGNORECASE)
_CONV = re.compile(r"conv", re.IGNORECASE)
_DEPTHWISE = re.compile(r"depthwise|(^|_)dw", re.IGNORECASE)
_FC = re.compile(
    r"dense(_?general)?|query|key|value|out|qkv|linear\w*|proj\w*|mlp\w*|einsum|lora_?[ab]?|fc|\w+_(proj|fc|attn|qkv)",
    re.IGNORECASE,
)
_FC_TYPE = re.compile(r"linear\w*|\w*linear|dense(general)?|einsum|lora\w*|mlp\w*", re.IGNORECASE)
_CELL = re.compile(r"(lstm|gru|rnn|simple)cell", re.IGNORECASE)
_NUMBER = re.compile(r"(_?\d+)+$")
_CONTAINERS = (dict, list, tuple, Mapping)


def walk(tree: PyTree) -> list[Named]:
    """Every leaf of ``tree`` in JAX's order, with the names and the module around it."""
    return list(_walk(tree, (), "", False))


def _walk(node: Any, names: tuple[str, ...], holder: str, depthwise: bool) -> Any:
    def is_child(part: Any) -> bool:
        return part is not node

    parts = jax.tree.flatten_with_path(node, is_leaf=is_child)[0]
    if len(parts) == 1 and not parts[0][0]:
        yield Named(names, holder, depthwise, node)
        return
    box = _is_box([path for path, _ in parts])
    if not box and not isinstance(node, _CONTAINERS):
        holder, depthwise = type(node).__name__, _is_depthwise(node)
    for path, part in parts:
        yield from _walk(part, names if box else (*names, *key_names(path)), holder, depthwise)


def is_value(key: Any) -> bool:
    """Whether a key of a path leads into a box around an array.

    Boxes are an NNX Variable and Linen's ``Partitioned``; such a key is not a name of the model's.
    """
    return isinstance(key, jax.tree_util.GetAttrKey) and key.name in ("value", "raw_value")


def _is_box(paths: list[tuple[Any, ...]]) -> bool:
    return len(paths) == 1 and len(paths[0]) == 1 and is_value(paths[0][0])


def _is_depthwise(module: Any) -> bool:
    groups = getattr(module, "groups", 1)
    return isinstance(groups, int) and groups > 1 and groups == getattr(module, "in_channels", None)


def key_names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys of a path as text."""
    found = []
    for key in path:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                found.append(str(getattr(key, attribute)))
                break
    return tuple(found)


def guess(leaf: Named, leading_axes: int = 0) -> Guess:
    """The operation of a leaf; ``leading_axes`` in front of its shape (a window) do not count."""
    rank = np.ndim(leaf.value) - leading_axes
    name, parent, holder = _last(leaf.names[-1:]), _last(leaf.names[:-1]), leaf.holder
    by_name = _by_name(leaf, name, parent, rank)
    if by_name:
        return Guess(by_name, by_rank=False)
    if rank == 1:
        return Guess("bias", by_rank=True)
    if rank == 2:
        return Guess("fc", by_rank=not _CONV.search(parent + " " + holder))
    if 3 <= rank <= 5:
        return Guess("conv", by_rank=True)
    return Guess("other", by_rank=False)


def _by_name(leaf: Named, name: str, parent: str, rank: int) -> str | None:
    """The operation according to names and types, or None."""
    holder = leaf.holder
    if any(_EMBEDDING.search(part) for part in (*leaf.names, holder)) or _TOKEN.fullmatch(name):
        return "embedding"
    if name.lower() in _NORM_LEAF or _NORM_PARENT.search(parent) or _NORM_TYPE.search(holder):
        return "norm"
    if rank < 1 or holder == "PReLU":
        return "other"
    if _BIAS_LEAF.fullmatch(name):
        return "bias"
    if rank == 1:
        return None
    if any(_CONV.search(part) for part in (name, parent, holder)):
        if rank == 2:
            return None
        return "depthwise_conv" if leaf.depthwise or _says_depthwise(leaf.names) else "conv"
    if 3 <= rank <= 5 and (_says_depthwise(leaf.names) or leaf.depthwise):
        return "depthwise_conv"
    named = any(_FC.fullmatch(_NUMBER.sub("", part)) for part in (name, parent))
    cell = any(_CELL.search(part) and not _CONV.search(part) for part in (*leaf.names, holder))
    return "fc" if named or cell or _FC_TYPE.fullmatch(holder) else None


def _says_depthwise(names: tuple[str, ...]) -> bool:
    return any(_DEPTHWISE.search(name) for name in names)


def _last(names: tuple[str, ...]) -> str:
    """The last part of a path that is not a number; of Haiku's ``mlp/~/linear_0``, ``linear_0``."""
    return next((name.rpartition("/")[2] for name in reversed(names) if not name.isdigit()), "")
