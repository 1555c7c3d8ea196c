"""Architectures, one file each. All take NHWC images and give logits."""

from flax import nnx

from collect.models.densenet import DenseNet
from collect.models.introspection_n0 import IntrospectionN0
from collect.models.lenet import LeNet
from collect.models.lstm import LSTM
from collect.models.mlp import MLP
from collect.models.mobilenet_v2 import MobileNetV2
from collect.models.nino_cnn import NiNoCNN
from collect.models.resnet import ResNet
from collect.models.resnet18 import ResNet18
from collect.models.shufflenet_v2 import ShuffleNetV2
from collect.models.vanilla_cnn import VanillaCNN
from collect.models.vgg import VGG

MODELS: dict[str, type[nnx.Module]] = {
    "densenet": DenseNet,
    "introspection_n0": IntrospectionN0,
    "lenet": LeNet,
    "lstm": LSTM,
    "mlp": MLP,
    "mobilenet_v2": MobileNetV2,
    "nino_cnn": NiNoCNN,
    "resnet": ResNet,
    "resnet18": ResNet18,
    "shufflenet_v2": ShuffleNetV2,
    "vanilla_cnn": VanillaCNN,
    "vgg": VGG,
}
