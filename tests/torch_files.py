"""Files as PyTorch writes them, made without PyTorch."""

import io
import pickle
import sys
import types
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from nowcast.forecasters import wnn_plus
from nowcast.published_nino import WNN_PLUS

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}


class Tensor:
    """Stands for an array while it is pickled."""

    def __init__(self, array, number, **changes):
        self.array, self.number, self.changes = np.asarray(array), number, changes


class Storage:
    """Stands for an array's numbers."""

    def __init__(self, kind, number, size):
        self.kind, self.number, self.size = kind, number, size


def torch_bytes(saved, *, patch, compress=zipfile.ZIP_STORED, drop=(), **changes):
    """The bytes of a file in which ``saved`` is, with NumPy arrays as tensors.

    ``changes`` are those of each tensor's ``start``, ``shape`` or ``strides``; ``drop`` names
    members that are left out. ``patch`` is pytest's ``monkeypatch``: PyTorch's names are there only
    while the pickle is written.
    """
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*_):
        """Never called: only its name is written."""

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    for kind in STORAGES.values():
        made = type(kind, (), {"__module__": "torch"})
        setattr(torch, kind, made)
    arrays, out = [], io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Storage):
                return ("storage", obj.kind, str(obj.number), "cpu", obj.size)
            return None

        def reducer_override(self, obj):
            if not isinstance(obj, np.ndarray):
                return NotImplemented
            kind = getattr(torch, STORAGES[obj.dtype.name])
            arrays.append(obj)
            given = {
                "start": 0,
                "shape": obj.shape,
                "strides": tuple(by // obj.itemsize for by in obj.strides),
            } | changes
            numbers = Storage(kind, len(arrays) - 1, obj.size)
            return rebuild, (numbers, *given.values(), False, None)

    with patch.context() as context:
        context.setitem(sys.modules, "torch", torch)
        context.setitem(sys.modules, "torch._utils", utils)
        Pickler(out, protocol=2).dump(saved)
    members = {"saved/data.pkl": out.getvalue(), "saved/byteorder": b"little"}
    members |= {f"saved/data/{i}": array.tobytes() for i, array in enumerate(arrays)}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compress) as file:
        for name, value in members.items():
            if name not in drop:
                file.writestr(name, value)
    return content.getvalue()


def theirs(layers, params):
    """Parameters of ours under the names that the authors gave their layers."""
    found = {}
    for ours, name in layers.items():
        layer = jax.tree.map(np.asarray, params[ours])
        if "bias" in layer:
            found[f"{name}.weight"] = np.ascontiguousarray(layer["kernel"].T)
            found[f"{name}.bias"] = layer["bias"]
        else:
            found[f"{name}.weight"] = layer["kernel"]
    return found


def random_wnn_plus(units=16, outputs=3):
    """A WNN+ of a few units whose parameters are all random."""
    shapes = jax.eval_shape(lambda: wnn_plus.init_network(jax.random.key(0), 5, outputs, units))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32) / 4, shapes)
    return wnn_plus.WNNPlus(params={"all": params}, horizon=outputs, units=units)


def write_wnn_plus(path, patch):
    """A file like the authors', of that network."""
    tensors = theirs(WNN_PLUS, random_wnn_plus().params["all"])
    path.write_bytes(torch_bytes({"state_dict": tensors}, patch=patch))
