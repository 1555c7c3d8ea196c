"""Import the WNN authors' own weights.

They are three Keras files, ``NWNN_Conv_13.h5``, ``NWNN_FC_13.h5`` and ``NWNN_Bias_13.h5``,
published beside the paper (github.com/jjh6297/WNN). They carry no licence, and this project does
not contain them.
"""

import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from nowcast.forecasters.wnn import BIAS, WNN, init_network
from nowcast.paths import expanded
from nowcast.types import PyTree, UserError

NETWORKS = {"conv": "Conv", "fc": "FC", "bias": "Bias"}
LAYERS = [
    f"{stream}_{layer}"
    for stream in ("x", "dx")
    for layer in ("in", "hidden", "c", "a", "b", "out")
] + ["head"]
"""The order in which the authors' program makes the layers, and numbers their names."""


def is_published(folder: str | os.PathLike[str]) -> bool:
    """Whether the authors' own files are in this folder."""
    return any((expanded(folder) / f"NWNN_{name}_13.h5").exists() for name in NETWORKS.values())


def import_published_wnn(folder: str | os.PathLike[str], *, bias: str = BIAS[0]) -> WNN:
    """The forecaster of the WNN authors, from their weights.

    Args:
        folder: Where ``NWNN_Conv_13.h5``, ``NWNN_FC_13.h5`` and ``NWNN_Bias_13.h5`` lie.
        bias: Where a bias's increment is added. ``"published"``: to the raw last value, as in their
            code, so that biases fall back to about the start of the window. ``"consistent"``: as
            for all other weights, so that a zero increment changes nothing.

    Raises:
        UserError: A file is missing or holds other layers; h5py is not installed.

    Examples:
        >>> import nowcast
        >>> forecaster = nowcast.import_published_wnn("downloads/WNN")  # doctest: +SKIP
        >>> tx = nowcast.periodic(  # doctest: +SKIP
        ...     optax.adam(1e-3), forecaster, every=steps_per_epoch, min_drift=None
        ... )

    Source: Jang et al., ICML 2023, and the code published with it.
    """
    params = {
        network: _read(expanded(folder) / f"NWNN_{name}_13.h5")
        for network, name in NETWORKS.items()
    }
    return WNN(params=params, bias=bias)


def _read(file: Path) -> PyTree:
    try:
        import h5py
    except ImportError:
        raise UserError(
            "the authors' weights are HDF5 files; pip install 'weight-nowcaster[published]'"
        ) from None
    found: dict[int, dict[str, Any]] = {}

    def visit(path: str, item: Any) -> None:
        layer = re.search(r"dense_(\d+)/(kernel|bias):0$", path)
        if layer:
            found.setdefault(int(layer[1]), {})[layer[2]] = jnp.asarray(item[()], jnp.float32)

    try:
        with h5py.File(file) as content:
            content.visititems(visit)
    except OSError as error:
        reason = (
            "is not there"
            if not file.exists()
            else f"cannot be read ({str(error).splitlines()[0]})"
        )
        raise UserError(
            f"{file} {reason}; import_published_wnn needs the folder of the authors' NWNN_*_13.h5"
        ) from None
    params = dict(zip(LAYERS, (found[number] for number in sorted(found)), strict=False))
    wanted = jax.eval_shape(lambda: init_network(jax.random.key(0)))
    if jax.tree.map(jnp.shape, params) != jax.tree.map(lambda leaf: leaf.shape, wanted) or len(
        found
    ) != len(LAYERS):
        raise UserError(
            f"{file} holds {len(found)} layers, and not the {len(LAYERS)} of the published WNN"
        )
    return params
