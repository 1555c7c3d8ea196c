"""Forecasters, one file each; ``SIMPLE`` need no learning, ``LEARNED`` come from a bundle."""

from nowcast.forecasters.autoregressive import AutoRegressive
from nowcast.forecasters.average import Average
from nowcast.forecasters.base import Forecaster
from nowcast.forecasters.damped_linear import DampedLinear
from nowcast.forecasters.exponential import Exponential
from nowcast.forecasters.gram import Gram
from nowcast.forecasters.introspection import Introspection, IntrospectionLinear
from nowcast.forecasters.last_value import LastValue
from nowcast.forecasters.learned import Learned
from nowcast.forecasters.linear import Linear
from nowcast.forecasters.nino import NiNo
from nowcast.forecasters.noise import Noise
from nowcast.forecasters.permuted import Permuted
from nowcast.forecasters.quadratic import Quadratic
from nowcast.forecasters.wnn import WNN
from nowcast.forecasters.wnn_multi import WNNMulti
from nowcast.forecasters.wnn_plus import WNNPlus

SIMPLE: dict[str, type[Forecaster]] = {
    kind.name: kind
    for kind in (
        LastValue,
        Linear,
        Quadratic,
        Exponential,
        DampedLinear,
        AutoRegressive,
        Average,
        Noise,
        Permuted,
    )
}
LEARNED: dict[str, type[Learned]] = {
    kind.name: kind
    for kind in (WNN, WNNMulti, WNNPlus, NiNo, Introspection, IntrospectionLinear, Gram)
}
