"""Prepare the robust protocol's arms: a swept base, and arms from rates too low and too high."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from collect.checks import require
from collect.training.optimizers import FIND_THEIR_RATE
from evaluate.arms import GIVEN, TUNED, Arm
from evaluate.inheritance import resolve
from evaluate.protocol import at_chosen_rate

SWEPT = "swept"
"""The name of the base that all arms are over.

It has the command's optimizer and a cosine decay; calibration sweeps its rate and its warm-up.
"""
STARTS = (1 / 32, 1 / 8, 1 / 2, 1.0, 2.0, 4.0)
"""The default rates that arms begin with, as multiples of the swept base's rate."""
WARMUP = 0.05
"""The default warm-up of arms that give none, as a share of the run."""


def prepared(
    arms: Mapping[str, Arm], *, optimizer: str, warmup: float = WARMUP
) -> tuple[list[Arm], list[str]]:
    """Add the swept base of the robust protocol, and put all arms over it.

    Args:
        arms: The arms by name. A rate that is ``given`` or ``tuned`` becomes a multiple of the
            base's rate. A number is allowed only for an optimizer that finds its rate itself, whose
            factor it is.
        optimizer: The optimizer of the base, and of arms that name none.
        warmup: The warm-up of arms that give none, a share of the run.

    Returns:
        ``(arms, left out)``: the base and then the arms, and the names of optional arms that lack
        their forecaster.

    Raises:
        UserError: An arm has a fixed learning rate or the base's name, or :func:`evaluate.resolve`
            refuses an arm.

    Examples:
        >>> from evaluate import Arm
        >>> from evaluate.starts import prepared
        >>> arms, _ = prepared({"cosine": Arm(schedule="cosine")}, optimizer="adam")
        >>> [(arm.name, arm.over) for arm in arms]
        [('swept', None), ('cosine', 'swept')]
    """
    check_names(arms)
    resolved, left = resolve(
        {name: _following(arm) for name, arm in arms.items()},
        optimizer=optimizer,
        learning_rate=1.0,
    )
    for arm in resolved:
        require(
            arm.model is None,
            f"arm.{arm.name}.model",
            arm.model,
            "protocol=robust begins from the base's best rate, which is another network's; leave it"
            " out",
        )
        require(
            arm.learning_rate == TUNED or finds_its_rate(arm),
            f"arm.{arm.name}.learning_rate",
            arm.learning_rate,
            "protocol=robust trains every arm from the rates of robust.starts; "
            f"leave the arm out, or give arm.{arm.name}.learning_rate={GIVEN}",
        )
    return [swept(optimizer), *(_over_the_base(arm, warmup) for arm in resolved)], left


def check_names(arms: Mapping[str, Arm]) -> None:
    """Refuse an arm with the name of the swept base.

    Raises:
        UserError: There is such an arm.
    """
    require(
        SWEPT not in arms, "arm", SWEPT, "is the name of the swept base; give the arm another one"
    )


def swept(optimizer: str) -> Arm:
    """Make the swept base of an optimizer; calibration chooses its rate and its warm-up."""
    base = Arm(schedule="cosine", learning_rate=TUNED)
    [arm], _ = resolve({SWEPT: base}, optimizer=optimizer, learning_rate=1.0)
    return arm


def spread(
    arms: Sequence[Arm], best: float, starts: Sequence[float]
) -> dict[str, dict[float, Arm]]:
    """Make a copy of each arm for every start.

    Args:
        arms: From :func:`prepared`; the base among them is skipped.
        best: The swept base's learning rate.
        starts: Multiples of that rate.

    Returns:
        The arm to train, by the method's name and by the start. An optimizer that finds its rate
        has the same arm at every start, so that it trains once.
    """
    return {
        arm.name: {start: arm if finds_its_rate(arm) else arm.at(start * best) for start in starts}
        for arm in arms
        if arm.name != SWEPT
    }


def rows(
    arms: Sequence[Arm],
    rates: Mapping[str, Mapping[str, Any]],
    spread: Mapping[str, Mapping[float, Arm]],
) -> dict[str, Arm]:
    """All arms to train, by their names in the results.

    Args:
        arms: All arms of the comparison.
        rates: The rates that calibration chose, for arms that are not in ``spread``.
        spread: From :func:`spread`; empty in other protocols.
    """
    own = {arm.name: at_chosen_rate(arm, rates) for arm in arms if arm.name not in spread}
    return own | {row(arm, start): arm for each in spread.values() for start, arm in each.items()}


def row(arm: Arm, start: float) -> str:
    """The name of an arm's row in the results: ``cosine from 1/32``.

    An arm whose optimizer finds its rate keeps its own name, for all starts are the same.
    """
    return arm.name if finds_its_rate(arm) else f"{arm.name} from {label(start)}"


def label(start: float) -> str:
    """A start as text.

    Examples:
        >>> from evaluate.starts import label
        >>> label(1 / 32), label(0.3), label(4.0)
        ('1/32', '0.3', '4')
    """
    inverse = round(1 / start)
    return f"1/{inverse}" if start < 1 and abs(1 / start - inverse) < 1e-9 else f"{start:g}"


def finds_its_rate(arm: Arm) -> bool:
    """Whether an arm's optimizer estimates its rate, so that a start does not change its runs."""
    return arm.optimizer in FIND_THEIR_RATE and arm.learning_rate != TUNED


def _following(arm: Arm) -> Arm:
    """A copy of the arm whose rate is tuned, if its rate is ``given`` or the base's default."""
    unsaid = arm.over is None and arm.learning_rate is None
    return replace(arm, learning_rate=TUNED) if unsaid or arm.learning_rate == GIVEN else arm


def _over_the_base(arm: Arm, warmup: float) -> Arm:
    """A copy of the arm that is over the swept base, with this warm-up if it gives none."""
    own = warmup if arm.sweeps_warmup else arm.warmup
    rate_of = "" if finds_its_rate(arm) else SWEPT
    return replace(arm, over=SWEPT, rate_of=rate_of, warmup=own, sweeps_warmup=False)
