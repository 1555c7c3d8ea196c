"""How good a forecaster is on runs it was not fitted to, beside the last value and the linear fit."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from collect.corpus import Run
from nowcast.forecasters import Forecaster, LastValue, Linear
from nowcast.forecasters.wnn import normalise

Scores = dict[str, dict[str, dict[str, float]]]


def scores(forecaster: Forecaster, drawn: Mapping[str, Float[np.ndarray, "N columns"]]) -> Scores:
    """Mean absolute errors per network and forecaster.

    Returns:
        ``{network: {forecaster: {"normalised": …, "weight": …}}}``: in units of each window's own scale ``s`` and cut
        off at 1 (see :mod:`meta_train.objective`), and in units of the weights.
    """
    rivals = (
        LastValue(window=forecaster.window, horizon=forecaster.horizon),
        Linear(window=forecaster.window, horizon=forecaster.horizon),
        forecaster,
    )
    table: Scores = {}
    for network, batch in drawn.items():
        history, target = jnp.asarray(batch[:, :-1].T), jnp.asarray(batch[:, -1])
        _, scale = normalise(jnp.asarray(batch[:, :-1]))
        table[network] = {}
        for rival in rivals:
            error = jnp.abs(rival.leaf(history, network, rival.horizon) - target)
            normalised = jnp.mean(jnp.minimum(error / scale, 1))
            table[network][rival.name] = {"normalised": float(normalised), "weight": float(jnp.mean(error))}
    return table


def split(runs: Sequence[Run], share: float, seed: int) -> tuple[list[Run], list[Run]]:
    """``(training, validation)``: of every task a share of the runs, at least one, is kept out whole."""
    by_task: dict[str, list[Run]] = {}
    for run in runs:
        by_task.setdefault(run.config["task"], []).append(run)
    kept: list[Run] = []
    for task, group in sorted(by_task.items()):
        rng = np.random.default_rng((seed, sum(task.encode())))
        kept += [group[i] for i in sorted(rng.permutation(len(group))[: max(1, round(share * len(group)))])]
    names = {run.id for run in kept}
    return [run for run in runs if run.id not in names], kept


def table(scored: Scores) -> str:
    """The scores as text, for the terminal."""
    lines = [f"{'network':10} {'forecaster':12} {'L1 (normalised)':>16} {'L1 (weights)':>14}"]
    for network, rows in scored.items():
        lines += [
            f"{network:10} {name:12} {row['normalised']:16.4f} {row['weight']:14.3e}" for name, row in rows.items()
        ]
    return "\n".join(lines)
