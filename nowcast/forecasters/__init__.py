"""Forecasters, one file each: ``SIMPLE`` need no learning, ``LEARNED`` come from a bundle."""

from nowcast.forecasters.base import Forecaster
from nowcast.forecasters.last_value import LastValue
from nowcast.forecasters.linear import Linear
from nowcast.forecasters.wnn import WNN

SIMPLE: dict[str, type[Forecaster]] = {kind.name: kind for kind in (LastValue, Linear)}
LEARNED: dict[str, type[Forecaster]] = {kind.name: kind for kind in (WNN,)}
