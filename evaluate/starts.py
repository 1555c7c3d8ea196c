"""The arms of the robust protocol: a swept base, and the others from rates too low and too high."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from collect.checks import require
from collect.training.optimizers import FIND_THEIR_RATE
from evaluate.arms import GIVEN, TUNED, Arm
from evaluate.inheritance import resolve
from evaluate.protocol import settled

SWEPT = "swept"
"""The base of all others: the command's optimizer with cosine decay, its rate and warm-up swept."""
STARTS = (1 / 32, 1 / 8, 1 / 2, 1.0, 2.0, 4.0)
"""The rates that arms begin with, as multiples of the swept base's."""
WARMUP = 0.05
"""The warm-up of arms that say none: what one would take unasked, a share of the run."""


def prepared(
    arms: Mapping[str, Arm], *, optimizer: str, warmup: float = WARMUP
) -> tuple[list[Arm], list[str]]:
    """The swept base, and the arms that are compared with it, whose rates follow the base's.

    Args:
        arms: By name. Their rates are ``given`` or ``tuned`` (both follow the base's), or the
            factor of an optimizer that finds its rate.
        optimizer: Of the base, and of arms that say nothing else.
        warmup: Of arms that say none, a share of the run.

    Returns:
        ``(arms, left out)``: the base first; optional arms without their forecaster are left out.

    Raises:
        UserError: An arm fixes its learning rate, or has the base's name; what
            :func:`evaluate.resolve` refuses.

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
            arm.learning_rate == TUNED or finds_its_rate(arm),
            f"arm.{arm.name}.learning_rate",
            arm.learning_rate,
            "protocol=robust trains every arm from the rates of robust.starts; "
            f"leave the arm out, or give arm.{arm.name}.learning_rate={GIVEN}",
        )
    return [swept(optimizer), *(_over_the_base(arm, warmup) for arm in resolved)], left


def check_names(arms: Mapping[str, Arm]) -> None:
    """Refuse an arm with the name of the swept base."""
    require(
        SWEPT not in arms, "arm", SWEPT, "is the name of the swept base; give the arm another one"
    )


def swept(optimizer: str) -> Arm:
    """The swept base of this optimizer: calibration chooses its rate and its warm-up."""
    base = Arm(schedule="cosine", learning_rate=TUNED)
    [arm], _ = resolve({SWEPT: base}, optimizer=optimizer, learning_rate=1.0)
    return arm


def spread(
    arms: Sequence[Arm], best: float, starts: Sequence[float]
) -> dict[str, dict[float, Arm]]:
    """By method and start the arm that is trained, of the arms from :func:`prepared` but the base.

    Args:
        arms: As they come from there.
        best: The swept base's learning rate.
        starts: Multiples of it.

    Returns:
        An optimizer that finds its rate is trained once: it has the same arm at every start.
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
    """What is trained, by its name in the results: each arm as calibration chose, or from every
    start.
    """
    own = {arm.name: settled(arm, rates) for arm in arms if arm.name not in spread}
    return own | {row(arm, start): arm for each in spread.values() for start, arm in each.items()}


def row(arm: Arm, start: float) -> str:
    """The name of an arm's runs from a start, ``cosine from 1/32``; the arm's where starts do not
    matter.
    """
    return arm.name if finds_its_rate(arm) else f"{arm.name} from {label(start)}"


def label(start: float) -> str:
    """A start for a reader.

    Examples:
        >>> from evaluate.starts import label
        >>> label(1 / 32), label(0.3), label(4.0)
        ('1/32', '0.3', '4')
    """
    inverse = round(1 / start)
    return f"1/{inverse}" if start < 1 and abs(1 / start - inverse) < 1e-9 else f"{start:g}"


def finds_its_rate(arm: Arm) -> bool:
    """Whether an arm's optimizer estimates its rate, so that the arm begins with none."""
    return arm.optimizer in FIND_THEIR_RATE and arm.learning_rate != TUNED


def _following(arm: Arm) -> Arm:
    """The arm with a rate that is settled later, where it says none of its own."""
    unsaid = arm.over is None and arm.learning_rate is None
    return replace(arm, learning_rate=TUNED) if unsaid or arm.learning_rate == GIVEN else arm


def _over_the_base(arm: Arm, warmup: float) -> Arm:
    own = warmup if arm.sweeps_warmup else arm.warmup
    rate_of = "" if finds_its_rate(arm) else SWEPT
    return replace(arm, over=SWEPT, rate_of=rate_of, warmup=own, sweeps_warmup=False)
