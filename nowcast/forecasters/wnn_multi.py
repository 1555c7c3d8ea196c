"""A WNN with one output for each of the horizons 1, 2, …, H, as in NiNo.

NiNo is by Knyazev et al. (ICLR 2025). Layers and normalisation are WNN's
(:mod:`nowcast.forecasters.wnn`) up to the last layer, which is 64→H without tanh: forty snapshots
ahead, a weight may go many times as far as its window spans. So a run can aim far in its beginning
and near at its end.
"""

from dataclasses import dataclass
from typing import ClassVar

from nowcast.forecasters import wnn
from nowcast.forecasters.learned import Learned


@dataclass(frozen=True, kw_only=True, eq=False)
class WNNMulti(Learned):
    """Direct multi-step forecasts; ``forecast(horizon=…)`` chooses one."""

    name: ClassVar[str] = "wnn_multi"
    many: ClassVar[bool] = True
    limit: ClassVar[float] = 10.0  # of targets: forty snapshots at the pace of the window
    horizon: int = 40
    init_network = staticmethod(wnn.init_network)
    normalise = staticmethod(wnn.normalise)
    network = staticmethod(wnn.features)
    penalty = staticmethod(wnn.penalty)
