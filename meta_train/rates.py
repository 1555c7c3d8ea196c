"""Fit ``forecaster=rate`` to sweeps of learning rates, and write its bundle.

The network of :mod:`nowcast.rate_forecaster` is fitted to the windows of all runs. The loss is the
negative log-likelihood of a normal distribution, ``log σ + ½ ((label − μ) / σ)²``.

The bundle's network is fitted to all tasks but those of ``keep_out``. For the scores, each task is
left out once, and a network that is fitted to the others is scored on it. One factor widens the
deviations of all these networks: with it, 80 % of the labels of tasks left out lie in the intervals
that should hold 80 %.

The multiplier of :func:`nowcast.auto_rate` is 1 in all runs of a sweep. So its history is no input
of the network, and ``auto_rate`` divides the increments that the network reads by it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from tqdm import tqdm

import nowcast
from collect import corpus
from collect.figures import png
from collect.files import replace
from collect.tasks.names import names as names_of
from meta_train import splitting, sweeps
from meta_train.config import MetaTrainConfig
from meta_train.data import described, distinct
from meta_train.fitting import describe_fit
from meta_train.rates_picture import picture
from meta_train.sweeps import Examples, Group
from nowcast import bundle, rate_forecaster, text
from nowcast.drift import mean_cosine
from nowcast.rate_forecaster import Estimate, Rate
from nowcast.types import PyTree, UserError

DECAY = 1e-2
"""The weight decay of AdamW; it is strong, because there are few tasks."""
TOGETHER = 250
"""Steps in one compiled call, and between two updates of the progress bar."""
INSIDE = 1.2816
"""80 % of a normal distribution lie within so many deviations of the mean, on both sides."""
LEAST = 1e-6
"""The smallest variance of the drifts to which the control fits a slope."""
FIRST_HALF = 0.5
"""The share of a run in which :func:`nowcast.auto_rate` mostly follows the rate."""

Score = dict[str, float]


class Line(NamedTuple):
    """The control: a line from the drift to the label, fitted by least squares.

    It takes the drift on the scale of the network's input.
    """

    slope: float
    offset: float

    def read(self, some: Examples) -> Float[np.ndarray, "N"]:
        """The label that the line gives for each window."""
        return self.slope * _drift(some) + self.offset


def meta_train(config: MetaTrainConfig, command: str | None = None) -> dict[str, Any]:
    """Fit ``forecaster=rate`` to sweeps and write its bundle, with ``loss.png`` beside the card.

    Args:
        config: The configuration of the fit.
        command: The command to note in the card.

    Returns:
        The card. It holds the scores on each task, by a fit to the others, and on tasks kept out;
        the corpora by their hashes; the names of groups that were not used; command and versions.

    Raises:
        UserError: There is no corpus or no finished run, no sweep has its best rate between others,
            or there are fewer than two tasks.
    """
    bundle.check_destination(config.bundle)
    corpora = [corpus.open(path) for path in config.corpus]
    runs = distinct(corpora)
    if not runs:
        raise UserError(f"corpus={', '.join(config.corpus)} holds no finished run")
    splitting.check_keep_out(runs, config.keep_out)
    found = sweeps.groups(runs)
    kept = [group for group in found if not _kept_out(group, config.keep_out)]
    out = [group for group in found if _kept_out(group, config.keep_out)]
    some = sweeps.examples(kept)
    if len(some.tasks) < 2:
        raise UserError(
            f"corpus: sweeps of {some.tasks[0]} alone, and each task is scored by a fit to the"
            " others; collect sweeps of another task too"
        )
    others = {task: [one for one in some.tasks if one != task] for task in some.tasks}
    total = (len(some.tasks) + 1) * config.steps  # type: ignore[operator]
    with tqdm(total=total, desc="meta-train rate", unit="step") as bar:
        own, losses = fit(some, config, bar.update)
        left_out = {
            task: fit(some.of(rest), config, bar.update)[0] for task, rest in others.items()
        }
    factor = widening([(rate, some.of([task])) for task, rate in left_out.items()])
    own = widened(own, factor)
    validation = {
        task: scores(widened(rate, factor), line(some.of(others[task])), some.of([task]))
        for task, rate in left_out.items()
    }
    held_out = {}
    if any(group.best for group in out):
        apart, control = sweeps.examples(out), line(some)
        held_out = {task: scores(own, control, apart.of([task])) for task in apart.tasks}
    used = [run for group in kept if group.best for run in group.runs]
    unused = sorted(group.name for group in found if group.best is None)
    about = described(
        config, corpora, splitting.Parts(used, [], [run for group in out for run in group.runs])
    )
    card = {
        **describe_fit(config, command),
        "corpus": about,
        "groups": len(found) - len(unused),
        "groups_not_used": unused,
        "windows": len(some.label),
        "widened": round(factor, 3),
        "limits": limits(some, used, config.keep_out),
        "validation": validation,
        "held_out": held_out,
        "steps": config.steps,
        "curves": {"step": [TOGETHER * (i + 1) for i in range(len(losses))], "loss": losses},
    }
    card = nowcast.save(own, config.bundle, card)
    replace(Path(config.bundle) / "loss.png", png(picture(card)))
    return card


def fit(
    some: Examples, config: MetaTrainConfig, progress: Callable[[int], Any] = lambda steps: None
) -> tuple[Rate, list[float]]:
    """Fit a network to some windows.

    Args:
        some: The windows.
        config: Gives ``steps``, ``batch_size``, ``learning_rate`` and ``seed``.
        progress: Called with the number of steps taken since the last call.

    Returns:
        The forecaster, and the mean loss of every :data:`TOGETHER` steps.

    Raises:
        UserError: The loss became NaN or infinite.
    """
    steps, size = int(config.steps or 0), int(config.batch_size or 0)
    schedule = optax.cosine_decay_schedule(float(config.learning_rate or 0), steps)
    optimizer = optax.adamw(schedule, weight_decay=DECAY)
    seen = rate_forecaster.inputs(*_shown(some))
    label, rng = jnp.asarray(some.label), np.random.default_rng(config.seed)
    params = rate_forecaster.init_network(jax.random.key(config.seed))
    state, losses = optimizer.init(params), []

    @jax.jit
    def follow(params: PyTree, state: PyTree, drawn: Int[Array, "T B"]) -> Any:
        def step(carry: Any, batch: Int[Array, "B"]) -> Any:
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params, seen[batch], label[batch])
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, state), drawn)

    for first in range(0, steps, TOGETHER):
        many = min(TOGETHER, steps - first)
        drawn = rng.choice(len(label), size=(many, size), p=some.weight).astype(np.int32)
        (params, state), values = follow(params, state, jnp.asarray(drawn))
        losses.append(float(values.mean()))
        if not np.isfinite(losses[-1]):
            raise UserError(
                f"meta-training: the loss is {losses[-1]} after {first + many} steps; lower"
                f" learning_rate={config.learning_rate:g}"
            )
        progress(many)
    return Rate(params=jax.device_get(params)), losses


def loss(params: PyTree, seen: Float[Array, "N I"], label: Float[Array, "N"]) -> Float[Array, ""]:
    """The mean negative log-likelihood of the labels, without its constant.

    Args:
        params: The network's parameters.
        seen: The network's inputs.
        label: The labels.
    """
    mean, deviation = rate_forecaster.estimate(params, seen)
    return jnp.mean(jnp.log(deviation) + 0.5 * ((label - mean) / deviation) ** 2)


def line(some: Examples) -> Line:
    """Fit the control to some windows."""
    drift, label = _drift(some), some.label
    middle, mean = (np.average(part, weights=some.weight) for part in (drift, label))
    spread = np.average((drift - middle) ** 2, weights=some.weight)
    both = np.average((drift - middle) * (label - mean), weights=some.weight)
    slope = float(both / spread) if spread > LEAST else 0.0
    return Line(slope, float(mean - slope * middle))


def widening(left_out: Sequence[tuple[Rate, Examples]]) -> float:
    """The factor by which deviations must grow so that 80 % intervals hold 80 % of the labels.

    Args:
        left_out: Forecasters, each with the windows of a task that it was not fitted to.

    Returns:
        The factor, 1 or more.
    """
    away, weight = [], []
    for rate, some in left_out:
        mean, deviation = rate(*_shown(some))
        away.append(np.abs(some.label - np.asarray(mean)) / np.asarray(deviation))
        weight.append(some.weight)
    far, many = np.concatenate(away), np.concatenate(weight)
    order = np.argsort(far)
    passed = np.cumsum(many[order]) / many.sum()
    return max(1.0, float(far[order][np.searchsorted(passed, 0.8)] / INSIDE))


def widened(rate: Rate, factor: float) -> Rate:
    """A copy of a forecaster whose deviations are ``factor`` times as wide."""
    last = rate.params["estimate"]
    bias = last["bias"] + np.array([0, np.log(factor)], np.float32)
    return Rate(params={**rate.params, "estimate": {**last, "bias": bias}})


def scores(rate: Rate, control: Line, some: Examples) -> dict[str, Score]:
    """Score a forecaster and its control on some windows.

    Returns:
        The scores on the ``whole run`` and on its ``first half``. ``error`` and ``control`` are the
        mean absolute errors in factors of 2 (``log2``) of the forecaster and of the control;
        ``constant`` is that of the windows' mean label; ``inside`` is the share of labels in the
        interval that should hold 80 % of them.
    """
    found = rate(*_shown(some))
    whole, early = np.ones(len(some.label), bool), some.share <= FIRST_HALF
    return {
        name: _score(found, control.read(some), some, chosen)
        for name, chosen in (("whole run", whole), ("first half", early))
        if chosen.any()
    }


def _score(
    found: Estimate, control: np.ndarray, some: Examples, chosen: np.ndarray
) -> dict[str, float]:
    weight, label = some.weight[chosen] / some.weight[chosen].sum(), some.label[chosen]

    def error(said: Any) -> float:
        return round(float(np.sum(weight * np.abs(said - label)) / np.log(2)), 3)

    mean, deviation = (np.asarray(part)[chosen] for part in found)
    inside = np.abs(label - mean) <= INSIDE * deviation
    return {
        "error": error(mean),
        "control": error(control[chosen]),
        "constant": error(np.sum(weight * label)),
        "inside": round(float(np.sum(weight * inside)), 3),
    }


def table(scored: Mapping[str, Mapping[str, Score]]) -> str:
    """The scores as text, for the terminal."""
    lines = [f"{'task':22} {'windows of':12} {'error':>7} {'drift alone':>12} {'in the 80 %':>12}"]
    for task, parts in scored.items():
        for name, one in parts.items():
            values = f"{one['error']:7.2f} {one['control']:12.2f} {one['inside']:12.0%}"
            lines.append(f"{task:22} {name:12} {values}")
    return "\n".join(lines)


def limits(some: Examples, used: Sequence[corpus.Run], keep_out: Sequence[str]) -> list[str]:
    """The sentences in the card on what the forecaster was not fitted to."""
    configs = [run.config for run in used]
    names = sorted({config["optimizer"]["name"] for config in configs})
    batches = sorted({config.get("batch_size", 0) for config in configs})
    apart = sorted({config["record_every"] for config in configs})
    return [
        f"fitted to {len(used)} runs of {', '.join(some.tasks)}; kept out: {', '.join(keep_out)}",
        f"fitted to {', '.join(names)}, in batches of {', '.join(map(str, batches))}",
        f"fitted to looks {', '.join(map(str, apart))} steps apart, at a constant multiplier",
        "labels are of final validation losses: in small data sets they say what overfits least",
        "the scores are errors of readings and do not say what a run gains from them: compare runs"
        f" with {text.command('evaluate')}, arm=[cosine,cosine_auto,cosine_auto_learned]",
    ]


def _shown(some: Examples) -> tuple[Array, Array, Array]:
    """The arguments of the forecaster for some windows."""
    return jnp.asarray(some.gram), jnp.asarray(some.share), jnp.asarray(some.each)


def _kept_out(group: Group, names: Sequence[str]) -> bool:
    return not names_of(group.runs[0].config).isdisjoint(names)


def _drift(some: Examples) -> Float[np.ndarray, "N"]:
    """The drift of each window, on the scale of the network's input."""
    return np.asarray(rate_forecaster.on_scale(jax.vmap(mean_cosine)(jnp.asarray(some.gram))))
