"""Checks of the values in a configuration, which the configurations of several commands share."""

from typing import Any

from nowcast import text
from nowcast.types import UserError


def require(ok: object, key: str, value: object, rule: str) -> None:
    """Raise a :class:`UserError` with the key, its value and the rule, unless ``ok``."""
    if not ok:
        raise UserError(f"{key}={value}: {rule}")


def one_of(key: str, value: str, options: Any) -> None:
    """Refuse a name that is not among the options."""
    require(value in options, key, value, f"is unknown; {text.choice(value, list(options))}")


def check_rate(key: str, rate: float) -> None:
    """Refuse a learning rate that cannot be meant."""
    require(0 < rate < 100, key, rate, "must be above 0 and below 100, such as 0.001")


def check_seed(key: str, seed: int) -> None:
    """Refuse a seed that NumPy or JAX does not take."""
    require(0 <= seed < 2**31, key, seed, "must be 0 or more, below 2^31")


def check_length(
    epochs: int, batch_size: int, record_every: int | None, max_minutes: float | None
) -> None:
    """Check the keys about a run's length, which all commands share."""
    require(1 <= epochs <= 1_000_000, "epochs", epochs, "must be 1 to 1000000")
    require(batch_size >= 1, "batch_size", batch_size, "must be 1 or more")
    require(
        record_every is None or record_every >= 1,
        "record_every",
        record_every,
        "must be 1 step or more; null: an epoch",
    )
    check_minutes(max_minutes)


def check_record(sample: int | None, record: str, band: int) -> None:
    """Check the keys about what is recorded of a run."""
    one_of("record", record, ("weights", "gram"))
    require(
        sample is None or sample >= 1,
        "sample",
        sample,
        "must be 1 scalar of each leaf or more; null: all",
    )
    require(
        sample is None or record == "weights",
        "sample",
        sample,
        "record=gram takes leaves as a whole; leave one out",
    )
    require(1 <= band <= 10_000, "band", band, "must be 1 to 10000 snapshots")


def check_minutes(max_minutes: float | None) -> None:
    """Check the limit on a command's time."""
    require(
        max_minutes is None or max_minutes > 0,
        "max_minutes",
        max_minutes,
        "must be above 0; null: no limit",
    )
