"""Weight nowcasting: forecast the weights of a training run and jump there.

>>> import nowcast, optax
>>> tx = nowcast.periodic(optax.adam(1e-3), nowcast.load("linear"), every=100)
"""

from nowcast.bundle import load, save
from nowcast.forecasters.base import Forecaster, forecast
from nowcast.ops import label_ops
from nowcast.published import import_published_wnn
from nowcast.transform import NowcastState, periodic
from nowcast.types import OPERATIONS, Task, UserError

__all__ = [
    "OPERATIONS",
    "Forecaster",
    "NowcastState",
    "Task",
    "UserError",
    "forecast",
    "import_published_wnn",
    "label_ops",
    "load",
    "periodic",
    "save",
]
