"""Optimizers and learning-rate schedules.

The learning rate is an argument of every step, not part of the optimizer, so that runs which differ
in rate or schedule share one compiled program.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from collect.training import learned
from collect.training.learned import celo
from nowcast import text
from nowcast.types import PyTree, UserError

OPTIMIZERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamw": lambda rate: optax.adamw(rate, weight_decay=1e-2),
    "adamw_1e-4": lambda rate: optax.adamw(rate, weight_decay=1e-4),
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "sgd": optax.sgd,
    "rmsprop_1": lambda rate: optax.rmsprop(
        rate, decay=0.9, eps=1.0, initial_scale=1.0, momentum=0.9
    ),
    "muon": lambda rate: optax.contrib.muon(
        rate, muon_weight_dimension_numbers=_matrices, consistent_rms=0.2
    ),
    "schedule_free": lambda rate: optax.contrib.schedule_free_adamw(rate),
    "prodigy": lambda rate: optax.contrib.prodigy(rate),
    "dadapt_adamw": lambda rate: optax.contrib.dadapt_adamw(rate),
    "mechanize": lambda rate: optax.contrib.mechanize(optax.adam(rate)),
    "l2o": lambda rate: learned.load("l2o").transformation(rate),
    "l2o_amalgam": lambda rate: learned.load("l2o_amalgam").transformation(rate),
}
"""The function that makes each optimizer from its learning rate, which may be traced."""
LEARNED = tuple(learned.KINDS)
"""Optimizers that were meta-trained."""
PUBLISHED = ("celo",)
"""Meta-trained optimizers that need a file of their authors' weights, and the run's length."""
FIND_THEIR_RATE = ("prodigy", "dadapt_adamw", *LEARNED, *PUBLISHED)
"""Optimizers that find their rate. Their learning rate is a factor of it, 1 for any task."""
OWN_WEIGHTS = ("schedule_free", "mechanize")
"""Optimizers whose next weights come from weights that they keep.

Their update is no multiple of the rate.
"""
TENTH_AFTER = 350 * 50_000 // 128
"""Steps from one fall of the schedule ``staircase`` to the next: 350 epochs of CIFAR-10 in batches
of 128, as in TensorFlow's CIFAR-10 tutorial and in CIFAR_1 of Introspection.
"""
LEAST = 1e-4 / 2.5e-3
"""The share of the rate with which ``up_flat_down`` begins and ends."""
ALEXNETS_TENTH_AFTER = 100_000
"""Steps from one fall of the schedule ``tenths`` to the next: AlexNet's in Introspection."""
TWO_EPOCHS = 2 * 1_281_167 / 128
"""Steps from one fall of the schedule ``inception`` to the next: two epochs of ImageNet in batches
of 128.
"""
THIRD_AFTER = 68_053
"""Steps from one fall of the schedule ``thirds`` to the next: those beside the rate 2e-5 in the
public Keras port of OpenPose, ``training/train_pose.py``.
"""


