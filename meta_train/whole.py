"""Fit and score a forecaster of whole networks, such as NiNo.

A step takes a batch of examples of one run (:mod:`meta_train.networks`). Its loss is the mean error
over all weights and horizons, in units of each leaf's deviation. One program is compiled for each
network of the corpora, and a batch is split over the devices where their number divides it. The
rest is as in :mod:`meta_train.trainer`.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from collect.corpus import Run
from meta_train import loader, objective, processes, trainer, validate
from meta_train.networks import Example, Network, Networks, names_of
from meta_train.source import FIRST
from meta_train.trainer import NotFinite, Progress, Settings
from nowcast.forecasters import Forecaster, LastValue, Learned, Linear, NiNo, Quadratic
from nowcast.forecasters.nino import absolute_error
from nowcast.types import PyTree

WATCHED = 16
"""About how many networks decide when to stop."""
PLACES = 4
"""Places of each run at which a forecaster is scored."""
SCORED = 10_000
"""Weights of each operation that are scored at a place, at most."""


class Batch(NamedTuple):
    """Examples of one run."""

    network: Network
    windows: list[Float[Array, "B W *_"]]
    targets: list[Float[Array, "B H *_"]]


def watched(source: Networks, seed: int) -> list[Example]:
    """Some examples of each run, which decide which parameters are kept and when to stop."""
    runs = _runs(source)
    each = max(1, WATCHED // len(runs))
    return [
        example
        for number, run in enumerate(runs)
        for place in range(each)
        for example in source.examples((seed, number, place), 1, run)
    ]


def fit(
    kind: type[Learned],
    networks: Sequence[str],
    source: Networks,
    validation: Sequence[Example],
    settings: Settings,
    progress: Progress,
) -> Generator[Progress]:
    """Fit the network, with AdamW and a cosine schedule to 0.

    Args:
        kind: The forecaster.
        networks: The name of its network.
        source: Training examples.
        validation: From :func:`watched`.
        settings: The settings; ``batch_size`` counts examples.
        progress: The state to begin or to continue from.

    Yields:
        The progress at every evaluation.

    Raises:
        NotFinite: The loss became NaN or infinite.
    """
    progress = trainer.placed(progress)
    advance, error = _compiled(kind, settings)  # type: ignore[arg-type]  # a class has a hash
    batches = _batches(source, settings, progress.step)
    while not progress.ended(settings):
        params, state, losses = progress.params, progress.optimizer, []
        until = settings.next_evaluation(progress.step)
        for _ in range(progress.step, until):
            batch = processes.together(lambda: next(batches))
            params, state, loss = advance(
                params, state, batch.windows, batch.targets, batch.network
            )
            losses.append(loss)
        found = np.asarray(losses)
        if not np.isfinite(found).all():
            wrong = int(np.argmin(np.isfinite(found)))
            raise NotFinite(networks, [float(found[wrong])], progress.step + wrong)
        each = [error(params, one.windows, one.targets, one.network) for one in validation]
        checked = [float(np.mean(each))]
        if not np.isfinite(checked).all():
            raise NotFinite(networks, checked, until)
        progress = progress._replace(step=until, params=params, optimizer=state)
        progress = trainer.evaluated(progress, networks, found.mean(keepdims=True), checked)
        yield progress


@lru_cache(maxsize=4)
def _compiled(kind: type[Learned], settings: Settings) -> tuple[Any, Any]:
    """``advance``, which takes a step, and ``error`` of one example."""
    optimizer = trainer.optimizer(kind, settings)

    def error(params: PyTree, windows: Any, targets: Any, network: Network) -> Array:
        [own] = objective.apart(params, 1)
        return absolute_error(own, list(windows), list(targets), *network)

    def loss(params: PyTree, windows: Any, targets: Any, network: Network) -> Array:
        each = jax.vmap(partial(error, network=network), in_axes=(None, 0, 0))
        return jnp.mean(each(params, windows, targets))

    def advance(
        params: PyTree, state: PyTree, windows: Any, targets: Any, network: Network
    ) -> tuple[PyTree, PyTree, Array]:
        value, grads = jax.value_and_grad(loss)(params, windows, targets, network)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    return (
        jax.jit(advance, static_argnames="network", out_shardings=loader.everywhere()),
        jax.jit(error, static_argnames="network"),
    )


def _batches(source: Networks, settings: Settings, first: int) -> Iterator[Batch]:
    """The batch of each step from ``first`` on, made ahead in a thread."""
    size, mesh = settings.batch_size, loader.sharding().mesh
    spec = jax.sharding.PartitionSpec(*["data"] * (size % mesh.size == 0))
    split = jax.sharding.NamedSharding(mesh, spec)

    def stacked(leaves: Sequence[np.ndarray]) -> Array:
        whole = np.stack(leaves)
        return jax.make_array_from_callback(whole.shape, split, lambda index: whole[index])

    def make(step: int) -> Batch:
        some = source.examples((settings.seed, 1, step), size)
        windows, targets = zip(*((one.windows, one.targets) for one in some), strict=True)
        return Batch(
            some[0].network,
            [stacked(each) for each in zip(*windows, strict=True)],
            [stacked(each) for each in zip(*targets, strict=True)],
        )

    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(make, first)
        while True:
            batch, first = ahead.result(), first + 1
            ahead = thread.submit(make, first)
            yield batch


def scores(forecaster: NiNo, source: Networks) -> validate.Scores:
    """As :func:`meta_train.validate.scores`, at evenly spaced places of each run.

    Args:
        forecaster: The forecaster to score.
        source: The runs.
    """
    table: validate.Scores = {}
    for horizon in validate.horizons_of(forecaster):
        same: Any = {"window": forecaster.window, "horizon": horizon}
        rivals = (LastValue(**same), Linear(**same), Quadratic(**same))
        found = [_errors(forecaster, rivals, source, run, horizon) for run in _runs(source)]
        for operation in sorted({name for one in found for name in one}):
            names = [*(rival.name for rival in rivals), forecaster.name]
            missing = np.full((len(names), 2), np.nan)
            each = np.stack([one.get(operation, missing) for one in found], axis=1)
            row = validate.row(dict(zip(names, each, strict=True)), forecaster.name)
            if row:
                table.setdefault(operation, {})[str(horizon)] = row
    return table


def _errors(
    forecaster: NiNo, rivals: Sequence[Forecaster], source: Networks, run: Run, horizon: int
) -> dict[str, Float[np.ndarray, "R 2"]]:
    """The mean errors on a run by operation: of each rival, and of the forecaster."""
    last = run.snapshots - FIRST - forecaster.window - horizon
    if last < 0:
        return {}
    sums: dict[str, np.ndarray] = {}
    operations = [leaf.op for leaf in run.leaves]
    rng = np.random.default_rng(run.snapshots)
    for first in np.unique(np.linspace(FIRST, FIRST + last, PLACES).astype(int)):
        example = source.at(run, int(first))
        windows = list(map(jnp.asarray, example.windows))
        there = forecaster.network_of_leaves(windows, names_of(run), operations, horizon)
        for operation in dict.fromkeys(operations):
            leaves = [number for number, own in enumerate(operations) if own == operation]
            if not all(example.network.forecastable[number] for number in leaves):
                continue
            columns = [
                np.stack([*example.windows[n], example.targets[n][horizon - 1], there[n]])
                for n in leaves
            ]
            rows = np.concatenate([each.reshape(len(each), -1) for each in columns], axis=1).T
            rows = rows[rng.permutation(len(rows))[:SCORED]]
            own = validate.errors_of(rows, rivals, operation, horizon)
            sums[operation] = sums.get(operation, 0) + own
    return {
        operation: total[:, :2] / np.maximum(total[:, 2:], 1) for operation, total in sums.items()
    }


def _runs(source: Networks) -> list[Run]:
    """Every run of a source, once."""
    some = (run for tasks in source.runs.values() for same in tasks.values() for run in same)
    return list({run.path: run for run in some}.values())
