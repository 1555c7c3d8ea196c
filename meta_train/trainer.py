"""Fit networks to windows: jitted, data-parallel over every device of every process.

``jit`` with shardings replaces ``pmap``: windows are split over the devices, parameters are
everywhere, and the compiler adds the one sum over devices that the gradient needs.
"""

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float

from meta_train import loader, objective, processes
from meta_train.source import Source
from nowcast.forecasters import Learned
from nowcast.types import PyTree, UserError

LONGEST = 1000
"""The most steps between two evaluations."""


class Settings(NamedTuple):
    """The settings of a fit."""

    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    patience: int
    """Evaluations without a better network after which the fit ends."""
    evaluations: int = 40
    handful: int = 512
    """Windows drawn from one place of one run, or leaves from one run."""
    pool_steps: int = 2000
    """Steps between two new parts of the pool (:mod:`meta_train.loader`)."""

    def next_evaluation(self, step: int) -> int:
        """The step of the first evaluation after this step."""
        every = max(1, min(self.steps // self.evaluations, LONGEST))
        return min(self.steps, (step // every + 1) * every)


class Progress(NamedTuple):
    """The state from which a fit goes on."""

    step: int
    params: PyTree
    optimizer: PyTree
    best: PyTree
    """The best parameters of each network so far, on validation."""
    lowest: list[float]
    """The validation errors of these."""
    waited: int
    """Evaluations since any network became better."""
    curves: dict[str, list[float]]
    """``step``, ``loss/NETWORK`` and ``validation/NETWORK`` (L1), a value per evaluation.

    The loss has the regulariser, and is the mean since the last evaluation.
    """

    def ended(self, settings: Settings) -> bool:
        """Whether the fit has taken all steps, or lost its patience."""
        return self.step >= settings.steps or self.waited >= settings.patience


def placed(progress: Progress) -> Progress:
    """The progress with its parameters and states on every device."""
    held = progress.params, progress.optimizer, progress.best
    params, state, best = jax.device_put(held, loader.everywhere())
    return progress._replace(params=params, optimizer=state, best=best)


class NotFinite(UserError):
    """The loss became NaN or infinite."""

    def __init__(self, networks: Sequence[str], values: Sequence[float] | Array, step: int):
        wrong = [
            name
            for name, value in zip(networks, np.asarray(values), strict=True)
            if not np.isfinite(value)
        ]
        super().__init__(f"the loss of {', '.join(wrong)} is not finite at step {step}")


def start(
    kind: type[Learned], networks: Sequence[str], window: int, horizon: int, settings: Settings
) -> Progress:
    """The progress before the first step."""
    keys = jax.random.split(jax.random.key(settings.seed), len(networks))
    outputs = horizon if kind.many else 1
    params = jax.vmap(lambda key: kind.init_network(key, window, outputs))(keys)
    curves: dict[str, list[float]] = {
        f"{what}/{name}": [] for what in ("loss", "validation") for name in networks
    }
    state = optimizer(kind, settings).init(params)
    return Progress(
        0, params, state, params, [float("inf")] * len(networks), 0, {"step": [], **curves}
    )


def fit(
    kind: type[Learned],
    networks: Sequence[str],
    source: Source,
    validation: Mapping[str, Float[np.ndarray, "M columns"]],
    settings: Settings,
    progress: Progress,
) -> Generator[Progress]:
    """Fit one network per operation, all in one compiled step, with Adam and a cosine schedule.

    The schedule goes down to 0.

    Args:
        kind: The forecaster.
        networks: Their names.
        source: Training windows.
        validation: Windows of other runs, per network: they decide which parameters are kept, and
            when to stop.
        settings: The settings.
        progress: The state to begin or to continue from.

    Yields:
        The progress at every evaluation.

    Raises:
        NotFinite: The loss became NaN or infinite.
    """
    if progress.ended(settings):
        return
    everywhere = loader.everywhere()
    advance, errors = _compiled(kind, source.rule.window, settings, everywhere)  # type: ignore[arg-type]  # a class has a hash
    held_out = jax.device_put([validation[name] for name in networks], everywhere)
    progress = placed(progress)
    first = progress.step // settings.pool_steps
    pools = loader.pools(source, networks, size=settings.handful, seed=settings.seed, first=first)
    pool = processes.together(lambda: next(pools))
    while not progress.ended(settings):
        step, params, state = progress.step, progress.params, progress.optimizer
        until = settings.next_evaluation(step)
        total = np.zeros(len(networks))
        while step < until:
            end = min(until, (step // settings.pool_steps + 1) * settings.pool_steps)
            params, state, summed, bad = advance(params, state, pool, step, end)
            if int(bad) >= 0:
                raise NotFinite(networks, summed, int(bad))
            step, total = end, total + np.asarray(summed)
            if step % settings.pool_steps == 0 and step < settings.steps:
                pool = processes.together(lambda: next(pools))
        losses, checked = (
            total / (step - progress.step),
            [*map(float, jax.device_get(errors(params, held_out)))],
        )
        if not np.isfinite(checked).all():
            raise NotFinite(networks, checked, step)
        progress = progress._replace(step=step, params=params, optimizer=state)
        progress = evaluated(progress, networks, losses, checked)
        yield progress


@lru_cache(maxsize=4)
def _compiled(
    kind: type[Learned], window: int, settings: Settings, everywhere: NamedSharding
) -> tuple[Any, Any]:
    """``advance``, and ``errors(params, windows)`` of each network on its windows.

    They are compiled once for fits alike.
    """

    @jax.jit
    def errors(params: PyTree, windows: Sequence[Array]) -> list[Array]:
        return [
            objective.error(kind, own, some, window)
            for own, some in zip(objective.apart(params, len(windows)), windows, strict=True)
        ]

    return jax.jit(_advance(kind, window, settings), out_shardings=everywhere), errors


def _advance(kind: type[Learned], window: int, settings: Settings) -> Any:
    chosen, each = optimizer(kind, settings), settings.batch_size // loader.SLOTS
    taken = jax.vmap(jax.vmap(lambda rows, picks: rows[picks]))

    def advance(params: PyTree, state: PyTree, pool: loader.Pool, first: Array, end: Array) -> Any:
        """Take the steps from ``first`` to ``end``, or up to the first whose loss is not finite.

        Returns:
            Parameters, optimizer state, the sum of the losses (K,), and the step that was not
            finite, or −1.
        """
        windows = jnp.concatenate(pool, axis=2)  # (K, slots, windows, columns)

        def one(carry: Any) -> Any:
            params, state, step, total, _ = carry
            key = jax.random.fold_in(jax.random.key(settings.seed + 1), step)
            picks = jax.random.randint(key, (*windows.shape[:2], each), 0, windows.shape[2])
            batch = taken(windows, picks).reshape(len(windows), -1, windows.shape[-1])

            def objectives(params: PyTree) -> tuple[Array, Float[Array, "K"]]:
                every = objective.losses(kind, params, batch, window)
                return jnp.sum(every), every

            (_, every), grads = jax.value_and_grad(objectives, has_aux=True)(params)
            updates, state = chosen.update(grads, state, params)
            bad = jnp.where(jnp.isfinite(every).all(), -1, step)
            return optax.apply_updates(params, updates), state, step + 1, total + every, bad

        carry = (params, state, jnp.int32(first), jnp.zeros(len(windows)), jnp.int32(-1))
        params, state, _, total, bad = jax.lax.while_loop(
            lambda c: (c[2] < end) & (c[4] < 0), one, carry
        )
        return params, state, total, bad

    return advance


def evaluated(
    progress: Progress, networks: Sequence[str], losses: Float[np.ndarray, "K"], now: list[float]
) -> Progress:
    """The progress after an evaluation: the better parameters kept, the curves longer."""
    better = np.array(now) < progress.lowest
    best = _where(better, progress.params, progress.best)
    points: dict[str, float] = {"step": progress.step}
    for name, loss, error in zip(networks, losses, now, strict=True):
        points |= {f"loss/{name}": float(loss), f"validation/{name}": error}
    return progress._replace(
        best=best,
        lowest=np.where(better, now, progress.lowest).tolist(),
        waited=0 if better.any() else progress.waited + 1,
        curves={name: [*curve, points[name]] for name, curve in progress.curves.items()},
    )


@jax.jit
def _where(better: Bool[Array, "K"], new: PyTree, old: PyTree) -> PyTree:
    """Each network's new parameters where they are better, otherwise the old ones."""
    return jax.tree.map(
        lambda n, o: jnp.where(better.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old
    )


def optimizer(kind: type[Learned], settings: Settings) -> optax.GradientTransformation:
    """Adam with the weight decay and the clipping of the kind, and a rate that a cosine takes to 0.

    Only kinds with one network are clipped: the norm is over all that is fitted together.
    """
    rate = optax.cosine_decay_schedule(settings.learning_rate, settings.steps)
    adam = optax.adam(rate)
    if kind.weight_decay:
        adam = optax.adamw(rate, weight_decay=kind.weight_decay)
    return adam if kind.clip is None else optax.chain(optax.clip_by_global_norm(kind.clip), adam)
