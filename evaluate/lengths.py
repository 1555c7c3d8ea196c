"""The budget protocol's arms, and its swept base at shorter and longer lengths than theirs."""

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
"""The lengths of the base, as multiples of the arms'."""


class BaseRuns(NamedTuple):
    """The base's finished runs of one length."""

    steps: int
    runs: list[Curve]
    """One for each seed."""


def prepared(
    arms: Mapping[str, Arm],
    *,
    optimizer: str,
    learning_rate: float,
) -> tuple[list[Arm], list[str]]:
    """The swept base, and the arms that are compared with it.

    An arm that is the swept base under another name, such as ``cosine``, takes the base's rate and
    warm-up, and so do the arms over that one: nothing is calibrated twice.

    Args:
        arms: By name; their rates are given or tuned.
        optimizer: Of the base, and of arms that say nothing else.
        learning_rate: Of arms with the given one.

    Returns:
        ``(arms, left out)``: the base first; optional arms without their forecaster are left out.

    Raises:
        UserError: An arm has the base's name; what :func:`evaluate.resolve` refuses.

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
    """By length, from the shortest up, what trains the base there.

    Args:
        make: Gives :class:`evaluate.trials.Trials` of a length.
        base: Its rate may be settled later.
        lengths: Multiples of the arms' length.

    Raises:
        UserError: Runs are too short for a final loss, or two lengths have as many steps.
    """
    made = {length: make(length=length) for length in sorted(lengths)}
    seen: set[int] = set()
    for length, one in made.items():
        if one.evaluations <= SMOOTHING:
            raise UserError(
                f"budget.lengths={length:g}: a run of that length has {one.evaluations}"
                f" evaluations, and its final loss is a mean of {SMOOTHING} after the first one;"
                " leave the length out, train longer (epochs=…), or record more often"
                " (record_every=…)"
            )
        if one.steps in seen:
            raise UserError(
                f"budget.lengths={length:g}: another length comes to {one.steps} steps too; "
                "leave one out, or train longer (epochs=…)"
            )
        seen.add(one.steps)
        one.check([at(base, length)])
    return made


def train(
    made: Mapping[float, "Trials"],
    base: Arm,
    seeds: Sequence[int],
) -> dict[float, BaseRuns]:
    """By length the base's runs, trained where they are missing; the last split is not read.

    Args:
        made: From :func:`trials`.
        base: With the rate and the warm-up that calibration chose.
        seeds: Those that are compared.
    """
    found = {}
    for length, one in made.items():
        arm = at(base, length)
        one.train([arm], seeds, f"the base at {length:g} of the length", calibrate=True)
        found[length] = BaseRuns(one.steps, [one.curve(arm, seed) for seed in seeds])
    return found


def at(base: Arm, length: float) -> Arm:
    """The base under the name of its runs of a length; those of the full length are the base's own.

    Examples:
        >>> from evaluate.lengths import at
        >>> from evaluate.starts import swept
        >>> at(swept("adam"), 0.5).name, at(swept("adam"), 1.0).name
        ('swept at 0.5', 'swept')
    """
    return base if length == 1 else replace(base, name=f"{base.name} at {float(length)!r}")
