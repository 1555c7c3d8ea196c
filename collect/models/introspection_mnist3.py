"""The MLP of MNIST_3 of Introspection (Sinha et al., ICLR 2017).

It has 269,322 parameters on 28×28×1 images with 10 classes. Kernels and biases begin as standard
normal numbers, which makes the first losses very large.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from flax import nnx

from collect.models.mlp import MLP

STANDARD = nnx.initializers.normal(1.0)


class IntrospectionMNIST3(MLP):
    """Flatten, then FC 256, FC 256 with ReLU; FC classes."""

    drawn: ClassVar[Mapping[str, Any]] = {"kernel_init": STANDARD, "bias_init": STANDARD}
