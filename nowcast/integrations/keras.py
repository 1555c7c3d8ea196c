"""Nowcasting in ``model.fit`` of Keras 3 with its JAX back end, by callbacks.

The published code of WNN uses a callback too. ``import nowcast`` imports no Keras; this module
does, and needs ``KERAS_BACKEND=jax`` set before.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from nowcast.forecasters.base import Forecaster
from nowcast.guard import Guard
from nowcast.integrations.keras_checks import (
    check_classes,
    check_guard_data,
    check_jumps,
    check_options,
    difference,
    guard_arrays,
    shapes,
)
from nowcast.integrations.keras_ops import keras, label_ops, leaves
from nowcast.integrations.keras_rate import AutoRate
from nowcast.jumps import Jumps
from nowcast.state import Clock, NowcastState
from nowcast.timetable import NamedSteps
from nowcast.types import PyTree, UserError

__all__ = ["AutoRate", "WeightNowcasting", "label_ops"]


class WeightNowcasting(keras.callbacks.Callback):
    """Jumps to the forecast weights after every full window.

    It must be the last of the callbacks of ``model.fit``.

    Args:
        forecaster: What to forecast with, from :func:`nowcast.load`.
        every: Batches between two snapshots. None: a snapshot at the end of each epoch, as the
            paper does. (With ``steps_per_execution``, Keras tells callbacks of every so many
            batches only: a snapshot then follows the first execution that ends with, or after, the
            batch meant.)
        at: In place of ``every``: the batches to jump after, as for :class:`nowcast.Jumps`, counted
            from the first ``fit`` on.
        guard: As for :class:`nowcast.Jumps`. It restores the weights, but not the optimizer's
            moments.
        guard_data: ``(x, y)`` or ``(x, y, sample_weight)``, for a guard: the model's loss on them,
            as ``model.evaluate`` has it (with regularization, without dropout, BatchNormalization
            by its running statistics), judges the jumps. All of it takes one forward pass, so give
            about as much as a batch.
        options: The other options of :class:`nowcast.Jumps`, except ``labels``: the operation of
            each weight is that of :func:`label_ops`. ``start_after``, ``stop_after`` and the
            ``after`` of a :class:`nowcast.WaitingGuard` are counted in epochs where ``every`` is
            and ``at`` are None, in batches otherwise.
            For a fit that should not end on a jump, set ``stop_after`` to its epochs less one.

    Raises:
        UserError: An option is out of range, or is none of these; a guard without data, or data
            without a guard; data that the model cannot take (before the first batch); no weight of
            the model would ever jump, or is trainable; a state that is not of this model.

    A jump sets the trainable variables. The optimizer's moments stay as they are, and so do
    BatchNormalization's running statistics, which follow the new weights in the next batches. What
    an epoch's end reports (the validation loss too) was measured before its jump; checkpoints and
    ``restore_best_weights`` of callbacks earlier in the list hold the weights that were measured.

    The window survives: the next ``fit`` of the same model goes on where the last one stopped.
    Another model, or the same one with other trainable variables, begins anew, counters too.

    Examples:
        >>> import nowcast, nowcast.integrations.keras
        >>> callback = nowcast.integrations.keras.WeightNowcasting(nowcast.load("linear"))
        >>> model.fit(x, y, epochs=20, callbacks=[callback])  # doctest: +SKIP
        >>> callback.accepted, callback.refused
        (0, 0)
    """

    def __init__(
        self,
        forecaster: Forecaster,
        *,
        every: int | None = None,
        at: Sequence[int] | None = None,
        guard: Guard | None = None,
        guard_data: tuple[Any, ...] | None = None,
        **options: Any,
    ):
        super().__init__()
        if guard and guard_data is None:
            raise UserError(
                "a guard needs guard_data=(x, y), a batch to judge the jumps by: a part of the"
                " validation data"
            )
        if guard_data is not None and not guard:
            raise UserError(
                "guard_data is there and guard=None; pass guard=nowcast.Guard() too, or leave the"
                " data out"
            )
        check_options(options)
        self._by_batch = every is not None or at is not None
        every = every if self._by_batch else 1
        self._jumps = Jumps(forecaster=forecaster, every=every, at=at, guard=guard, **options)
        self._guard_data = (
            None
            if guard_data is None
            else keras.utils.unpack_x_y_sample_weight(guard_arrays(guard_data))
        )
        self._state: NowcastState | None = None
        self._given = False  # whether the user set the state, and it was not tried yet
        self._batch = -1  # the last one of this epoch
        # Calls that the state's clock does not count yet: between snapshots it is not updated.
        self._uncounted = 0
        self._model_of_state: Any = None
        # The model's train function, of which each compile() makes a new one.
        self._made_for: Any = None

    @property
    def state(self) -> NowcastState | None:
        """The run's state, a plain pytree; None before the first ``fit``.

        Save it beside the model and set it back before ``fit``. Setting it to None empties the
        window. Its leaves are named after the model's layers. Keras numbers the names of layers
        within a process; a model read by ``keras.models.load_model`` keeps the names that it was
        saved with.
        """
        if self._state is None:
            return None
        clock = self._state.clock
        return self._state._replace(
            clock=clock._replace(
                step=clock.step + self._uncounted, total=clock.total + self._uncounted
            )
        )

    @state.setter
    def state(self, state: NowcastState | None) -> None:
        if state is not None and not isinstance(state, NowcastState):
            raise UserError(
                "callback.state must be a state that another callback had, or None, and is a"
                f" {type(state).__name__}"
            )
        self._state, self._given, self._uncounted = (
            jax.tree.map(jnp.asarray, state),
            state is not None,
            0,
        )

    @property
    def accepted(self) -> int:
        """Jumps taken, and not taken back."""
        return int(self._state.accepted) if self._state else 0

    @property
    def refused(self) -> int:
        """Jumps not taken, or taken back."""
        return int(self._state.refused) if self._state else 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Make the state, or go on with the one that is there."""
        model = self.model
        self._variables = {name: variable for name, (variable, _) in leaves(model).items()}
        weights = {name: variable.value for name, variable in self._variables.items()}
        labels = label_ops(model)
        jumps = replace(self._jumps, labels=labels)
        check_jumps(jumps.forecaster, jumps.operations, labels)
        found, wanted = shapes(self._state), shapes(jax.eval_shape(jumps.init, weights))
        fits = found == wanted
        if self._given and not fits:
            raise UserError(
                "callback.state is not of this model with these options:"
                f" {difference(found, wanted)}; set it to None, or fit the model that it was saved"
                " beside (keras.models.load_model keeps the names of layers)"
            )
        if not fits or not (self._given or model is self._model_of_state):
            self.state = jumps.init(weights)
        assert self._state
        jumps.check_resumed(self._state)
        self._given, self._model_of_state = False, model
        self._accepted = self.accepted
        self._read_clock()
        if not fits or model.train_function is not self._made_for:
            loss = _loss(model, list(weights))
            if self._guard_data is not None:
                check_guard_data(loss, weights, self._beside(model))
                check_classes(model, self._guard_data[1])
            self._made_for = model.train_function
            self._step = _compiled(jumps, loss)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take a snapshot, and do what is due."""
        if not self._by_batch:
            self._count()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take a snapshot and do what is due, where ``every`` counts batches."""
        if self._by_batch:
            done = batch - self._batch
            self._batch = batch
            self._count(done)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Number the batches from 0 again."""
        self._batch = -1

    def _read_clock(self) -> None:
        """Read the clock's numbers, to which ``_uncounted`` is added until something is due."""
        assert self._state
        self._clock_step, self._clock_total = (
            int(self._state.clock.step),
            int(self._state.clock.total),
        )

    def _count(self, steps: int = 1) -> None:
        """Count steps of the clock.

        The weights are read only where something is due, because Keras takes a while for it.
        """
        over = self._jumps.is_over(self._clock_total + self._uncounted)
        self._uncounted += steps
        times = self._jumps.timetable
        if isinstance(times, NamedSteps):
            while due := times.next_after(self._clock_total):
                if self._clock_total + self._uncounted < due:
                    break
                self._advance_to(due)
            return
        waits = self._clock_step < 0 and self._jumps.guard is not None
        due = 0 if waits else times.every
        if self._clock_step + self._uncounted >= due and (waits or not over):
            self._advance(due)

    def _advance(self, due: int) -> None:
        """Advance the clock to the step where something is ``due``.

        A window's snapshots count as evenly spaced, however executions end.
        """
        assert self._state
        clock = self._state.clock
        late = self._clock_step >= due  # already before this execution: a new window begins
        before_due = clock.step if late else jnp.full_like(clock.step, due - 1)
        self._take(clock._replace(step=before_due, total=clock.total + self._uncounted - 1), 0)

    def _advance_to(self, due: int) -> None:
        """Advance the clock to a step with a snapshot or a jump; later batches stay uncounted.

        An execution that goes past several such steps gives the same weights to each of them.
        """
        assert self._state
        clock, passed = self._state.clock, due - self._clock_total
        before_due = clock._replace(step=clock.step + passed - 1, total=clock.total + passed - 1)
        self._take(before_due, self._uncounted - passed)

    def _take(self, clock: Clock, uncounted: int) -> None:
        """Take the step at which something is due.

        Args:
            clock: Before the step.
            uncounted: The batches after it, which the clock does not count yet.
        """
        assert self._state
        state = self._state._replace(clock=clock)
        # `self.model` makes Keras put the values into the variables.
        model, before = (
            self.model,
            self._accepted,
        )
        weights = {name: variable.value for name, variable in self._variables.items()}
        beside = None if self._guard_data is None else self._beside(model)
        weights, self._state = self._step(weights, state, beside)
        self._uncounted, self._accepted = uncounted, self.accepted
        self._read_clock()
        if self._accepted != before:  # a jump, or one taken back; never both at once
            for name, variable in self._variables.items():
                variable.assign(weights[name])

    def _beside(self, model: Any) -> tuple[list[Any], list[Any], Any]:
        """The guard's inputs besides the weights: the model's other variables, and the data."""
        fixed, metrics = (
            [v.value for v in some]
            for some in (model.non_trainable_variables, model.metrics_variables)
        )
        return fixed, metrics, self._guard_data


def _loss(model: Any, names: list[str]) -> Callable[[PyTree, Any], Any]:
    """The model's loss on the guard's data, as a function of the weights and the rest.

    The rest is what :meth:`beside <WeightNowcasting._beside>` returns.
    """

    def loss(weights: PyTree, beside: Any) -> Any:
        fixed, metrics, data = beside
        values = [weights[name] for name in names]
        return model.compute_loss_and_updates(values, fixed, metrics, *data, training=False)[0]

    return loss


def _compiled(
    jumps: Jumps, loss: Callable[[PyTree, Any], Any]
) -> Callable[..., tuple[PyTree, NowcastState]]:
    """Compile ``jumps.step`` with the model's loss as the guard's."""

    @jax.jit
    def step(weights: PyTree, state: NowcastState, beside: Any) -> tuple[PyTree, NowcastState]:
        if beside is None:
            return jumps.step(weights, state)
        return jumps.step(weights, state, value_fn=lambda weights: loss(weights, beside))

    return step
