"""The CNN of WNN's Table 4 as published: its kernels begin from Glorot's uniform distribution.

It has 24,186 parameters on 32×32×3 images with 10 classes; biases begin at 0. Source: the WNN
authors' Keras code.
"""

from flax import nnx

from collect.models.vanilla_cnn import VanillaCNN


class VanillaCNNGlorot(VanillaCNN):
    """Convolutions 8-16-32-32, 3×3, ReLU and 2×2 max-pooling after each; FC 64; FC classes."""

    kernel_init = staticmethod(nnx.initializers.glorot_uniform())
