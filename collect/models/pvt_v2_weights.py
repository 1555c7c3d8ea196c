"""Read the public weights of PVTv2: the names and axes of other programs, in those of ours.

===========================================  =====================================================
program                                      its weights of size B0
===========================================  =====================================================
github.com/whai362/PVT, the authors'         ``pvt_v2_b0.pth`` of its release v2
timm, of huggingface.co                      ``timm/pvt_v2_b0.in1k``, ``model.safetensors``
tensorflow-image-models (tfimm), of Keras    ``PVTV2/pvt_v2_b0_pretrained.h5`` of the WNN authors
===========================================  =====================================================

A fully connected layer of PyTorch is (outputs, inputs), and a convolution is (outputs, inputs,
height, width); here, as in Keras, both end in inputs, outputs. A depthwise kernel is (height,
width, 1, channels) here, and (height, width, channels, 1) in Keras.
"""

import re
from collections.abc import Mapping

import numpy as np

BLOCK = re.compile(r".*(?:^|\.)(?:block(\d)\.|stages\.(\d)\.blocks\.)(\d+)\.(.+)")
PATCHES = re.compile(r".*(?:^|\.)(?:patch_embed(\d?)|stages\.(\d)\.downsample)\.(proj|norm)\.(\w+)")
NORM = re.compile(r".*(?:^|\.)(?:norm(\d)|stages\.(\d)\.norm)\.(\w+)")
HEAD = re.compile(r".*(?:^|\.)head\.(\w+)")
INSIDE = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.q": "attention/query",
    "attn.kv": "attention/key_value",
    "attn.proj": "attention/out",
    "attn.sr": "attention/shrink",
    "attn.norm": "attention/norm",
    "mlp.fc1": "mlp/fc1",
    "mlp.dwconv": "mlp/depthwise",
    "mlp.dwconv.dwconv": "mlp/depthwise",
    "mlp.fc2": "mlp/fc2",
}
"""The layers of a block, in other programs and here."""
ARRAYS = {"weight": "kernel", "depthwise_kernel": "kernel", "gamma": "scale", "beta": "bias"}
"""The arrays of a layer, where other programs call them otherwise."""


def translated(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights by the names of :class:`collect.models.pvt_v2.PVTv2`, with its axes.

    Arrays whose names are of none of the programs keep their names.

    Args:
        arrays: The arrays of a file by name, with dots or slashes.

    Examples:
        >>> arrays = {"block1.0.attn.kv.weight": np.zeros((64, 32)), "norm1.weight": np.zeros(32)}
        >>> {name: array.shape for name, array in translated(arrays).items()}
        {'stages/0/blocks/0/attention/key_value/kernel': (32, 64), 'stages/0/norm/scale': (32,)}
    """
    found = {}
    for name, array in arrays.items():
        ours = _name(name.replace("/", "."))
        found[ours or name] = _axes(ours, name, np.asarray(array)) if ours else array
    return found


def _name(theirs: str) -> str | None:
    """Our name of an array, or None."""
    if match := BLOCK.fullmatch(theirs):
        one, zero, block, rest = match.groups()
        layer, _, array = rest.rpartition(".")
        if layer not in INSIDE:
            return None
        return f"stages/{_stage(one, zero)}/blocks/{block}/{_array(INSIDE[layer], array)}"
    if match := PATCHES.fullmatch(theirs):
        one, zero, layer, array = match.groups()
        layer = {"proj": "conv", "norm": "norm"}[layer]
        return f"stages/{_stage(one, zero)}/patches/{_array(layer, array)}"
    if match := NORM.fullmatch(theirs):
        one, zero, array = match.groups()
        return f"stages/{_stage(one, zero)}/{_array('norm', array)}"
    if match := HEAD.fullmatch(theirs):
        return _array("head", match[1])
    return None


def _stage(from_one: str | None, from_zero: str | None) -> int:
    """The number of a stage, which is the first one where a name has none."""
    return int(from_one) - 1 if from_one else int(from_zero or 0)


def _array(layer: str, array: str) -> str:
    """The array of a layer: PyTorch's ``weight`` of a normalisation is a scale."""
    norm = layer.rpartition("/")[2].startswith("norm")
    return f"{layer}/{'scale' if norm and array == 'weight' else ARRAYS.get(array, array)}"


def _axes(ours: str, theirs: str, array: np.ndarray) -> np.ndarray:
    """The array with our order of axes."""
    if theirs.endswith("weight") and array.ndim in (2, 4):
        return array.T if array.ndim == 2 else np.transpose(array, (2, 3, 1, 0))
    keras = ours.endswith("depthwise/kernel") and array.ndim == 4 and array.shape[-1] == 1
    return np.swapaxes(array, 2, 3) if keras else array
