"""Find which operation each weight belongs to: a forecaster keeps one network per operation.

For a Flax NNX module the operation follows from the types of Flax's layers; parameters that any
other module holds go by their names. For a bare pytree (Linen, Haiku, Equinox, plain dicts, an
``nnx.State``) it is a documented guess from names, types and ranks: :mod:`nowcast.guess`.
"""

import sys
from typing import Any

import jax

from nowcast.guess import Guess, Named, guess, is_value, key_names, walk
from nowcast.types import OPERATIONS, PyTree, UserError


def label_ops(model_or_params: PyTree) -> PyTree:
    """The operation of every trainable leaf.

    Args:
        model_or_params: A ``flax.nnx`` module, or any pytree of parameters.

    Returns:
        A pytree of strings from :data:`nowcast.types.OPERATIONS`, one per leaf. For a module it has
        the structure of ``nnx.to_pure_dict(nnx.state(model, nnx.Param))``; for a pytree, its own.

    From a module, by type: ``nnx.Conv`` kernel → ``conv`` (``depthwise_conv`` when every input
    channel is its own group); kernels of ``nnx.Linear``, ``nnx.Einsum`` and ``nnx.LoRA`` → ``fc``;
    their biases → ``bias``; everything in a normalisation layer → ``norm``; ``nnx.Embed`` →
    ``embedding``. Parameters that any other module holds, in lists and dicts too, go by rules 1 to
    5 below. Where none fits, ``kernel`` and ``weight`` go by rule 6, and any other is ``other``.

    An ``nnx.State`` has names and no types: it is labelled as a bare pytree. Pass the module for
    exact labels.

    From a bare pytree, by the first rule that fits the leaf's path, the type of the module that
    holds it (Equinox's, or any other that is a pytree) and its number of axes:

    1. a part of the path, or the type, names an embedding (``embed…``, ``wte``, ``wpe``), or the
        leaf is a ``cls`` token → ``embedding``
    2. the leaf is called ``scale``, ``gamma`` or ``beta``, or its parent or type is called like a
       normalisation (``bn1``, ``BatchNorm_0``, ``ln_f``, ``norm``) → ``norm``
    3. called ``bias`` or ``b`` → ``bias``
    4. three axes or more, and the leaf, its parent or its type is called a convolution → ``conv``;
       ``depthwise_conv`` if a part of the path says so (``depthwise``, ``dw``)
    5. two axes or more, and the leaf or its parent is called ``Dense``, ``DenseGeneral``,
       ``query``, ``key``, ``value``, ``out``, ``qkv``, ``linear…``, ``proj…``, ``mlp…``, ``fc`` or
       like them (a number behind does not count), or its type is ``Linear`` or a recurrent cell →
       ``fc``
    6. by the number of axes alone, which :func:`nowcast.explain` marks: 1 → ``bias``; 2 → ``fc``; 3
        to 5 → ``conv``
    7. anything else (scalars) → ``other``

    The shape alone cannot tell a depthwise kernel ``(3, 3, 1, 32)`` from a first layer on grey
    images, which is why rule 4 goes by the name. Pass labels of your own where that matters.

    Examples:
        >>> import nowcast, numpy as np
        >>> nowcast.label_ops({"dense": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}})
        {'dense': {'bias': 'bias', 'kernel': 'fc'}}
    """
    params, guesses = guessed(model_or_params)
    return jax.tree.unflatten(jax.tree.structure(params), [label.operation for label in guesses])


def guessed(model_or_params: PyTree) -> tuple[PyTree, list[Guess]]:
    """The parameters as a pytree (a pure dict for a module), and the guess for each leaf."""
    if not is_module(model_or_params):
        return model_or_params, [guess(leaf) for leaf in walk(model_or_params)]
    from flax import nnx

    params = nnx.to_pure_dict(nnx.state(model_or_params, nnx.Param))
    owners = {tuple(map(str, path)): module for path, module in nnx.iter_modules(model_or_params)}
    return params, [_by_type(_owner(owners, leaf.names), leaf) for leaf in walk(params)]


