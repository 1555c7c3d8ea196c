"""Prepare the arms of the budget protocol, and train its base at shorter and longer lengths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from evaluate.arms import Arm
from evaluate.curve import Curve
from evaluate.inheritance import resolve
from evaluate.starts import SWEPT, check_names, swept
from evaluate.statistics import SMOOTHING
from nowcast.types import UserError

if TYPE_CHECKING:
    from evaluate.trials import Trials

LENGTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""The default lengths of the base, as multiples of the arms' length."""


class BaseRuns(NamedTuple):
    """The base's finished runs of one length."""

    steps: int
    """How many optimizer steps each of them took."""
    runs: list[Curve]
    """One for each seed."""


def prepared(
    arms: Mapping[str, Arm],
    *,
    optimizer: str,
    learning_rate: float,
) -> tuple[list[Arm], list[str]]:
    """Add the swept base of the budget protocol, and put all arms over it.

    A tuned arm with the settings of the swept base, such as ``cosine``, takes the rate and warm-up
    that calibration chooses for the base. So do the arms over it. Nothing is calibrated twice.

    Args:
        arms: The arms by name, with rates that are given or tuned.
        optimizer: The optimizer of the base, and of arms that name none.
        learning_rate: The rate of arms whose rate is ``given``.

    Returns:
        ``(arms, left out)``: the base and then the arms, and the names of optional arms that lack
        their forecaster.

    Raises:
        UserError: An arm has the base's name, or :func:`evaluate.resolve` refuses an arm.

    Examples:
        >>> from evaluate import Arm
        >>> from evaluate.lengths import prepared
        >>> arms = {"cosine": Arm(schedule="cosine", learning_rate="tuned"), "given": Arm()}
        >>> arms, _ = prepared(arms, optimizer="adam", learning_rate=1e-3)
        >>> [(arm.name, arm.over, arm.rate_of) for arm in arms]
        [('swept', None, 'swept'), ('cosine', 'swept', 'swept'), ('given', 'swept', '')]
    """
    check_names(arms)
    resolved, left = resolve(arms, optimizer=optimizer, learning_rate=learning_rate)
    base = swept(optimizer)
    tuned = [arm for arm in resolved if arm.rate_of == arm.name]
    same = [arm.name for arm in tuned if arm.settings == base.settings]
    followed = [replace(arm, rate_of=SWEPT) if arm.rate_of in same else arm for arm in resolved]
    return [base, *(replace(arm, over=SWEPT) for arm in followed)], left


def trials(
    make: Callable[..., "Trials"],
    base: Arm,
    lengths: Sequence[float],
) -> dict[float, "Trials"]:
    """Make the trials that train the base at each length.

    Args:
        make: Called with ``length=`` to make :class:`evaluate.trials.Trials` of that length.
        base: The base; calibration may choose its rate later.
        lengths: Multiples of the arms' length.

    Returns:
        The trials by length, the shortest first.

    Raises:
        UserError: Runs of a length are too short for a final loss, or two lengths come to the same
            number of steps.
    """
    made = {length: make(length=length) for length in sorted(lengths)}
    seen: set[int] = set()
    for length, one in made.items():
        if one.evaluations <= SMOOTHING:
            raise UserError(
                f"budget.lengths={length:g}: a run of that length has {one.evaluations}"
                f" evaluations, and its final loss is a mean of {SMOOTHING} after the first one;"
                " leave this length out, train longer (epochs=…), or record more often"
                " (record_every=…)"
            )
        if one.steps in seen:
            raise UserError(
                f"budget.lengths={length:g}: another length has {one.steps} steps too; leave one of"
                " them out, or train longer (epochs=…)"
            )
        seen.add(one.steps)
        one.check([at(base, length)])
    return made


def train(
    made: Mapping[float, "Trials"],
    base: Arm,
    seeds: Sequence[int],
) -> dict[float, BaseRuns]:
    """Train the base at every length, where runs are missing.

    The last split is not read: these runs are judged by the first one.

    Args:
        made: From :func:`trials`.
        base: The base with the rate and the warm-up that calibration chose.
        seeds: The seeds that are compared.

    Returns:
        The base's runs by length.
    """
    found = {}
    for length, one in made.items():
        arm = at(base, length)
        one.train([arm], seeds, f"the base at {length:g} of the length", calibrate=True)
        found[length] = BaseRuns(one.steps, [one.curve(arm, seed) for seed in seeds])
    return found


def at(base: Arm, length: float) -> Arm:
    """A copy of the base, named after one of its lengths; the full length keeps the base's name.

    Examples:
        >>> from evaluate.lengths import at
        >>> from evaluate.starts import swept
        >>> at(swept("adam"), 0.5).name, at(swept("adam"), 1.0).name
        ('swept at 0.5', 'swept')
    """
    return base if length == 1 else replace(base, name=f"{base.name} at {float(length)!r}")
