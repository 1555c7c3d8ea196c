"""A card's limits: what a forecaster was not fitted to, and where its forecasts are of no use."""

from collections.abc import Mapping, Sequence
from typing import Any

SCORES_ARE_NOT_GAINS = (
    "the scores are errors of forecasts and do not say what a run gains from jumps: compare runs"
    " with scripts/evaluate.py"
)


def limits(
    name: str,
    never_jump: Sequence[str],
    configs: Sequence[Mapping[str, Any]],
    longest: int,
    scores: Mapping[str, Any],
) -> list[str]:
    """The card's ``limits``, one sentence each.

    Args:
        name: The forecaster's name in the scores.
        never_jump: Operations whose weights never jump.
        configs: The configurations of the runs that were fitted to, one or more: ``task``,
            ``record_every``, and what the recorder knows of the training.
        longest: How many snapshots the longest of these runs has.
        scores: The scores, by a description of the runs that were scored, operation, horizon and
            forecaster.

    >>> optimizer = {"name": "adam", "learning_rate": 0.001, "schedule": "cosine"}
    >>> config = {"task": "lenet-mnist", "record_every": 10}
    >>> config |= {"optimizer": optimizer, "batch_size": 64}
    >>> for sentence in limits("wnn", ["norm"], [config], 41, {})[:4]:
    ...     print(sentence)  # doctest: +NORMALIZE_WHITESPACE
    fitted to 1 run of lenet-mnist; nothing is known of other networks and data but what the scores
        of those kept out say
    fitted to adam, learning rate 0.001, cosine, batches of 64; other optimizers, rates and batches
        were not seen
    fitted to snapshots 10 steps apart, runs of 41 at most: in a longer run its later windows are of
        a kind it never saw
    weights of these operations never jump: norm
    """
    count = "1 run" if len(configs) == 1 else f"{len(configs)} runs"
    useless = [
        f"{operation}, {horizon} ahead: on {runs} no better than standing still, {ours:.3g} beside"
        f" {last:.3g}"
        for runs, operations in scores.items()
        for operation, horizons in operations.items()
        for horizon, rows in horizons.items()
        for last, ours in [[rows[each]["normalised"] for each in ("last_value", name)]]
        if ours >= last
    ]
    return [
        (
            f"fitted to {count} of {_each(config['task'] for config in configs)}; nothing is known"
            " of other networks and data but what the scores of those kept out say"
        ),
        _training(configs),
        (
            f"fitted to snapshots {_each(config['record_every'] for config in configs)} steps"
            f" apart, runs of {longest} at most: in a longer run its later windows are of a kind it"
            " never saw"
        ),
        *(
            [f"weights of these operations never jump: {', '.join(never_jump)}"]
            if never_jump
            else []
        ),
        *useless,
        SCORES_ARE_NOT_GAINS,
    ]


def _training(configs: Sequence[Mapping[str, Any]]) -> str:
    """Describe the training of the runs that were fitted to.

    Our collector records it; a user's own loop may not.
    """
    given = [config.get("optimizer") for config in configs if "batch_size" in config]
    ours = {"name", "learning_rate", "schedule"}
    optimizers = [each for each in given if isinstance(each, Mapping) and each.keys() >= ours]
    if len(optimizers) < len(configs):
        return (
            "not every run says its optimizer, learning rate and batch size: which of them were"
            " seen is unknown"
        )
    names, schedules = (
        _each(optimizer[key] for optimizer in optimizers) for key in ("name", "schedule")
    )
    rates = _range([optimizer["learning_rate"] for optimizer in optimizers])
    batches = _each(config["batch_size"] for config in configs)
    return (
        f"fitted to {names}, learning {rates}, {schedules}, batches of {batches}; other optimizers,"
        " rates and batches were not seen"
    )


def _range(rates: Sequence[float]) -> str:
    low, high = min(rates), max(rates)
    return f"rate {low:g}" if low == high else f"rates {low:g} to {high:g}"


def _each(values: Any) -> str:
    """The distinct values in order, with "and" before the last."""
    *others, last = (
        f"{value:g}" if isinstance(value, (int, float)) else value for value in sorted(set(values))
    )
    return f"{', '.join(others)} and {last}" if others else last
