"""Meta-train a learned optimizer: rounds of episodes, each judged on runs of other seeds.

A round whose end is not finite, or much worse than the last one, is taken back and tried again with
other seeds. Several replicates are fitted, and the best by validation is kept.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from collect.training.learned.kinds import Kind
from meta_train.learners.unroll import Learner
from nowcast.types import PyTree

JUDGED = 1_000_000_000
"""The first seed of the runs that judge; those that train have lower ones."""
CLIPPED = 1e-3
"""The least norm of a parameter's array that clipping counts with (Brock et al., 2021)."""


class Stage(NamedTuple):
    """A part of the curriculum."""

    unrolls: int
    """Unrolls of one episode."""
    imitation: float = 0.0
    """The weight of the distance to the teachers."""


class Recipe(NamedTuple):
    """How a learned optimizer is meta-trained."""

    stages: tuple[Stage, ...]
    rounds: int
    """Rounds of each stage."""
    episodes: int
    """Episodes of a round."""
    judged: int
    """Episodes that judge a round."""
    members: int
    """Runs that train together: their meta-gradients are averaged."""
    learning_rate: float
    clip: float | None = None
    """The most that a meta-gradient may be beside its parameters, array by array."""
    warm: int = 0
    """Steps of SGD before an episode."""
    warm_rate: float = 0.0
    worse: float | None = None
    """By this share of its size a round may be worse than the one before; None: by anything."""
    tries: int = 4
    """So often a round is tried again before it is kept as it is."""
    replicates: int = 1

    @property
    def total(self) -> int:
        """All rounds of all replicates."""
        return self.replicates * self.rounds * len(self.stages)


class Progress(NamedTuple):
    """The state from which a meta-training goes on."""

    round: int
    """Rounds that are done, of all replicates."""
    again: int
    """How often the next one has been taken back."""
    params: PyTree
    optimizer: PyTree
    judged: float
    """What the last kept round was judged by."""
    best: PyTree
    lowest: float
    history: list[dict[str, Any]]
    """Of each round that ended: where it stands, what it was judged by, whether it was kept."""


def start(kind: Kind, networks: list[str], recipe: Recipe, seed: int) -> Progress:
    """The progress before the first round."""
    params = draw(kind, networks, seed)
    state = _optimizer(recipe).init(params)
    return Progress(0, 0, params, state, float("inf"), params, float("inf"), [])


def draw(kind: Kind, networks: list[str], seed: int) -> PyTree:
    """Initial parameters of a learned optimizer with these networks."""
    keys = jax.random.split(jax.random.key(seed), len(networks))
    return {name: kind.init(key) for name, key in zip(networks, keys, strict=True)}


def fit(
    learner: Learner,
    recipe: Recipe,
    seed: int,
    progress: Progress,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Progress]:
    """Go through the rounds that are left; ``tick`` is called after each episode that trains.

    Yields:
        The progress after each round, also one that is taken back.
    """
    optimizer = _optimizer(recipe)
    apply = jax.jit(lambda params, state, slope: _applied(optimizer, params, state, slope))
    each = recipe.rounds * len(recipe.stages)
    networks = sorted(progress.params)
    while progress.round < recipe.total:
        replicate, within = divmod(progress.round, each)
        stage = within // recipe.rounds
        if within == 0 and progress.again == 0 and replicate:  # a new draw
            fresh = start(learner.kind, networks, recipe, seed + replicate)
            progress = progress._replace(
                params=fresh.params, optimizer=fresh.optimizer, judged=float("inf")
            )
        now = recipe.stages[stage]
        params, state, skipped = progress.params, progress.optimizer, 0
        for episode in range(recipe.episodes):
            seeds = _seeds(seed, progress.round, progress.again, episode, recipe.members)
            run = learner.begin(params, seeds, taught=now.imitation > 0)
            run = learner.warm(run, recipe.warm, recipe.warm_rate)
            for _ in range(now.unrolls):
                unrolled = learner.unroll(params, run, now.imitation)
                finite = all(
                    bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(unrolled.slope)
                )
                if not finite:  # the rest of the episode is lost, and nothing else
                    skipped += 1
                    break
                params, state = apply(params, state, unrolled.slope)
                run = unrolled.run
            tick()
        judged = judge(
            learner, params, recipe, recipe.stages[min(stage + 1, len(recipe.stages) - 1)]
        )
        yield (progress := _kept(progress, recipe, params, state, judged, stage, skipped))


