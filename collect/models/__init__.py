"""Architectures, one file each.

Those of ``MODELS`` take NHWC images and give logits; :mod:`collect.models.gpt` takes tokens.
"""

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

_CLASSES = {
    "alexnet": "AlexNet",
    "amalgam_cnn": "AmalgamCNN",
    "densenet": "DenseNet",
    "hyper_cnn": "HyperCNN",
    "hyper_resnet": "HyperResNet",
    "inception_v1": "InceptionV1",
    "introspection_cifar1": "IntrospectionCIFAR1",
    "introspection_mnist1": "IntrospectionMNIST1",
    "introspection_mnist2": "IntrospectionMNIST2",
    "introspection_mnist3": "IntrospectionMNIST3",
    "introspection_n0": "IntrospectionN0",
    "lenet": "LeNet",
    "lstm": "LSTM",
    "mlp": "MLP",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v2_imagenet": "MobileNetV2ImageNet",
    "nino_cnn": "NiNoCNN",
    "pvt_v2": "PVTv2",
    "resnet": "ResNet",
    "resnet18": "ResNet18",
    "shufflenet_v2": "ShuffleNetV2",
    "vanilla_cnn": "VanillaCNN",
    "vanilla_cnn_glorot": "VanillaCNNGlorot",
    "vgg": "VGG",
}
"""A file's name, and the class in it."""


class _Architectures(Mapping[str, Any]):
    """The class of each name, imported when it is asked for: names alone need no Flax."""

    def __getitem__(self, name: str) -> Any:
        return getattr(import_module(f"collect.models.{name}"), _CLASSES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)

    def __contains__(self, name: object) -> bool:
        return name in _CLASSES


MODELS: Mapping[str, Any] = _Architectures()
"""The ``flax.nnx`` module of every architecture, by name."""


def own_depth(name: str) -> int | None:
    """An architecture's default depth; None where it comes in one depth.

    Examples:
        >>> own_depth("resnet"), own_depth("lenet")
        (20, None)
    """
    depth = inspect.signature(MODELS[name].__init__).parameters.get("depth")
    return None if depth is None else depth.default
