"""Find the operation of every variable of a Keras model."""

from typing import Any

from nowcast.types import UserError

try:
    import keras
except ImportError as error:
    if error.name == "keras":
        raise UserError("Keras is not installed; pip install 'weight-nowcaster[keras]'") from None
    raise UserError(
        f"Keras cannot load its back end ({error}); nowcasting needs JAX: set KERAS_BACKEND=jax"
        " before the first import of keras"
    ) from None
if keras.backend.backend() != "jax":
    raise UserError(
        f"Keras runs on {keras.backend.backend()}, and nowcasting needs JAX: set KERAS_BACKEND=jax"
        " before the first import of keras"
    )


def _layers(*names: str) -> tuple[type, ...]:
    return tuple(getattr(keras.layers, name) for name in names)


_NORM = _layers(
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"
)
_DEPTHWISE = _layers("DepthwiseConv1D", "DepthwiseConv2D")
_CONV = _layers(
    "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"
)
_SEPARABLE = _layers("SeparableConv1D", "SeparableConv2D")
_FC = _layers("Dense", "EinsumDense")


def label_ops(model: keras.Model) -> dict[str, str]:
    """The operation of every trainable variable of a built model, in the model's order.

    Variables are called after the layers around them, such as ``"conv2d/kernel"``; of two of one
    name the second has ``~2`` behind it. The operation is read off the type of the layer that made
    the variable, however deep in nested models and wrappers:

    - any variable of a Batch-, Layer-, Group- or RMSNormalization → ``norm``; of an Embedding →
        ``embedding``
    - a variable called ``bias``, of any other layer → ``bias``
    - the kernels of Conv1D, 2D and 3D and their transposes, and the pointwise kernels of
        SeparableConv → ``conv``
    - the kernels of DepthwiseConv, the depthwise kernels of SeparableConv, and those of a Conv with
      a group for each input channel → ``depthwise_conv``
    - the kernels of Dense and EinsumDense (so those of attention too) → ``fc``
    - of all other layers, ``kernel`` and ``recurrent_kernel`` of rank 2 (the cells of LSTM, GRU and
        SimpleRNN) → ``fc``
    - anything else (the slopes of a PReLU, the kernels of a ConvLSTM, layers of your own) →
        ``other``

    A subclass of a layer counts as that layer.
    """
    return {name: _by_type(layer, variable) for name, (variable, layer) in leaves(model).items()}


def _by_type(layer: Any, variable: Any) -> str:
    name, shape = variable.name, variable.shape
    if isinstance(layer, _NORM):
        return "norm"
    if isinstance(layer, keras.layers.Embedding):
        return "embedding"
    if name == "bias":
        return "bias"
    if "kernel" not in name:
        return "other"
    if isinstance(layer, _DEPTHWISE):
        return "depthwise_conv"
    if isinstance(layer, _SEPARABLE):
        return "depthwise_conv" if name == "depthwise_kernel" else "conv"
    if isinstance(layer, _CONV):
        return "depthwise_conv" if getattr(layer, "groups", 1) > 1 and shape[-2] == 1 else "conv"
    if isinstance(layer, _FC) or (name in ("kernel", "recurrent_kernel") and len(shape) == 2):
        return "fc"
    return "other"


def leaves(model: keras.Model) -> dict[str, tuple[Any, Any]]:
    """The trainable variables as ``(variable, its layer)``, by the names of the layers around each.

    They are in the model's order. Keras's own ``variable.path`` is neither unique nor the same in a
    model that was saved and read.
    """
    owners: dict[int, tuple[str, Any]] = {}
    seen = set()

    def walk(layer: Any, path: str) -> None:
        seen.add(id(layer))
        children = layer._flatten_layers(include_self=False, recursive=False)
        below = {id(variable) for child in children for variable in child.trainable_variables}
        owners.update(
            (id(v), (path + v.name, layer)) for v in layer.trainable_variables if id(v) not in below
        )
        for child in children:
            if id(child) not in seen:
                walk(child, f"{path}{child.name}/")

    walk(model, "")
    found: dict[str, tuple[Any, Any]] = {}
    for variable in model.trainable_variables:
        path, layer = owners[id(variable)]
        name, number = path, 2
        while name in found:
            name, number = f"{path}~{number}", number + 1
        found[name] = variable, layer
    return found
