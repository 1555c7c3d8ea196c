"""Read one checkpoint, whatever program wrote it: its arrays by name.

=====================  ==========================================================================
``.safetensors``       needs the ``safetensors`` library
``.npz``               NumPy's
``.h5``                Keras's files of weights; needs ``h5py``
``.pt``, ``.pth``      needs PyTorch; only tensors are read (``weights_only=True``), and no code of
                       the file runs
an Orbax folder        one that ``orbax.checkpoint`` saved
=====================  ==========================================================================
"""

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nowcast.guess import key_names
from nowcast.types import UserError, first_line

CHECKPOINTS = "checkpoints"
"""The key of the import command that names a path."""
PARTS = ("model", "params", "state_dict", "model_state_dict", "module")
"""Names that programs give to the parameters among the other parts of a checkpoint."""
STATE = frozenset(
    {
        "optimizer",
        "optimizers",
        "optimizer_state",
        "optimizer_states",
        "optimizer_state_dict",
        "opt",
        "opt_state",
        "optim",
        "scheduler",
        "lr_scheduler",
        "lr_schedulers",
        "scheduler_state_dict",
        "scaler",
        "step",
        "global_step",
        "epoch",
        "rng",
        "rng_state",
        "loops",
        "callbacks",
        "ema",
        "batch_stats",
        "optimizer_weights",
    }
)
"""Names that programs give to parts of a checkpoint that are no parameters."""
ORBAX = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt")
"""One of these files lies in an Orbax checkpoint."""


def is_orbax(path: Path) -> bool:
    """Whether a folder is a checkpoint of Orbax."""
    return any((path / name).is_file() for name in ORBAX)


def is_checkpoint(path: Path) -> bool:
    """Whether a path looks like a checkpoint that can be read."""
    return is_orbax(path) if path.is_dir() else path.suffix in READERS


def read(path: Path, prefix: str | None, key: str = CHECKPOINTS) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint that are parameters, by name.

    Args:
        path: The file or folder.
        prefix: The name of the part that holds the parameters, with dots or slashes. None: it is
            found where a checkpoint has a part called ``model``, ``params`` or the like, or an
            optimizer's state beside them.
        key: The key of the command that names the path, for messages.

    Raises:
        UserError: It cannot be read, or holds no such part.
    """
    reader = _orbax if path.is_dir() else READERS.get(path.suffix)
    if reader is None:
        raise UserError(
            f"{key}: {path} is of no kind that can be read; there are {', '.join(READERS)}, and"
            " Orbax folders"
        )
    try:
        tree = reader(path)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    except Exception as error:  # whatever a damaged file makes its library say
        narrower = ", or leave it out with a narrower checkpoints=…" * (key == CHECKPOINTS)
        raise UserError(
            f"{key}: {path} cannot be read ({first_line(error)}); copy it anew{narrower}"
        ) from None
    return _parameters(path, tree, prefix, key)


def _parameters(path: Path, tree: Any, prefix: str | None, key: str) -> dict[str, np.ndarray]:
    inside = _below(tree, prefix) if prefix else _part(tree)
    named = _named(inside)
    if prefix and inside is tree:
        begins = prefix.replace("/", ".") + "."
        named = {
            name[len(begins) :]: array
            for name, array in named.items()
            if name.replace("/", ".").startswith(begins)
        }
        if not named:
            heads = sorted({re.split(r"[./]", name)[0] for name in _named(tree)})
            raise UserError(
                f"prefix={prefix}: {path} has no such part, but"
                f" {', '.join(heads[:8]) or 'no arrays'}"
            )
    if not prefix:
        named = _without_state(named)
    if not named:
        part = "prefix=… with the part that does" if key == CHECKPOINTS else "another file"
        raise UserError(f"{key}: {path} holds no array of parameters; give {part}")
    return named


def _part(tree: Any) -> Any:
    """The part of a nested checkpoint in which programs keep parameters, or None."""
    if not isinstance(tree, Mapping):
        return tree
    found = [name for name in PARTS if isinstance(tree.get(name), Mapping)]
    others = {str(name) for name, value in tree.items() if name not in found and _named(value)}
    return _part(tree[found[0]]) if len(found) == 1 and others <= STATE else tree


def _below(tree: Any, prefix: str) -> Any:
    """The tree below a prefix; the tree itself where it is not nested."""
    inside = tree
    for part in re.split(r"[./]", prefix):
        if not (isinstance(inside, Mapping) and part in inside):
            return tree
        inside = inside[part]
    return inside


def _without_state(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove arrays of optimizers and the like from a flat file, by their names.

    A prefix that all remaining names share is removed too.
    """
    parts = {name: re.split(r"[./]", name) for name in named}
    kept = {name: array for name, array in named.items() if parts[name][0] not in STATE}
    heads = {parts[name][0] for name in kept}
    if len(kept) < len(named) and len(heads) == 1 and heads <= set(PARTS):
        cut = len(heads.pop()) + 1
        return {name[cut:]: array for name, array in kept.items() if len(name) > cut}
    return kept


def _named(tree: Any) -> dict[str, np.ndarray]:
    """All arrays of a nested checkpoint; the names of its parts are joined with slashes."""
    import jax

    return {
        "/".join(key_names(path)): leaf
        for path, leaf in jax.tree.flatten_with_path(tree)[0]
        if isinstance(leaf, np.ndarray)
    }


def _safetensors(path: Path) -> Any:
    try:
        from safetensors import safe_open
    except ImportError:
        raise UserError(f"{path} needs the safetensors library: pip install safetensors") from None
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict


def _npz(path: Path) -> Any:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _h5(path: Path) -> Any:
    """All arrays of an HDF5 file, by their paths; ``:0`` behind Keras's names is left out."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path} needs the h5py library: pip install h5py") from None
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name.removesuffix(":0")] = np.asarray(item[()])

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} needs PyTorch: pip install torch, or save .safetensors or .npz"
        ) from None
    return _of_torch(torch.load(path, map_location="cpu", weights_only=True))


def _of_torch(tree: Any) -> Any:
    """The same tree with NumPy's arrays."""
    if isinstance(tree, Mapping):
        return {str(name): _of_torch(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_of_torch(value) for value in tree]
    if not hasattr(tree, "detach"):
        return None
    tree = tree.detach()
    try:
        return tree.numpy()
    except TypeError:  # bfloat16, which NumPy lacks
        import ml_dtypes

        return tree.float().numpy().astype(ml_dtypes.bfloat16)


def _orbax(path: Path) -> Any:
    import jax
    from orbax.checkpoint import v1 as ocp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about devices, when arrays come into host memory anyway
        tree = ocp.load(path.resolve())
    return jax.tree.map(lambda leaf: np.asarray(leaf) if hasattr(leaf, "shape") else None, tree)


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".h5": _h5,
    ".pt": _torch,
    ".pth": _torch,
}
"""The function that reads a file, by the end of its name."""
