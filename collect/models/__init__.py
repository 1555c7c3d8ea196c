"""Architectures, one file each. All take NHWC images and give logits."""

from flax import nnx

from collect.models.lenet import LeNet
from collect.models.lstm import LSTM
from collect.models.mlp import MLP
from collect.models.resnet import ResNet
from collect.models.vanilla_cnn import VanillaCNN

MODELS: dict[str, type[nnx.Module]] = {
    "lenet": LeNet,
    "lstm": LSTM,
    "mlp": MLP,
    "resnet": ResNet,
    "vanilla_cnn": VanillaCNN,
}
