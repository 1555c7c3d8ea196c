"""Which operation each weight belongs to: a forecaster keeps one network per operation.

From a Flax NNX module the operation is read off the module's type, never guessed. For a bare pytree
(Linen, Haiku, Equinox, plain dicts) there is a documented guess from names and ranks.
"""

import re
import sys
from typing import Any

import jax
import numpy as np

from nowcast.types import OPERATIONS, PyTree, UserError

_NORM_NAME = re.compile(r"(^|_)((bn|ln|gn)(_[a-z]+)?|norm\w*|\w*norm)(_?\d+)*$", re.IGNORECASE)
_EMBED_NAME = re.compile(r"embed|wte|wpe", re.IGNORECASE)
_NORM_LEAF = ("scale", "gamma", "beta")
_BIAS_LEAF = ("bias", "b", "biases")


def label_ops(model_or_params: PyTree) -> PyTree:
    """The operation of every trainable leaf.

    Args:
        model_or_params: A ``flax.nnx`` module, or any pytree of parameters.

    Returns:
        A pytree of strings from :data:`nowcast.types.OPERATIONS`, one per leaf. For a module it has the
        structure of ``nnx.to_pure_dict(nnx.state(model, nnx.Param))``; for a pytree that of the pytree.

    From a module, by type: ``nnx.Conv`` kernel → ``conv`` (``depthwise_conv`` when every input channel is
    its own group); ``nnx.Linear`` kernel → ``fc``; their biases → ``bias``; everything in a normalisation
    layer → ``norm``; ``nnx.Embed`` → ``embedding``; any other module → ``other``.

    From a bare pytree, by the first rule that fits the leaf's path and shape:

    1. a part of the path names an embedding (``embed…``, ``wte``, ``wpe``) → ``embedding``
    2. the leaf is called ``scale``, ``gamma`` or ``beta``, or its parent is called like a normalisation
       (``bn1``, ``BatchNorm_0``, ``ln_f``, ``norm``) → ``norm``
    3. rank 1, or called ``bias`` or ``b`` → ``bias``
    4. rank 2 → ``fc``
    5. rank 3 to 5 → ``depthwise_conv`` if a part of the path says so (``depthwise``, ``dw``), else ``conv``
    6. anything else (scalars) → ``other``

    The shape alone cannot tell a depthwise kernel ``(3, 3, 1, 32)`` from a first layer on grey images, which is why
    rule 5 goes by the name. Pass labels of your own where that matters.

    Example:
        >>> import nowcast, numpy as np
        >>> nowcast.label_ops({"dense": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}})
        {'dense': {'bias': 'bias', 'kernel': 'fc'}}
    """
    if is_module(model_or_params):
        return _label_module(model_or_params)
    leaves, treedef = jax.tree.flatten_with_path(model_or_params)
    return jax.tree.unflatten(treedef, [_guess(_names(path), np.ndim(leaf)) for path, leaf in leaves])


def flat_labels(tree: PyTree, labels: PyTree | None, *, leading_axes: int = 0) -> list[str]:
    """The operation of every leaf of ``tree``, in its flattening order; ``labels`` are matched by path.

    ``leading_axes`` extra axes in front of each leaf (a window) do not count for the guess.
    """
    leaves = jax.tree.flatten_with_path(tree)[0]
    if labels is None:
        return [_guess(_names(path), np.ndim(leaf) - leading_axes) for path, leaf in leaves]
    given = {_names(path): label for path, label in jax.tree.flatten_with_path(labels)[0]}
    for names, label in given.items():
        if label not in OPERATIONS:
            raise UserError(
                f"label {label!r} of leaf {'/'.join(names)!r} is no operation: use one of {', '.join(OPERATIONS)}"
            )
    wanted = [_names(path) for path, _ in leaves]
    for names in wanted:
        if names not in given:
            raise UserError(f"labels have no entry for leaf {'/'.join(names)!r}: pass nowcast.label_ops(model)")
    return [given[names] for names in wanted]


def is_module(tree: Any) -> bool:
    """Whether ``tree`` is a ``flax.nnx`` module. Flax is not imported for the answer: who has a module has imported it."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(tree, nnx.Module)


def path_name(path: tuple[Any, ...]) -> str:
    """A key path as text: ``convs/0/kernel``."""
    return "/".join(_names(path))


def _label_module(model: Any) -> PyTree:
    from flax import nnx

    owners = dict(nnx.iter_modules(model))
    state = nnx.to_flat_state(nnx.state(model, nnx.Param))
    labels: dict[Any, Any] = {}
    for path, _ in state:
        node = labels
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = _by_type(owners[path[:-1]], path[-1])
    return labels


def _by_type(module: Any, leaf: Any) -> str:
    from flax import nnx

    if isinstance(module, nnx.BatchNorm | nnx.LayerNorm | nnx.GroupNorm | nnx.RMSNorm | nnx.InstanceNorm):
        return "norm"
    if isinstance(module, nnx.Embed):
        return "embedding"
    if leaf == "bias" and isinstance(module, nnx.Conv | nnx.Linear | nnx.LinearGeneral | nnx.ConvTranspose):
        return "bias"
    if isinstance(module, nnx.Conv):
        groups = module.feature_group_count
        return "depthwise_conv" if groups > 1 and groups == module.in_features else "conv"
    if isinstance(module, nnx.ConvTranspose):
        return "conv"
    if isinstance(module, nnx.Linear | nnx.LinearGeneral):
        return "fc"
    return "other"


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """A key path as plain names; the ``value`` inside an NNX Variable is not a name of the model's."""
    names = []
    for key in path:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                names.append(str(getattr(key, attribute)))
                break
    return tuple(names[:-1] if len(names) > 1 and names[-1] in ("value", "raw_value") else names)


def _guess(names: tuple[str, ...], rank: int) -> str:
    leaf, parent = (names[-1] if names else ""), (names[-2] if len(names) > 1 else "")
    if any(_EMBED_NAME.search(name) for name in names):
        return "embedding"
    if leaf.lower() in _NORM_LEAF or _NORM_NAME.search(parent):
        return "norm"
    if rank == 1 or (rank > 0 and leaf.lower() in _BIAS_LEAF):
        return "bias"
    if rank == 2:
        return "fc"
    if 3 <= rank <= 5:
        depthwise = any("depthwise" in name.lower() or re.search(r"(^|_)dw", name.lower()) for name in names)
        return "depthwise_conv" if depthwise else "conv"
    return "other"
