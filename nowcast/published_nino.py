"""Import the weights that NiNo's authors published: of NiNo itself, and of WNN+.

They are PyTorch files in the folder ``checkpoints`` of github.com/SamsungSAILMontreal/nino, under
the MIT licence. PyTorch is not needed to read them.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nowcast.forecasters import nino, wnn_plus
from nowcast.forecasters.nino import NiNo
from nowcast.forecasters.wnn_plus import WNNPlus
from nowcast.neurons.graph import LARGEST
from nowcast.paths import expanded
from nowcast.torch_file import read_tensors
from nowcast.types import PyTree, UserError

WNN_PLUS = {
    "in": "edge_proj.fc.0",
    "types": "layer_embed",
    "hidden1": "edge_mlp.fc.0",
    "hidden2": "edge_mlp.fc.2",
    "hidden3": "edge_mlp.fc.4",
    "out": "edge_mlp.fc.6",
}
"""Our layers of WNN+, and the authors' names of them."""
NINO = {
    "types": "layer_embed",
    "nodes": "node_proj.fc.0",
    "edges": "edge_proj.fc.0",
    **{
        f"{ours}{number}": f"gnn.{theirs}"
        for number in range(nino.ROUNDS)
        for ours, theirs in {
            "message": f"convs.{number}.edge_encoder",
            "pair": f"convs.{number}.pre_nns.0.0",
            "node": f"convs.{number}.post_nns.0.0",
            "out": f"convs.{number}.lin",
            "edge": f"edge_update.{number}.lin_e",
            "source": f"edge_update.{number}.lin_s",
            "target": f"edge_update.{number}.lin_t",
            "last": f"edge_update.{number}.lin1",
        }.items()
    },
    "hidden": "edge_out.fc.0",
    "out": "edge_out.fc.2",
}
"""Those of NiNo."""
UNREAD = "gnn.convs.2."
"""The authors' third round of messages: it changes neurons only, and nothing reads them."""


def is_published(file: str | os.PathLike[str]) -> bool:
    """Whether a path is called like a PyTorch file."""
    return os.fspath(file).endswith(".pt")


def import_published_nino(file: str | os.PathLike[str]) -> Any:
    """The forecaster of NiNo's authors, from one of their files of weights.

    Args:
        file: ``nino_no_posw.pt`` (NiNo without vectors for tokens); ``nino_mlp.pt`` or
            ``nino_mlp_h32.pt`` (WNN+, with 128 and with 32 units).

    Returns:
        A :class:`nowcast.Forecaster`: of NiNo, ``forecaster.on(model)`` takes the neuron graph from
        a module. It forecasts 1 to 40 snapshots ahead, 40 unless ``horizon``
        says otherwise, from windows of 5 snapshots. The authors take a snapshot every 200 steps.

    Raises:
        UserError: The file is not there, is not a PyTorch file, holds anything but tensors, or
            holds a network of another architecture.

    Examples:
        >>> import nowcast
        >>> forecaster = nowcast.import_published_nino("downloads/nino_mlp.pt")  # doctest: +SKIP
        >>> tx = nowcast.periodic(  # doctest: +SKIP
        ...     optax.adam(3e-3), forecaster, every=200, min_drift=None,
        ...     horizon=nowcast.decaying_horizon(jumps=10),
        ... )

    Source: Knyazev et al., ICLR 2025, and the code published with it.
    """
    saved = read_tensors(file)
    found = saved.get("state_dict", saved) if isinstance(saved, dict) else None
    named = found.items() if isinstance(found, dict) else ()
    tensors = {name: value for name, value in named if isinstance(value, np.ndarray)}
    if set(tensors) == _names(WNN_PLUS):
        return _wnn_plus(file, tensors)
    if {name for name in tensors if not name.startswith(UNREAD)} == _names(NINO):
        return _nino(file, tensors)
    raise UserError(
        f"{expanded(file)} holds {_described(tensors)}, not the network of WNN+ or NiNo;"
        " give the authors' nino_mlp.pt, nino_mlp_h32.pt or nino_no_posw.pt"
    )


def _nino(file: str | os.PathLike[str], tensors: dict[str, np.ndarray]) -> NiNo:
    params = _layers(NINO, tensors)
    shapes = jax.tree.map(np.shape, params)
    read, units = (shapes["edges"]["kernel"] + (0, 0))[:2]
    window, outputs = read // LARGEST, (shapes["out"]["bias"] + (0,))[0] // LARGEST
    _check(file, shapes, partial(nino.init_network, jax.random.key(0), window, outputs, units))
    if units != nino.UNITS:
        raise UserError(f"{expanded(file)}: NiNo has {units} units, not {nino.UNITS}")
    return NiNo(params={"all": params}, window=window, horizon=outputs)


def _wnn_plus(file: str | os.PathLike[str], tensors: dict[str, np.ndarray]) -> WNNPlus:
    params = _layers(WNN_PLUS, tensors)
    shapes = jax.tree.map(np.shape, params)
    window, units = (shapes["in"]["kernel"] + (0, 0))[:2]
    outputs = (shapes["out"]["bias"] + (0,))[0]
    _check(file, shapes, partial(wnn_plus.init_network, jax.random.key(0), window, outputs, units))
    return WNNPlus(params={"all": params}, window=window, horizon=outputs, units=units)


def _names(layers: dict[str, str]) -> set[str]:
    """The names of the authors' tensors; a table has no bias."""
    tables = {"layer_embed"}
    return {f"{name}.weight" for name in layers.values()} | {
        f"{name}.bias" for name in layers.values() if name not in tables
    }


def _layers(layers: dict[str, str], tensors: dict[str, np.ndarray]) -> PyTree:
    """Our layers, with kernels of (inputs, outputs) where PyTorch's are (outputs, inputs)."""
    made: dict[str, dict[str, Any]] = {}
    for ours, theirs in layers.items():
        weight = jnp.asarray(tensors[f"{theirs}.weight"], jnp.float32)
        bias = tensors.get(f"{theirs}.bias")
        if bias is None:
            made[ours] = {"kernel": weight}
        else:
            made[ours] = {"kernel": weight.T, "bias": jnp.asarray(bias, jnp.float32)}
    return made


def _check(file: str | os.PathLike[str], shapes: PyTree, fresh: Callable[[], PyTree]) -> None:
    """Refuse layers of other shapes than those of a fresh network, and name the first."""
    for layer, each in jax.eval_shape(fresh).items():
        for kind, wanted in each.items():
            if shapes[layer][kind] != wanted.shape:
                raise UserError(
                    f"{expanded(file)}: layer {layer}/{kind} has shape {shapes[layer][kind]}, not"
                    f" {wanted.shape}; give the authors' file as it is"
                )


def _described(tensors: dict[str, np.ndarray]) -> str:
    some = ", ".join(list(tensors)[:3])
    return f"{len(tensors)} tensors ({some}, …)" if tensors else "no tensors by name"