def flat_labels(tree: PyTree, labels: PyTree | None, *, leading_axes: int = 0) -> list[str]:
    """The operation of every leaf of ``tree``, in its flattening order.

    ``labels`` are matched by path. ``leading_axes`` extra axes in front of each leaf (a window) do
    not count for the guess.
    """
    return [label.operation for label in flat_guesses(tree, labels, leading_axes=leading_axes)]


def flat_guesses(tree: PyTree, labels: PyTree | None, *, leading_axes: int = 0) -> list[Guess]:
    """As :func:`flat_labels`, and whether each was guessed from its rank alone."""
    leaves = walk(tree)
    if labels is None:
        return [guess(leaf, leading_axes) for leaf in leaves]
    given = {leaf.names: leaf.value for leaf in walk(labels)}
    for names, label in given.items():
        if label not in OPERATIONS:
            raise UserError(
                f"label {label!r} of leaf {'/'.join(names)!r} is not an operation: use one of"
                f" {', '.join(OPERATIONS)}"
            )
    for leaf in leaves:
        if leaf.names not in given:
            raise UserError(
                f"labels have no entry for leaf {'/'.join(leaf.names)!r}: pass"
                " nowcast.label_ops(model)"
            )
    return [Guess(given[leaf.names], by_rank=False) for leaf in leaves]


def is_module(tree: Any) -> bool:
    """Whether ``tree`` is a ``flax.nnx`` module.

    Flax is not imported for the answer: if ``tree`` is such a module, it was imported before.
    """
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(tree, nnx.Module)


def is_state(tree: Any) -> bool:
    """Whether ``tree`` is a ``flax.nnx`` State: parameters by name, without modules' types."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(tree, nnx.State)


def path_name(path: tuple[Any, ...]) -> str:
    """A key path as text: ``convs/0/kernel``.

    The ``value`` inside a box around an array is left out: it is not a name of the model's.
    """
    names = key_names(path)
    inside = len(names) > 1 and is_value(path[-1])
    return "/".join(names[:-1] if inside else names)


def _owner(owners: dict[tuple[str, ...], Any], names: tuple[str, ...]) -> Any:
    """The innermost module around a leaf; a list or dict of parameters does not count."""
    around = (names[:depth] for depth in range(len(names) - 1, -1, -1))
    return owners[next(place for place in around if place in owners)]


def _by_type(module: Any, leaf: Named) -> Guess:
    """The operation of a leaf of this NNX module.

    It follows from the module's type where that is one of Flax's layers, and from names otherwise.
    """
    from flax import nnx

    norms = (
        nnx.BatchNorm
        | nnx.LayerNorm
        | nnx.GroupNorm
        | nnx.RMSNorm
        | nnx.InstanceNorm
        | nnx.WeightNorm
    )
    fully_connected = nnx.Linear | nnx.LinearGeneral | nnx.Einsum | nnx.LoRA
    if isinstance(module, norms):
        return Guess("norm", by_rank=False)
    if isinstance(module, nnx.Embed):
        return Guess("embedding", by_rank=False)
    if isinstance(module, nnx.Conv | nnx.ConvTranspose | fully_connected):
        if leaf.names[-1] == "bias":
            return Guess("bias", by_rank=False)
        if isinstance(module, fully_connected):
            return Guess("fc", by_rank=False)
        groups = getattr(module, "feature_group_count", 1)
        depthwise = groups > 1 and groups == module.in_features
        return Guess("depthwise_conv" if depthwise else "conv", by_rank=False)
    seems = guess(leaf._replace(holder=type(module).__name__))
    if seems.by_rank and leaf.names[-1] not in ("kernel", "weight"):
        return Guess("other", by_rank=False)
    return seems
