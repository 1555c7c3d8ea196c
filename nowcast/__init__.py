"""Weight nowcasting: forecast the weights of a training run and jump there.

>>> import nowcast, optax
>>> tx = nowcast.periodic(optax.adam(1e-3), nowcast.load("linear"), every=100)
"""

from nowcast.advice import Advice, advise
from nowcast.auto_rate import auto_rate
from nowcast.batch_norm import reestimate
from nowcast.bundle import load, save
from nowcast.explanation import explain
from nowcast.forecasters.base import Forecaster, forecast
from nowcast.guard import Guard, WaitingGuard
from nowcast.horizons import decaying_horizon
from nowcast.jumps import Jumps
from nowcast.neurons import neuron_graph
from nowcast.ops import label_ops
from nowcast.published import import_published_wnn
from nowcast.published_nino import import_published_nino
from nowcast.rate_state import RATE_POPULATION, RateState
from nowcast.state import POPULATION, NowcastState
from nowcast.transform import periodic
from nowcast.types import OPERATIONS, UserError

__all__ = [
    "OPERATIONS",
    "POPULATION",
    "RATE_POPULATION",
    "Advice",
    "Forecaster",
    "Guard",
    "Jumps",
    "NowcastState",
    "RateState",
    "UserError",
    "WaitingGuard",
    "advise",
    "auto_rate",
    "decaying_horizon",
    "explain",
    "forecast",
    "import_published_nino",
    "import_published_wnn",
    "label_ops",
    "load",
    "neuron_graph",
    "periodic",
    "reestimate",
    "save",
]
