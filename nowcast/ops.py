"""Which operation each weight belongs to: a forecaster keeps one network per operation.

From a Flax NNX module the operation is read off the module's type, never guessed. For a bare pytree
(Linen, Haiku, Equinox, plain dicts) there is a documented guess from names, types and ranks: :mod:`nowcast.guess`.
"""

import sys
from typing import Any

import jax

from nowcast.guess import Guess, guess, key_names, walk
from nowcast.types import OPERATIONS, PyTree, UserError


def label_ops(model_or_params: PyTree) -> PyTree:
    """The operation of every trainable leaf.

    Args:
        model_or_params: A ``flax.nnx`` module, or any pytree of parameters.

    Returns:
        A pytree of strings from :data:`nowcast.types.OPERATIONS`, one per leaf. For a module it has the
        structure of ``nnx.to_pure_dict(nnx.state(model, nnx.Param))``; for a pytree that of the pytree.

    From a module, by type: ``nnx.Conv`` kernel → ``conv`` (``depthwise_conv`` when every input channel is
    its own group); kernels of ``nnx.Linear``, ``nnx.Einsum`` and ``nnx.LoRA`` → ``fc``; their biases → ``bias``; everything in a
    normalisation layer → ``norm``; ``nnx.Embed`` → ``embedding``; parameters of any other module, and those that it keeps in
    lists and dicts → ``other``.

    From a bare pytree, by the first rule that fits the leaf's path, the type of the module that holds it (Equinox's, or any other
    that is a pytree) and its number of axes:

    1. a part of the path, or the type, names an embedding (``embed…``, ``wte``, ``wpe``), or the leaf is a ``cls`` token → ``embedding``
    2. the leaf is called ``scale``, ``gamma`` or ``beta``, or its parent or type is called like a normalisation
       (``bn1``, ``BatchNorm_0``, ``ln_f``, ``norm``) → ``norm``
    3. called ``bias`` or ``b`` → ``bias``
    4. three axes or more, and the leaf, its parent or its type is called a convolution → ``conv``; ``depthwise_conv`` if a part of
       the path says so (``depthwise``, ``dw``)
    5. two axes or more, and the leaf or its parent is called ``Dense``, ``DenseGeneral``, ``query``, ``key``, ``value``, ``out``, ``qkv``,
       ``linear…``, ``proj…``, ``mlp…``, ``fc`` or like them (a number behind does not count), or its type is ``Linear`` or a recurrent
       cell → ``fc``
    6. by the number of axes alone, which :func:`nowcast.explain` marks: 1 → ``bias``; 2 → ``fc``; 3 to 5 → ``conv``
    7. anything else (scalars) → ``other``

    The shape alone cannot tell a depthwise kernel ``(3, 3, 1, 32)`` from a first layer on grey images, which is why
    rule 4 goes by the name. Pass labels of your own where that matters.

    Example:
        >>> import nowcast, numpy as np
        >>> nowcast.label_ops({"dense": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}})
        {'dense': {'bias': 'bias', 'kernel': 'fc'}}
    """
    if is_module(model_or_params):
        return _label_module(model_or_params)
    treedef = jax.tree.structure(model_or_params)
    return jax.tree.unflatten(treedef, [guess(leaf).operation for leaf in walk(model_or_params)])


def flat_labels(tree: PyTree, labels: PyTree | None, *, leading_axes: int = 0) -> list[str]:
    """The operation of every leaf of ``tree``, in its flattening order; ``labels`` are matched by path.

    ``leading_axes`` extra axes in front of each leaf (a window) do not count for the guess.
    """
    return [label.operation for label in flat_guesses(tree, labels, leading_axes=leading_axes)]


def flat_guesses(tree: PyTree, labels: PyTree | None, *, leading_axes: int = 0) -> list[Guess]:
    """As :func:`flat_labels`, with what is guessed by rank alone."""
    leaves = walk(tree)
    if labels is None:
        return [guess(leaf, leading_axes) for leaf in leaves]
    given = {leaf.names: leaf.value for leaf in walk(labels)}
    for names, label in given.items():
        if label not in OPERATIONS:
            raise UserError(
                f"label {label!r} of leaf {'/'.join(names)!r} is no operation: use one of {', '.join(OPERATIONS)}"
            )
    for leaf in leaves:
        if leaf.names not in given:
            raise UserError(f"labels have no entry for leaf {'/'.join(leaf.names)!r}: pass nowcast.label_ops(model)")
    return [Guess(given[leaf.names], by_rank=False) for leaf in leaves]


def is_module(tree: Any) -> bool:
    """Whether ``tree`` is a ``flax.nnx`` module. Flax is not imported for the answer: who has a module has imported it."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(tree, nnx.Module)


def path_name(path: tuple[Any, ...]) -> str:
    """A key path as text: ``convs/0/kernel``. The ``value`` inside an NNX Variable is not a name of the model's."""
    names = key_names(path)
    inside = len(names) > 1 and names[-1] in ("value", "raw_value") and isinstance(path[-1], jax.tree_util.GetAttrKey)
    return "/".join(names[:-1] if inside else names)


def _label_module(model: Any) -> PyTree:
    from flax import nnx

    owners = dict(nnx.iter_modules(model))
    labels: dict[Any, Any] = {}
    for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        node = labels
        for part in path[:-1]:
            node = node.setdefault(part, {})
        around = (path[:depth] for depth in range(len(path) - 1, -1, -1))  # a list or a dict of parameters is no module
        node[path[-1]] = _by_type(owners[next(place for place in around if place in owners)], path[-1])
    return labels


def _by_type(module: Any, leaf: Any) -> str:
    from flax import nnx

    norms = nnx.BatchNorm | nnx.LayerNorm | nnx.GroupNorm | nnx.RMSNorm | nnx.InstanceNorm | nnx.WeightNorm
    fully_connected = nnx.Linear | nnx.LinearGeneral | nnx.Einsum | nnx.LoRA
    if isinstance(module, norms):
        return "norm"
    if isinstance(module, nnx.Embed):
        return "embedding"
    if leaf == "bias" and isinstance(module, nnx.Conv | nnx.ConvTranspose | fully_connected):
        return "bias"
    if isinstance(module, nnx.Conv):
        groups = module.feature_group_count
        return "depthwise_conv" if groups > 1 and groups == module.in_features else "conv"
    if isinstance(module, nnx.ConvTranspose):
        return "conv"
    return "fc" if isinstance(module, fully_connected) else "other"
