"""The architectures that `collect.py` compares, in PyTorch: layer for layer those of
`collect.models`, but NCHW.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def lenet(channels: int, classes: int) -> nn.Module:
    def convolution(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 5), nn.ReLU(), nn.MaxPool2d(2)]

    dense = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)]
    return nn.Sequential(*convolution(channels, 6), *convolution(6, 16), nn.Flatten(), *dense)


def vanilla_cnn(channels: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((channels, 8, 16, 32, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, classes)
    )


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first, self.second = (
            conv_norm(inputs, outputs, 3, stride),
            conv_norm(outputs, outputs, 3),
        )
        self.stride, self.grow = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        if self.grow:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.grow // 2, self.grow - self.grow // 2))
        return F.relu(x + y)


def resnet20(channels: int, classes: int) -> nn.Module:
    blocks, inputs = [], 16
    for outputs in (16, 32, 64):
        for i in range(3):
            blocks.append(ResidualBlock(inputs, outputs, 2 if outputs > 16 and not i else 1))
            inputs = outputs
    stem = conv_norm(channels, 16, 3)
    return nn.Sequential(
        stem, nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
    )


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        inner = expansion * inputs
        self.expand, self.project = conv_norm(inputs, inner), conv_norm(inner, outputs)
        self.depthwise = conv_norm(inner, inner, 3, stride, groups=inner)
        self.residual = stride == 1
        self.shortcut = (
            conv_norm(inputs, outputs) if stride == 1 and inputs != outputs else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(F.relu(self.depthwise(F.relu(self.expand(x)))))
        return y + self.shortcut(x) if self.residual else y


STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(channels: int, classes: int) -> nn.Module:
    blocks, inputs = [], 32
    for expansion, outputs, count, stride in STAGES:
        for i in range(count):
            blocks.append(InvertedResidual(inputs, outputs, expansion, 1 if i else stride))
            inputs = outputs
    return _headed(
        conv_norm(channels, 32, 3), blocks, conv_norm(inputs, 1280), nn.Linear(1280, classes)
    )


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1, self.conv2 = conv_norm(half, half), conv_norm(half, half)
        self.depthwise = conv_norm(half, half, 3, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        return shuffle(left, F.relu(self.conv2(self.depthwise(F.relu(self.conv1(right))))))


class ShuffleDownUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half = outputs // 2
        self.left_depthwise, self.left_conv = (
            conv_norm(inputs, inputs, 3, 2, groups=inputs),
            conv_norm(inputs, half),
        )
        self.conv1, self.conv2 = conv_norm(inputs, half), conv_norm(half, half)
        self.depthwise = conv_norm(half, half, 3, 2, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        left = F.relu(self.left_conv(self.left_depthwise(x)))
        return shuffle(left, F.relu(self.conv2(self.depthwise(F.relu(self.conv1(x))))))


def shuffle(left: Tensor, right: Tensor) -> Tensor:
    return torch.stack([left, right], 2).flatten(1, 2)


def shufflenet_v2(channels: int, classes: int) -> nn.Module:
    units, inputs = list[nn.Module](), 24
    for outputs, count in ((116, 4), (232, 8), (464, 4)):
        units += [
            ShuffleDownUnit(inputs, outputs),
            *(ShuffleUnit(outputs) for _ in range(count - 1)),
        ]
        inputs = outputs
    return _headed(
        conv_norm(channels, 24, 3), units, conv_norm(464, 1024), nn.Linear(1024, classes)
    )


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.body = nn.Sequential(
            *norm_conv(inputs, 4 * growth, 1), *norm_conv(4 * growth, growth, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def norm_conv(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(), conv]


def densenet(channels: int, classes: int) -> nn.Module:
    growth, inputs = 12, 24
    layers: list[nn.Module] = [nn.Conv2d(channels, inputs, 3, padding=1, bias=False)]
    for stage in range(3):
        if stage:
            layers += [*norm_conv(inputs, inputs // 2, 1), nn.AvgPool2d(2)]
            inputs //= 2
        for _ in range(16):
            layers.append(DenseLayer(inputs, growth))
            inputs += growth
    last = [nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *last, nn.Linear(inputs, classes))


def vgg11(channels: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    inputs = channels
    for count, outputs in zip((1, 1, 2, 2, 2), (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, classes))


def _headed(stem: nn.Module, body: list[nn.Module], last: nn.Module, head: nn.Module) -> nn.Module:
    return nn.Sequential(
        stem, nn.ReLU(), *body, last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
    )


MODELS = {
    m.__name__: m
    for m in (lenet, vanilla_cnn, resnet20, vgg11, mobilenet_v2, shufflenet_v2, densenet)
}