def _falls(factor: float, after: float) -> Callable[[np.ndarray, int], np.ndarray]:
    """The schedule that is multiplied by ``factor`` after each so many steps."""
    return lambda step, _: factor ** (step // after)


SCHEDULES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "constant": lambda step, _: np.ones_like(step),
    "cosine": lambda step, length: (1 + np.cos(np.pi * (step / length))) / 2,
    "step": lambda step, length: np.where(
        step / length < 0.5, 1, np.where(step / length < 0.75, 0.1, 0.01)
    ),
    "wsd": lambda step, length: np.minimum(1, (1 - step / length) / 0.2),
    "inverse": lambda step, _: (1 + 1e-4 * step) ** -0.75,
    "staircase": _falls(0.1, TENTH_AFTER),
    "exponential": lambda step, length: 0.01 ** (step / length),
    "up_flat_down": lambda step, length: _up_flat_down(9 * step / length),
    "tenths": _falls(0.1, ALEXNETS_TENTH_AFTER),
    "inception": _falls(0.94, TWO_EPOCHS),
    "thirds": _falls(0.333, THIRD_AFTER),
}
"""The function from a step (the first is 0.0) and the run's length to the factor of the rate."""
POWERS = {"cosine": 2.0, "wsd": 1.0}
"""The power of what is left of a run with which a schedule goes to 0. Other schedules do not."""
GRIDS = {
    "adam": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "adamw": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "adamw_1e-4": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "momentum": (1e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "sgd": (1e-2, 1e-1, 3e-1, 1.0, 3.0),
    "rmsprop_1": (1e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "muon": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "schedule_free": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "prodigy": (0.1, 0.3, 1.0, 3.0, 10.0),
    "dadapt_adamw": (0.1, 0.3, 1.0, 3.0, 10.0),
    "mechanize": (1e-3, 1e-2, 1e-1, 1.0, 10.0),
    **dict.fromkeys((*LEARNED, *PUBLISHED), (0.1, 0.3, 1.0, 3.0, 10.0)),
}
"""The learning rates that tuning tries, wide enough that the best one is rarely at an end."""


def make(
    name: str, task: Any = None, bundle: str | None = None, steps: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose ``update`` takes ``learning_rate=``, and ``loss=`` of the step.

    ``bundle`` is the folder of a learned optimizer, for the names of :data:`LEARNED`; None: the one
    that comes with the project. For those of :data:`PUBLISHED` it is the file of the weights, and
    ``steps`` the length of the run.

    If a :class:`collect.tasks.Task` has ``rates``, they multiply the updates leaf by leaf; if it
    ``waits``, gradients that are all 0 change nothing. This happens inside of any wrapper of the
    optimizer, so that outer steps, averages and jumps see weights that moved so.
    """
    factors, waits = getattr(task, "rates", None), getattr(task, "waits", False)
    known = (*OPTIMIZERS, *PUBLISHED)
    if name not in known:
        raise UserError(f"optimizer.name={name!r} is unknown; {text.choice(name, known)}")
    if factors is not None and name in OWN_WEIGHTS:
        raise UserError(
            f"optimizer.name={name}: knows no rates of single leaves, which this task has; choose"
            " another"
        )

    own = _maker(name, bundle, steps)

    def update(
        updates: PyTree,
        state: Any,
        params: PyTree = None,
        *,
        learning_rate: Any,
        loss: Any = None,
        **extra: Any,
    ) -> tuple[PyTree, Any]:
        now = optax.with_extra_args_support(own(learning_rate))
        grads, before = updates, state
        # Optax calls the loss ``value``. Under that name auto_rate, outside, would read it too.
        extra |= {} if loss is None else {"value": loss}
        updates, state = now.update(updates, state, params, **extra)
        if waits:
            moves = jnp.any(jnp.stack([jnp.any(grad != 0) for grad in jax.tree.leaves(grads)]))
            still = jax.tree.map(jnp.zeros_like, updates)
            updates, state = jax.tree.map(
                lambda new, old: jnp.where(moves, new, old), (updates, state), (still, before)
            )
        if factors is not None:
            updates = jax.tree.map(
                lambda update, factor: update * jnp.asarray(factor, update.dtype), updates, factors
            )
        return updates, state

    return optax.GradientTransformationExtraArgs(own(1.0).init, update)


def _maker(
    name: str, bundle: str | None, steps: int | None
) -> Callable[[Any], optax.GradientTransformation]:
    """The function that makes an optimizer from its learning rate, with the weights that it has."""
    if name in LEARNED:
        return _learned(name, bundle or name).transformation
    if name in PUBLISHED:
        return _published(name, bundle, steps)
    return OPTIMIZERS[name]


def _published(
    name: str, file: str | None, steps: int | None
) -> Callable[[Any], optax.GradientTransformation]:
    if not file or steps is None:
        raise UserError(
            f"optimizer={name}: needs the file of its weights and the length of the run; compare"
            f" with it: {text.command('evaluate')} 'arm=[cosine,{name}]' {name}=FILE"
        )
    return partial(celo.load(file).transformation, steps)


def _learned(name: str, bundle: str) -> learned.LearnedOptimizer:
    optimizer = learned.load(bundle)
    if optimizer.name != name:
        raise UserError(
            f"learned={bundle}: is a bundle of {optimizer.name}, and the optimizer is {name}; give"
            f" a bundle of learner={name}"
        )
    return optimizer


def judged(name: str, params: PyTree, state: Any) -> PyTree:
    """The weights that a run of this optimizer is judged by.

    For Schedule-Free they are not those that it trains.
    """
    return (
        optax.contrib.schedule_free_eval_params(state, params)
        if name == "schedule_free"
        else params
    )


def rates(
    schedule: str, learning_rate: float, steps: int, warmup: float = 0.0
) -> Float[np.ndarray, "steps"]:
    """The learning rate of every step of a run.

    Args:
        schedule: ``constant``; ``cosine``, from ``learning_rate`` to 0 (Loshchilov & Hutter, ICLR
            2017); ``step``, a tenth of it after half of the steps and a hundredth after three
            quarters (He et al., CVPR 2016, §4.2); ``wsd``, held, then evenly to 0 over the last
            fifth (warm-up, stable, decay: Hägele et al., NeurIPS 2024). Five follow the number of
            steps, whatever the run's length: ``inverse``, times ``(1 + 1e-4·step)^−0.75`` (Caffe's
            LeNet, and MNIST_2 of Introspection: Sinha et al., ICLR 2017); ``staircase``, a tenth
            after each :data:`TENTH_AFTER` steps; ``tenths``, a tenth after each
            :data:`ALEXNETS_TENTH_AFTER` (AlexNet of Introspection); ``inception``, times 0.94 after
            each :data:`TWO_EPOCHS` (Inception of Introspection); ``thirds``, times 0.333 after each
            :data:`THIRD_AFTER`. Two more are of the WNN paper's Table 5: ``exponential``, evenly in
            the logarithm to a hundredth; ``up_flat_down``, of its program of transfer, along a
            cosine from a 25th to the whole rate in the first ninth of the run, flat to five ninths,
            along a cosine back to a 25th. Departure: the rate changes at each step, and not at each
            epoch.
        learning_rate: The rate with which the schedule begins.
        steps: Length of the run.
        warmup: Share of the run in which the rate climbs evenly to ``learning_rate`` (Goyal et al.,
            2017, §2.2); the schedule takes the rest.
    """
    if schedule not in SCHEDULES:
        raise UserError(f"schedule={schedule!r} is unknown; {text.choice(schedule, SCHEDULES)}")
    if not 0 < learning_rate < 100:
        raise UserError(
            f"learning_rate={learning_rate}: must be above 0 and below 100, such as 0.001"
        )
    warm = round(warmup * steps)
    climb = np.arange(1, warm + 1) / max(warm, 1)
    shape = SCHEDULES[schedule](np.arange(steps - warm, dtype=float), max(steps - warm, 1))
    return (learning_rate * np.concatenate([climb, shape])).astype(np.float32)


def _up_flat_down(part: np.ndarray) -> np.ndarray:
    """The factor of the schedule ``up_flat_down`` after ``part`` ninths of the run."""
    up = (1 - np.cos(np.pi * np.minimum(part, 1))) / 2
    down = (1 + np.cos(np.pi * np.maximum(part - 5, 0) / 4)) / 2
    return LEAST + (1 - LEAST) * np.where(part < 1, up, down)


def _matrices(params: PyTree) -> PyTree:
    """The matrices that Muon orthogonalises: kernels, from all their inputs to their outputs.

    The rest is left to Adam, with Nesterov's momentum.
    """
    numbers = optax.contrib.MuonDimensionNumbers
    return jax.tree.map(
        lambda p: numbers(tuple(range(p.ndim - 1)), p.ndim - 1) if p.ndim >= 2 else None, params
    )