def judge(learner: Learner, params: PyTree, recipe: Recipe, stage: Stage) -> float:
    """What a learned optimizer is judged by: lower is better, and infinite is what is not finite.

    The mean over episodes, always of the same seeds: of L2O the loss of the last unroll's steps, of
    L2O-Amalgam the objective of all unrolls.
    """
    values: list[float] = []
    for episode in range(recipe.judged):
        seeds = [JUDGED + episode * recipe.members + member for member in range(recipe.members)]
        run = learner.begin(params, seeds, taught=False)
        run = learner.warm(run, recipe.warm, recipe.warm_rate)
        own = []
        for _ in range(stage.unrolls):
            unrolled = learner.unroll(params, run, slope=False)
            run = unrolled.run
            own.append(unrolled.value if learner.settings.logarithm else unrolled.last_loss)
        values.append(float(np.mean(own)) if learner.settings.logarithm else own[-1])
    mean = float(np.mean(values))
    return mean if np.isfinite(mean) else float("inf")


def _kept(
    progress: Progress,
    recipe: Recipe,
    params: PyTree,
    state: PyTree,
    judged: float,
    stage: int,
    skipped: int,
) -> Progress:
    """The progress after a round, which is taken back where it lost too much."""
    before, first = progress.judged, progress.round % recipe.rounds == 0
    lost = not np.isfinite(judged)
    if recipe.worse is not None and np.isfinite(before) and not first:
        lost |= judged > before + recipe.worse * abs(before)
    again = lost and progress.again < recipe.tries
    history = [
        *progress.history,
        {
            "round": progress.round,
            "stage": stage,
            "again": progress.again,
            "judged": judged,
            "kept": not again,
            "skipped": skipped,
        },
    ]
    if again:
        return progress._replace(again=progress.again + 1, history=history)
    if lost and not np.isfinite(judged):  # nothing to go on from
        params, state, judged = progress.params, progress.optimizer, before
    # Rounds of different stages are judged over different lengths: only the last stage's compete.
    better = judged < progress.lowest and stage == len(recipe.stages) - 1
    return Progress(
        progress.round + 1,
        0,
        params,
        state,
        judged,
        params if better else progress.best,
        judged if better else progress.lowest,
        history,
    )


def _seeds(seed: int, round_: int, again: int, episode: int, members: int) -> list[int]:
    drawn = np.random.default_rng([seed, round_, again, episode]).integers(0, JUDGED, members)
    return [int(one) for one in drawn]


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    adam = optax.adam(recipe.learning_rate)
    if recipe.clip is None:
        return adam
    return optax.chain(_clipped(recipe.clip), adam)


def _clipped(ratio: float) -> optax.GradientTransformation:
    """Adaptive clipping over whole arrays, as L2O-Amalgam's code has it.

    optax's ``adaptive_grad_clip`` clips unit by unit, as Brock et al. (2021) do.
    """

    def clip(gradient: Any, param: Any) -> Any:
        most = ratio * jnp.maximum(jnp.linalg.norm(param), CLIPPED)
        size = jnp.linalg.norm(gradient)
        return gradient * jnp.minimum(1.0, most / jnp.maximum(size, 1e-30))

    return optax.stateless(lambda updates, params: jax.tree.map(clip, updates, params))


def _applied(optimizer: Any, params: PyTree, state: PyTree, slope: PyTree) -> tuple[PyTree, PyTree]:
    updates, state = optimizer.update(slope, state, params)
    return optax.apply_updates(params, updates), state
