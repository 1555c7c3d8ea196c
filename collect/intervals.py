"""A mean with its confidence interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 10_000


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_interval(values: Sequence[float] | Float[np.ndarray, "n"], seed: int = 0) -> Interval:
    """The mean with a 95 % percentile bootstrap; one value has no interval (NaN)."""
    from scipy import stats  # takes longer to import than all else here together

    values = np.asarray(values, float)
    value = float(values.mean())
    if len(values) < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(value, float(low), float(high))
