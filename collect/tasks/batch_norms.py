"""The static halves of a network with BatchNorm: training, judging, and estimating statistics."""

from typing import Any

from flax import nnx


def definitions(module: nnx.Module) -> tuple[Any, Any, Any]:
    """The static halves for training, for evaluation, and for estimating BatchNorm's statistics.

    With the third one, a pass leaves the batch's own statistics in place of an average. The module
    itself is changed.
    """
    halves = _definition(module, training=True), _definition(module, training=False)
    for layer in batch_norms(module):
        layer.momentum = 0.0
    return *halves, _definition(module, training=True)


def batch_norms(module: nnx.Module) -> list[nnx.BatchNorm]:
    """The BatchNorm layers of a module."""
    return [layer for _, layer in nnx.iter_modules(module) if isinstance(layer, nnx.BatchNorm)]


def _definition(module: nnx.Module, *, training: bool) -> Any:
    module.train() if training else module.eval()
    return nnx.split(module, nnx.Param, ...)[0]
