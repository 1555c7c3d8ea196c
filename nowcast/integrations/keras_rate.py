"""``nowcast.auto_rate`` in ``model.fit``: a callback that sets the optimizer's learning rate."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from nowcast.integrations.keras_ops import keras, leaves
from nowcast.memory import USUAL, steps
from nowcast.rate_look import look
from nowcast.rate_rules import START, Rule, by_drift, check_rule
from nowcast.rate_state import RateState, begin
from nowcast.types import PyTree, UserError, whole


class AutoRate(keras.callbacks.Callback):
    """Multiplies the learning rate as the run's drift says, as :func:`nowcast.auto_rate` does.

    The loss is the mean over the epoch's batches so far, as Keras reports it. A callback sees no
    gradients, and so cannot stop where they have gone to zero.

    Args:
        every: Batches between two looks. Left out: the optimizer's memory, ``2 / (1 − β₁)``, or 20.
        target: The drift at which the multiplier stays. A number between −1 and 1.
        start: The multiplier that a fit begins with, above 0 and at most 1.
        stop_after: Batches after which the multiplier stays as it is; None: never.
        scalars: So many of the weights are looked at, spread over all variables.
        schedule: A function from the number of a batch to a learning rate, such as one of
            ``keras.optimizers.schedules``. The rate is set at each look. Left out: the rate that
            the model was compiled with.

    Raises:
        UserError: An option is out of range; the model was compiled with a schedule.

    Examples:
        >>> from nowcast.integrations.keras import AutoRate
        >>> callback = AutoRate(every=20)
        >>> model.fit(x, y, epochs=20, callbacks=[callback])  # doctest: +SKIP
        >>> callback.multiplier  # before the first fit
        0.125
    """

    def __init__(
        self,
        *,
        every: int | None = None,
        target: float = 0.02,
        start: float = START,
        stop_after: int | None = None,
        scalars: int = 16_384,
        schedule: Callable[[int], Any] | None = None,
    ):
        super().__init__()
        check_rule(target, start, stop_after, scalars)
        self._every = None if every is None else whole("every", every, "batches")
        self._scalars, self._start = scalars, start
        self._schedule, self._base = schedule, 0.0
        self._look = jax.jit(partial(_look, rule=by_drift(target), stop_after=stop_after))
        self._batch, self._since, self._total = -1, 0, 0
        self.state: RateState | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def multiplier(self) -> float:
        """The factor on the learning rate."""
        return self._start if self.state is None else float(self.state.multiplier)

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the first fit of a model; go on in a later one."""
        optimizer = self.model.optimizer
        if self._every is None:
            self._every = _memory(optimizer)
        self._variables = {name: variable for name, (variable, _) in leaves(self.model).items()}
        weights = self._weights()
        if self.state is None or self._shapes != {
            name: leaf.shape for name, leaf in weights.items()
        }:
            self.state = begin(weights, (), self._scalars, self._start)
            self._since, self._total = 0, 0
            self._shapes = {name: leaf.shape for name, leaf in weights.items()}
            self._base = _rate(optimizer) if self._schedule is None else 0.0
        self._set()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Number the batches from 0 again."""
        self._batch = -1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the batches of an execution, and look where that is due."""
        assert self._every is not None
        done, self._batch = batch - self._batch, batch
        self._since, self._total = self._since + done, self._total + done
        if self._since >= self._every:
            self._since = 0
            value = jnp.asarray(float((logs or {}).get("loss", jnp.nan)))
            _ = self.model  # makes Keras put the values into the variables
            self.state = self._look(self.state, self._weights(), value, self._total)
            self._set()

    def _weights(self) -> PyTree:
        return {name: variable.value for name, variable in self._variables.items()}

    def _set(self) -> None:
        base = self._base if self._schedule is None else float(self._schedule(self._total))
        self.model.optimizer.learning_rate.assign(base * self.multiplier)


def _look(
    state: RateState,
    weights: PyTree,
    value: Any,
    total: Any,
    *,
    rule: Rule,
    stop_after: int | None,
) -> RateState:
    """Look at the weights, without gradients."""
    state = state._replace(total=jnp.asarray(total, jnp.int32))
    return look(state, weights, jnp.ones([]), value, rule=rule, stop_after=stop_after)


def _memory(optimizer: Any) -> int:
    """How many batches the optimizer remembers."""
    factor = getattr(optimizer, "beta_1", None) or getattr(optimizer, "momentum", None) or 0.0
    return steps(float(factor)) if factor else USUAL


def _rate(optimizer: Any) -> float:
    if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        raise UserError(
            "the model was compiled with a schedule; compile it with a number, and give"
            " AutoRate(schedule=…)"
        )
    return float(optimizer.learning_rate.value)
