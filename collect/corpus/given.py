"""Convert what a loop records: arrays of any framework, labels, metrics, a configuration."""

import json
import operator
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import nowcast
from collect.corpus.layout import DIGESTS
from nowcast.ops import flat_labels, is_module, path_name
from nowcast.types import PyTree, UserError


def pure(params: PyTree) -> PyTree:
    """The parameters of a Flax NNX module as a dict; everything else unchanged."""
    if not is_module(params):
        return params
    from flax import nnx

    return nnx.to_pure_dict(nnx.state(params, nnx.Param))


def arrays_of(params: PyTree) -> PyTree:
    """The same tree with arrays of JAX or NumPy; PyTorch's are moved to host memory."""
    leaves, structure = jax.tree.flatten_with_path(params)
    if not leaves:
        raise UserError("params: they hold no array; give the parameters that are trained")
    return jax.tree.unflatten(structure, [_array(path_name(path), leaf) for path, leaf in leaves])


def _array(name: str, leaf: Any) -> Any:
    """An array of floats with ``shape`` and ``dtype``."""
    if hasattr(leaf, "detach"):  # PyTorch's
        leaf = leaf.detach().cpu()
        try:
            leaf = leaf.numpy()
        except TypeError:  # bfloat16, which NumPy lacks
            leaf = leaf.float().numpy()
    elif not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        if not isinstance(leaf, float):
            kind = type(leaf).__name__
            raise UserError(
                f"leaf {name!r} is not an array but {kind}; give the arrays that are trained, in"
                " dicts or lists"
            )
        leaf = np.float32(leaf)
    if not jax.dtypes.issubdtype(leaf.dtype, np.floating):
        raise UserError(
            f"leaf {name!r} holds {leaf.dtype}, and floats alone are recorded; leave it out, as"
            " dict(model.named_parameters()) does"
        )
    return leaf


def labels_of(params: PyTree, arrays: PyTree, labels: PyTree | None) -> list[str]:
    """The operation of every leaf."""
    if labels is not None:
        return flat_labels(arrays, labels)
    return [
        operation_of(name, array) if "." in (name := path_name(path)) else operation
        for (path, array), operation in zip(
            jax.tree.flatten_with_path(arrays)[0],
            jax.tree.leaves(nowcast.label_ops(params)),
            strict=True,
        )
    ]


def operation_of(name: str, array: Any) -> str:
    """The operation of an array with a name such as ``layer1.0.bn1.weight``."""
    tree = array
    for part in reversed(re.split(r"[./]", name)):
        tree = {part: tree}
    [operation] = jax.tree.leaves(nowcast.label_ops(tree))
    return operation


def free_name(name: str) -> str:
    """A metric's name, refused if each snapshot has it already."""
    if name in ("snapshot", "step", *DIGESTS.values()):
        raise UserError(f"metrics: {name!r} is what a snapshot says of itself; choose another name")
    return name


def number(name: str, value: Any) -> float | int:
    """A metric as a number that JSON takes."""
    try:
        return operator.index(value)
    except TypeError:
        pass
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"metrics: {name}={value!r} is not a number; give a number for each name"
        ) from None


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as JSON gives it back."""
    try:
        return json.loads(json.dumps(dict(config), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"config={config!r}: {error}; give numbers, texts, lists and dicts of them"
        ) from None
