"""Train an arm: build its optimizer with all wrappers, and pause runs at snapshots and jumps."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import nowcast
from collect.tasks.protocol import Task
from collect.training import optimizers, wrappers
from collect.training.loop import Loop, Snapshot, State
from evaluate.arm_continuous import within
from evaluate.arm_options import EMA
from evaluate.arms import ORACLE, Arm
from nowcast.forecasters import Forecaster, LastValue, Linear
from nowcast.jumps import Jumps
from nowcast.types import PyTree

CONVERTED = ("horizon", "horizon_to", "moments")
"""Options of an arm's jumps that :class:`nowcast.Jumps` takes in another form, or not at all."""


class Pause(NamedTuple):
    """Some runs at one snapshot or jump. Their states are valid until the next pause."""

    snapshots: list[Snapshot]
    """One for each run."""
    before: list[State] | None
    """At a jump: the state of each run at this step without the jump; elsewhere None."""
    seconds: float
    """Seconds of training so far: of steps, history and jumps, and of nothing else."""
    snapshot: bool
    """Whether the pause is a snapshot; if not, it is a jump between two snapshots."""
    jump_seconds: float | None = None
    """At a jump: seconds of this step beyond those of the step before; None: not measured."""


class Training:
    """Trains the runs of one arm on one task, with one compiled program.

    All arms of a seed must be equal bit for bit until the first jump, and different programs round
    differently. So every arm is wrapped in :func:`nowcast.periodic`. An arm that does not jump has
    ``every`` beyond the end of its runs.

    Args:
        task: The task.
        arm: The arm, from :func:`evaluate.resolve`.
        forecaster: The arm's forecaster; None for the oracle, and for arms that do not jump.
        every: Steps between two snapshots.
        steps: Steps of a run.

    Raises:
        UserError: Runs are too short for a jump, or the arm's options exclude each other.
    """

    def __init__(self, task: Task, arm: Arm, forecaster: Forecaster | None, every: int, steps: int):
        self.arm, self._task, self._every, self._steps = arm, task, every, steps
        self.jumps = self._jumps(forecaster or Linear())
        """The steps after which the arm jumps."""
        inner = optimizers.make(_not_none(arm.optimizer), task, arm.learned, steps)
        if arm.auto:
            stop = max(1, round(arm.auto.until * steps))
            learned = arm.auto.forecaster
            inner = nowcast.auto_rate(
                inner,
                every=arm.auto.every,
                target=arm.auto.target,
                start=arm.auto.start,
                stop_after=stop,
                forecaster=nowcast.load(learned) if learned else None,
                steps=steps if learned else None,
            )
        if arm.outer:
            inner = wrappers.outer(
                inner,
                every=arm.outer.every,
                learning_rate=arm.outer.learning_rate,
                momentum=arm.outer.momentum,
            )
        if method := within(arm):
            inner = method.wrapped(inner, steps)
        never = {"forecaster": LastValue(window=1), "every": steps + 1, "min_drift": None}
        options: dict[str, Any] = never
        if forecaster is not None:
            options = self._options(forecaster) | {"moments": arm.jump.moments}
        tx = nowcast.periodic(inner, **options, labels=task.labels)
        if arm.jump.skip:  # a pattern that fits no leaf is refused before anything trains
            jax.eval_shape(tx.init, task.init(0)[0])
        axes: PyTree = nowcast.POPULATION
        if self._averages:
            tx, axes = self._averaged(tx), wrappers.AverageState(axes, 0, 0)  # type: ignore[arg-type]
        self.loop = Loop(task, tx, axes)
        self._lock, self.compile_seconds = threading.Lock(), 0.0
        self._compiled: set[int] = set()

    @property
    def _decay(self) -> float | None:
        return self.arm.average.decay if self.arm.average and self.arm.average.kind == EMA else None

    @property
    def _averages(self) -> bool:
        """Whether an average of the weights, around the jumps, goes along with a run."""
        return self._decay is not None or self.arm.tail_blend is not None

    def _averaged(
        self, tx: optax.GradientTransformationExtraArgs
    ) -> optax.GradientTransformationExtraArgs:
        if self._decay is not None:
            return wrappers.averaged(tx, self._decay)
        power = optimizers.POWERS[_not_none(self.arm.schedule)]
        start = _not_none(self.arm.tail_blend).start
        return wrappers.tail_averaged(tx, steps=self._steps, power=power, start=start)

    def _options(self, forecaster: Forecaster) -> dict[str, Any]:
        """The options of :class:`nowcast.Jumps` for the arm's jumps, with times in steps.

        No jump comes at a run's last step, where no step could follow it.
        """
        jump, guard, every = self.arm.jump, self.arm.guard, self._every
        if jump.at is not None:
            return self._named_options(forecaster)
        start, last = round(jump.start_after * every), self._steps - 1
        first = start + forecaster.window * jump.every * every
        if first > last:
            raise nowcast.UserError(
                f"a run has {self._steps} steps, and the first jump comes after {first}; "
                "train longer (epochs=…) or record more often (record_every=…)"
            )
        stop = last if jump.stop_after is None else min(last, round(jump.stop_after * every))
        options = self._unconverted()
        times = {"every": jump.every * every, "start_after": start, "stop_after": stop}
        options |= times | {"forecaster": forecaster}
        if guard:
            options["guard"] = guard.guard(every)
        if jump.horizon_to is not None:
            jumps = len(Jumps(**options).steps(self._steps))
            options["horizon"] = nowcast.decaying_horizon(
                max(jumps, 1), _not_none(jump.horizon), jump.horizon_to
            )
        elif jump.horizon is not None:
            options["horizon"] = jump.horizon
        return options

    def _named_options(self, forecaster: Forecaster) -> dict[str, Any]:
        """The same for jumps at named steps, which count steps already."""
        jump, last = self.arm.jump, self._steps - 1
        if (end := max(_not_none(jump.at))) > last:
            raise nowcast.UserError(
                f"jump.at={list(jump.at or ())}: a run has {self._steps} steps, and step {end} is"
                f" named; name steps up to {last}, or train longer (epochs=…)"
            )
        options = self._unconverted()
        options |= {"every": None, "start_after": 0, "forecaster": forecaster}
        if guard := self.arm.guard:
            options["guard"] = guard.guard(self._every)
        return options

    def _unconverted(self) -> dict[str, Any]:
        """The options of the arm's jumps that :class:`nowcast.Jumps` takes as they are."""
        return {key: value for key, value in vars(self.arm.jump).items() if key not in CONVERTED}

    def _jumps(self, forecaster: Forecaster) -> Sequence[int]:
        if self.arm.forecaster is None:
            return ()
        try:
            return Jumps(**self._options(forecaster)).steps(self._steps)
        except nowcast.UserError as error:
            raise nowcast.UserError(f"{error} (a snapshot is every {self._every} steps)") from None

    def compile(self, seeds: Sequence[int], *, together: bool) -> None:
        """Compile the program for these runs. Only the first thread does so; the others wait.

        Args:
            seeds: The seeds of the runs.
            together: Whether they train as one program.
        """
        lanes = len(seeds) if together else 0
        with self._lock:
            if lanes in self._compiled:
                return
            begun, rates = time.perf_counter(), np.full(2, 1e-6, np.float32)
            if together:
                for _ in self.loop.run_together(seeds, np.stack([rates] * lanes)):
                    pass
            else:
                jax.block_until_ready(self.loop.once(self.loop.start(0), 0, rates, 0))
            self.compile_seconds = time.perf_counter() - begun
            self._compiled.add(lanes)

    def judged(self, state: State) -> PyTree:
        """The weights that a run is judged by.

        They are the run's weights, its average, the slow weights of its outer step, those of its
        continuous method, or those that its optimizer keeps for evaluation.
        """
        params, optimizer = state.params, state.optimizer
        if self._decay is not None:
            return wrappers.mean_of(optimizer, params, self._decay)
        if blend := self.arm.tail_blend:
            return wrappers.blend_of(optimizer, params, blend.weight, self._task.labels)
        inner = self.nowcast(optimizer).inner
        if self.arm.outer:
            return inner.slow
        if method := within(self.arm):
            return method.judged(params, inner)
        return optimizers.judged(
            _not_none(self.arm.optimizer), params, inner.inner if self.arm.auto else inner
        )

    def nowcast(self, optimizer: optax.OptState) -> nowcast.NowcastState:
        """The state of :func:`nowcast.periodic` within the optimizer's state."""
        return optimizer.inner if self._averages else optimizer

    def pauses(self, arm: Arm, seeds: Sequence[int], *, together: bool) -> Iterator[Pause]:
        """Train runs from the start to the end, and pause at every snapshot and jump.

        Args:
            arm: This training's arm, or one that differs in learning rate and schedule only.
            seeds: The seeds of the runs; one seed unless ``together``.
            together: Whether the runs train as one program.

        Yields:
            The start, then a pause at every snapshot and at every jump.
        """
        rates = optimizers.rates(
            _not_none(arm.schedule), arm.learning_rate, self._steps, arm.warmup or 0.0
        )
        if arm.forecaster == ORACLE:
            yield from self._with_the_oracle(seeds[0], rates)
            return
        also = {step for jump in self.jumps for step in (jump - 2, jump - 1, jump)}
        where: dict[str, Any] = {"record_every": self._every, "also": also}
        run: Iterator[list[Snapshot]]
        if together:
            run = self.loop.run_together(seeds, np.stack([rates] * len(seeds)), **where)
        else:
            run = ([one] for one in self.loop.run(seeds[0], rates, **where))
        before, earlier, last = None, 0.0, 0.0
        for snapshots, seconds in _timed(run):
            step = snapshots[0].step
            if step in self.jumps:
                took = (seconds - last) - (last - earlier)
                yield Pause(snapshots, before, seconds, self._on_grid(step), took)
            elif self._on_grid(step):
                yield Pause(snapshots, None, seconds, snapshot=True)
            before, earlier, last = None, last, seconds
            if step + 1 in self.jumps:
                states = [
                    self.loop.once(self._without_jump(one.state), seed, rates, step)
                    for one, seed in zip(snapshots, seeds, strict=True)
                ]
                before = jax.block_until_ready(states)  # the clock of training runs again from here

    def _on_grid(self, step: int) -> bool:
        return step % self._every == 0 or step == self._steps

    def _without_jump(self, state: State) -> State:
        """A copy of a state that does not jump at its next step."""
        state = jax.tree.map(jnp.copy, state)
        own = self.nowcast(state.optimizer)
        own = own._replace(
            clock=own.clock._replace(step=jnp.full_like(own.clock.step, -self._steps))
        )
        optimizer = state.optimizer._replace(inner=own) if self._averages else own
        return state._replace(optimizer=optimizer)

    def _with_the_oracle(self, seed: int, rates: np.ndarray) -> Iterator[Pause]:
        """Train a run that jumps to the weights that it would have ``horizon`` snapshots later.

        A jump goes no further than the weights at the run's end.
        """
        ahead = (self.arm.jump.horizon or Linear.horizon) * self.arm.jump.every * self._every
        state, begun, spent = self.loop.start(seed), 0, 0.0
        for jump in [*self.jumps, self._steps + 1]:
            run = self.loop.run(
                seed, rates, record_every=self._every, also=(jump,), state=state, first_step=begun
            )
            for snapshots, seconds in _timed([one] for one in run):
                snapshot = snapshots[0]
                if snapshot.step == jump:
                    break
                if snapshot.step > begun or not begun:
                    yield Pause(snapshots, None, spent + seconds, snapshot=True)
            else:
                return
            spent += seconds
            here = jax.tree.map(jnp.copy, snapshot.state)
            until = min(jump + ahead, self._steps)
            future = jax.tree.map(jnp.copy, here)
            for later in self.loop.run(
                seed, rates[:until], record_every=until, state=future, first_step=jump
            ):
                there = later.state.params
            state, begun = here._replace(params=jax.tree.map(jnp.copy, there)), jump
            yield Pause([snapshot._replace(state=state)], [here], spent, self._on_grid(jump))


def _timed(run: Iterator[list[Snapshot]]) -> Iterator[tuple[list[Snapshot], float]]:
    """Pair each item of ``run`` with the seconds spent inside ``run`` so far.

    The time before the first item is not counted: no step was taken.
    """
    seconds, begun = 0.0, None
    for snapshots in run:
        jax.block_until_ready([one.state for one in snapshots])
        if begun is not None:
            seconds += time.perf_counter() - begun
        yield snapshots, seconds
        begun = time.perf_counter()


def _not_none(setting: Any) -> Any:
    """Return a setting of an arm that is not None, since :func:`evaluate.resolve` filled it in."""
    assert setting is not None
    return setting
