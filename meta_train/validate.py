"""Score a forecaster on runs that it was not fitted to, and some forecasters that need no fit."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from collect.intervals import mean_interval
from meta_train import leaves, objective
from meta_train.source import Source
from nowcast.forecasters import Forecaster, Gram, LastValue, Learned, Linear, Quadratic
from nowcast.forecasters.gram import coefficients
from nowcast.forecasters.wnn import normalise

HORIZONS = (1, 2, 5, 10, 20, 40)
"""The horizons at which a forecaster with many horizons is scored, besides its longest."""
UNITS = ("normalised", "weight")
"""Of an error: in units of a window's scale, and in those of weights (not of leaves)."""
PLACES = 16
"""How many handfuls are taken from each run."""
AT_ONCE = 16_384
"""Windows that are forecast at once, so that memory stays bounded."""

Drawn = dict[str, list[Float[np.ndarray, "N columns"]]]
"""The windows of each run, by network or by operation."""
Scores = dict[str, dict[str, Any]]


def draw(source: Source, networks: Sequence[str], most: int, seed: int) -> Drawn:
    """Draw equally many windows of each run: about ``most`` in all, per network.

    They come from ``PLACES`` places of each run.
    """
    runs = {
        network: [run for same in source.runs.get(network, {}).values() for run in same]
        for network in networks
    }
    return {
        network: [
            np.concatenate(
                [
                    source.handful(
                        network, max(16, most // (PLACES * len(some))), (seed, number, place), run
                    )
                    for place in range(PLACES)
                ]
            )
            for number, run in enumerate(some)
        ]
        for network, some in runs.items()
        if some
    }


def scores(forecaster: Learned, drawn: Drawn) -> Scores:
    """Mean errors per operation, horizon and forecaster, and the skill over the linear fit.

    Errors of weights are absolute, errors of leaves are squared.

    Args:
        forecaster: The forecaster to score.
        drawn: The windows of each run, by operation; or, for a forecaster of whole leaves, the rows
            of :mod:`meta_train.leaves`.

    Returns:
        ``{operation: {horizon: {forecaster: {"normalised": …, "weight": …}, "skill": {"value",
        "low", "high", "runs"}}}}``. All values are means over runs.

        - ``normalised``: the error in units of each window's scale ``s`` (WNN's), cut off at 1. For
          leaves it is a square, normalised as in :func:`meta_train.objective.squared`.
        - ``weight``: the error in units of the weights; absent for leaves.
        - ``skill``: 1 − normalised error / that of the linear fit, with its 95 % bootstrap interval
          over runs. 0 is as good as the linear fit.

        Horizons for which no run is long enough are absent.
    """
    table: Scores = {}
    for operation, runs in drawn.items():
        table[operation] = {}
        for horizon in horizons_of(forecaster):
            same: Any = {"window": forecaster.window, "horizon": horizon}
            rivals = (LastValue(**same), Linear(**same), Quadratic(**same), forecaster)
            if not forecaster.leaves:
                column = forecaster.window + (horizon - 1 if forecaster.many else 0)
                context = len(forecaster.context)
                errors: Any = partial(_errors, column=column, context=context)
            else:
                errors = _leaf_errors
            each = {
                rival.name: np.array([errors(rival, operation, horizon, rows) for rows in runs])
                for rival in rivals
            }
            if summary := row(each, forecaster.name):
                table[operation][str(horizon)] = summary
    return table


def horizons_of(forecaster: Learned) -> list[int]:
    """The horizons at which a forecaster is scored."""
    longest = forecaster.longest or forecaster.horizon
    return [h for h in HORIZONS if forecaster.many and h < longest] + [longest]


def row(each: Mapping[str, Float[np.ndarray, "runs units"]], name: str) -> dict[str, Any]:
    """The scores of one operation and horizon; empty if no run is long enough.

    Args:
        each: The errors of each forecaster on each run; NaN where a run is too short.
        name: The name of the forecaster whose skill is asked for.
    """
    there = np.isfinite(each["last_value"][:, 0])
    if not there.any():
        return {}
    skill = 1 - each[name][there, 0] / np.maximum(each["linear"][there, 0], 1e-12)
    return {
        **{
            rival: dict(zip(UNITS, error[there].mean(axis=0).tolist(), strict=False))
            for rival, error in each.items()
        },
        "skill": {
            **{
                key: value if np.isfinite(value) else None  # one run has no interval
                for key, value in mean_interval(skill)._asdict().items()
            },
            "runs": int(there.sum()),
        },
    }


def errors_of(
    rows: Float[np.ndarray, "N W_and_2"],
    rivals: Sequence[Forecaster],
    operation: str,
    horizon: int,
) -> Float[np.ndarray, "R_and_1 3"]:
    """Sums over weights of the normalised error, the error and 1.

    Args:
        rows: A window of each weight, its target, and the forecast of a forecaster of networks.
        rivals: The forecasters that stand beside it.
        operation: The weights' operation.
        horizon: The forecast's.

    Returns:
        The sums of each rival, and those of the forecast in the rows.
    """
    history, target, there = rows[:, :-2], rows[:, -2], rows[:, -1]
    each = [_sums(rival, operation, horizon, history, target, rows[:, :0]) for rival in rivals]
    return np.asarray([*each, _summed(history, target, there)], float)


def _errors(
    rival: Forecaster,
    operation: str,
    horizon: int,
    windows: Float[np.ndarray, "N columns"],
    column: int,
    context: int,
) -> tuple[float, float]:
    """The mean absolute error, normalised and in units of the weights; NaN without a target."""
    parts = np.array_split(windows, -(-len(windows) // AT_ONCE))
    end = windows.shape[1] - context
    sums = [
        _sums(rival, operation, horizon, part[:, : rival.window], part[:, column], part[:, end:])
        for part in parts
    ]
    normalised, weight, count = np.sum(sums, axis=0)
    return (
        (float(normalised / count), float(weight / count))
        if count
        else (float("nan"), float("nan"))
    )


def _leaf_errors(
    rival: Forecaster, operation: str, horizon: int, rows: Float[np.ndarray, "N columns"]
) -> tuple[float]:
    """The normalised error; NaN without a target."""
    return (float(_leaf_error(rival, operation, horizon, rows)),)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _leaf_error(
    rival: Forecaster, operation: str, horizon: int, rows: Float[Array, "N columns"]
) -> Float[Array, ""]:
    gram, along, square = leaves.split(rows, rival.window)
    mix, at = _mix(rival, operation, horizon, gram)[:, None], slice(horizon - 1, horizon)
    return jnp.nanmean(objective.squared(mix, gram, along[:, at], square[:, at]))


def _mix(
    rival: Forecaster, operation: str, horizon: int, gram: Float[Array, "N D D"]
) -> Float[Array, "N D"]:
    """How much of each increment a forecast takes.

    The forecast must be the same sum of increments for all weights.
    """
    if isinstance(rival, Gram):
        return coefficients(rival.params[rival.network_of(operation) or ""], gram)[:, horizon - 1]
    # Windows that move by 1 in one of their increments.
    one_increment = jnp.tri(rival.window, rival.window - 1, -1)
    return jnp.broadcast_to(
        rival.leaf(one_increment, operation, horizon) - one_increment[-1], gram.shape[:2]
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _sums(
    rival: Forecaster,
    operation: str,
    horizon: int,
    history: Float[Array, "N W"],
    target: Float[Array, "N"],
    context: Float[Array, "N C"],
) -> tuple[Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
    if isinstance(rival, Learned) and rival.context:
        known = jnp.concatenate([history, context], axis=1)
        forecast = rival.of_rows(known, operation, horizon)
    else:
        forecast = rival.leaf(history.T, operation, horizon)
    return _summed(history, target, forecast)


@jax.jit
def _summed(
    history: Float[Array, "N W"], target: Float[Array, "N"], forecast: Float[Array, "N"]
) -> tuple[Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
    """The sums of a forecast's normalised error and error over the targets that are there."""
    there = jnp.isfinite(target)
    error = jnp.where(there, jnp.abs(forecast - target), 0)
    return jnp.sum(jnp.minimum(error / normalise(history).scale, 1)), jnp.sum(error), jnp.sum(there)


def table(scored: Scores) -> str:
    """The scores as text for the terminal."""
    lines = [
        f"{'operation':14} {'horizon':>7} {'forecaster':20} {'error (normalised)':>18}"
        f" {'error (weights)':>16}"
    ]
    for operation, horizons in scored.items():
        for horizon, rows in horizons.items():
            errors = {name: row for name, row in rows.items() if name != "skill"}
            lines += [
                f"{operation:14} {horizon:>7} {name:20} {row['normalised']:18.4f} "
                + (f"{row['weight']:16.3e}" if "weight" in row else f"{'–':>16}")
                for name, row in errors.items()
            ]
            skill = rows["skill"]
            between = (
                "" if skill["low"] is None else f" [{skill['low']:+.3f}, {skill['high']:+.3f}]"
            )
            lines[-1] += f"   skill {skill['value']:+.3f}{between}, {skill['runs']} run(s)"
    return "\n".join(lines)
