"""Fill in the settings that an arm inherits from the arm it is over, and refuse impossible arms."""

from collections.abc import Mapping
from dataclasses import replace

from collect.checks import require
from collect.training.optimizers import LEARNED, POWERS, PUBLISHED
from evaluate.arm_continuous import INSIDE
from evaluate.arm_options import LAWA, Jump
from evaluate.arms import GIVEN, NAME, NULLS, ORACLE, PLAIN, TUNED, Arm, changed
from evaluate.products import expanded
from nowcast.timetable import named_steps
from nowcast.types import UserError

INHERITED = (
    *("model", "optimizer", "learned", "schedule", "warmup", "learning_rate", "auto", "outer"),
    *("ema_nesterov", "gpa", "airbench_lookahead", "tail_blend", "average"),
)
"""The settings that an arm inherits from the arm it is over, where its own are null."""


def resolve(
    arms: Mapping[str, Arm], *, optimizer: str, learning_rate: float
) -> tuple[list[Arm], list[str]]:
    """Fill in all settings of the arms: what they inherit, and the command's defaults.

    An arm that is over several others is first expanded (:func:`evaluate.products.expanded`).

    Args:
        arms: The arms by name.
        optimizer: The optimizer of bases that name none.
        learning_rate: The rate of arms whose rate is ``given``.

    Returns:
        ``(arms, left out)``: the complete arms in the given order, and the names of the optional
        arms that were left out because their forecaster or file is empty.

    Raises:
        UserError: An arm is over an arm that does not exist, or over itself; it lacks its
            forecaster; or two of its options exclude each other.

    Examples:
        >>> from evaluate import Arm, resolve
        >>> arms = {"cosine": Arm(schedule="cosine")}
        >>> arms["linear"] = Arm(over="cosine", forecaster="linear")
        >>> [arm.words for arm in resolve(arms, optimizer="adam", learning_rate=1e-3)[0]]
        ['adam, cosine', 'adam, cosine; jumps to the forecast of linear; min_drift 0.2']
    """
    arms = expanded(arms)
    left = [
        name for name, arm in arms.items() if arm.optional and "" in (arm.forecaster, arm.learned)
    ]
    chosen = {name: replace(arm, name=name) for name, arm in arms.items() if name not in left}
    for name in chosen:
        rule = "an arm's name consists of letters, digits, - and _"
        require(NAME.fullmatch(name), "arm", name, rule)
    require(bool(chosen), "arm", "[]", "give at least one, such as arm=[constant,constant_linear]")
    settled = [
        _with_warmup(_with_inherited(name, chosen, optimizer, learning_rate)) for name in chosen
    ]
    for arm in settled:
        _check(arm)
    return settled, left


def _with_inherited(
    name: str, arms: Mapping[str, Arm], optimizer: str, learning_rate: float, *below: str
) -> Arm:
    arm = arms[name]
    if arm.over is None:
        base = Arm(optimizer=optimizer, schedule="constant", learning_rate=GIVEN)
    else:
        there = ", ".join(arms)
        require(
            arm.over in arms,
            f"arm.{name}.over",
            arm.over,
            f"is not among the arms; add it to arm=[{there}]",
        )
        require(
            arm.over not in (name, *below),
            f"arm.{name}.over",
            arm.over,
            "leads back to the arm itself; name another one",
        )
        base = _with_inherited(arm.over, arms, optimizer, learning_rate, name, *below)
    require(
        arm.warmup != TUNED or arm.learning_rate == TUNED,
        f"arm.{name}.warmup",
        TUNED,
        f"is chosen together with the rate; set arm.{name}.learning_rate={TUNED} too, or give a"
        " share of the run",
    )
    own = {key: getattr(arm, key) for key in INHERITED if getattr(arm, key) is not None}
    full = replace(arm, **{key: getattr(base, key) for key in INHERITED} | own)
    if full.learning_rate == GIVEN:
        full = full.at(learning_rate)
    tuned = name if own.get("learning_rate") == TUNED else base.rate_of
    return replace(full, rate_of=tuned if full.learning_rate == TUNED else "")


def _with_warmup(arm: Arm) -> Arm:
    """Fill in the warm-up of an arm that neither gives nor inherits one.

    With a tuned rate, calibration chooses the warm-up too. With a fixed rate the warm-up is 0.
    """
    if arm.warmup is None or (arm.warmup == TUNED and arm.learning_rate != TUNED):
        arm = replace(arm, warmup=TUNED if arm.learning_rate == TUNED else 0.0)
    return replace(arm, sweeps_warmup=arm.warmup == TUNED)


def _check(arm: Arm) -> None:
    """Refuse an arm with values out of range, or with options that exclude each other."""
    key = f"arm.{arm.name}"
    rate = arm.learning_rate
    fine = rate == TUNED or (
        isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < 100
    )
    require(
        fine,
        f"{key}.learning_rate",
        rate,
        "must be given, tuned, or a number above 0 and below 100",
    )
    warm = arm.warmup
    fine = warm == TUNED or (
        isinstance(warm, int | float) and not isinstance(warm, bool) and 0 <= warm < 1
    )
    require(
        fine, f"{key}.warmup", warm, f"must be a share of the run, 0 or more, below 1, or {TUNED}"
    )
    rule = "needs a learning_rate of its own, a number or tuned: the base's is another network's"
    own = arm.model is None or arm.rate_of in ("", arm.name)
    require(own, f"{key}.model", arm.model, rule)
    _check_wrappers(arm)
    files = (*LEARNED, *PUBLISHED)
    rule = f"is for the optimizers {', '.join(files[:-1])} and {files[-1]}; leave it out"
    require(arm.learned is None or arm.optimizer in files, f"{key}.learned", arm.learned, rule)
    rule = f"must be the file of its weights: give {arm.optimizer}=FILE, or leave the arm out"
    require(
        bool(arm.learned) or arm.optimizer not in PUBLISHED, f"{key}.learned", arm.learned, rule
    )
    require(
        not (arm.auto and arm.optimizer == "schedule_free"), f"{key}.optimizer", arm.optimizer,
        "averages weights, and a factor of its rate has no effect; leave auto out",
    )  # fmt: skip
    null = arm.forecaster in NULLS
    require(
        arm.of is None or null,
        f"{key}.of",
        arm.of,
        f"is for arms whose forecaster is {' or '.join(NULLS)}; leave it out",
    )
    if "" in (arm.forecaster, arm.of):
        raise UserError(
            f"{key} has no forecaster: give forecaster=… (a bundle or a name), or leave the arm out"
            " of arm=[…]"
        )
    if arm.forecaster is None:
        for name, there in (("jump", arm.jump != PLAIN), ("guard", arm.guard)):
            require(
                not there,
                f"{key}.{name}",
                "…",
                "is for arms with a forecaster; leave it out, or give one",
            )
        return
    require(
        arm.over is not None,
        f"{key}.over",
        "null",
        "an arm with a forecaster needs one to be compared with",
    )
    inside = (
        "outer"
        if arm.outer
        else "airbench_lookahead"
        if arm.airbench_lookahead
        else "optimizer=schedule_free"
        if arm.optimizer == "schedule_free"
        else ""
    )
    require(
        not inside or arm.forecaster != ORACLE, f"{key}.forecaster", ORACLE,
        f"cannot be combined with {inside}, which keeps weights of its own; leave one of them out",
    )  # fmt: skip
    require(
        not inside or arm.jump.moments == "reset", f"{key}.jump.moments", arm.jump.moments,
        f"must be reset: {inside} keeps weights of its own, which would pull a jump back",
    )  # fmt: skip
    require(
        not (arm.average and arm.average.kind == LAWA), f"{key}.average.kind", LAWA,
        "must be ema for an arm with a forecaster",
    )  # fmt: skip
    jump = arm.jump
    _check_named_steps(key, jump)
    require(jump.every >= 1, f"{key}.jump.every", jump.every, "must be 1 snapshot or more")
    ahead = jump.horizon is None or jump.horizon >= 1
    require(ahead, f"{key}.jump.horizon", jump.horizon, "must be 1 snapshot or more")
    require(
        jump.start_after >= 0,
        f"{key}.jump.start_after",
        jump.start_after,
        "must be 0 snapshots or more",
    )
    if jump.horizon_to is not None:
        ok = jump.horizon is not None and 1 <= jump.horizon_to <= jump.horizon
        require(
            ok,
            f"{key}.jump.horizon_to",
            jump.horizon_to,
            f"must be 1 to jump.horizon={jump.horizon}",
        )
    if arm.forecaster == ORACLE:
        allowed = {"horizon", "every"}
        other = [f"jump.{name}" for name in changed(jump, PLAIN) if name not in allowed] + [
            "guard"
        ] * bool(arm.guard)
        require(
            not other,
            f"{key}.{(other or [''])[0]}",
            "…",
            f"the oracle has only the options {' and '.join(sorted(allowed))}; leave this one out",
        )


def _check_named_steps(key: str, jump: Jump) -> None:
    """Refuse steps that cannot be named, and options that count snapshots beside them."""
    if jump.at is None:
        rule = f"belongs to jumps at named steps; give {key}.jump.at=[…] too, or leave it out"
        require(jump.aim is None, f"{key}.jump.aim", jump.aim, rule)
        return
    try:
        named_steps(jump.at)
    except UserError as error:
        raise UserError(f"{key}.jump.{error}") from None
    rule = "is not for jumps at named steps, which jump.at lists; leave it out"
    for name in ("every", "horizon", "horizon_to", "start_after", "stop_after"):
        require(name not in changed(jump, PLAIN), f"{key}.jump.{name}", getattr(jump, name), rule)


def _check_wrappers(arm: Arm) -> None:
    """Refuse wrappers and averages of an arm that exclude each other, or its optimizer."""
    key, own = f"arm.{arm.name}", [name for name in INSIDE if getattr(arm, name)]
    if own:
        rule = f"cannot be combined with {own[0]}; leave one of them out"
        require(len(own) == 1, f"{key}.{own[-1]}", "…", rule)
        rule = (
            "keeps an average of its weights that an outer step would not change; leave"
            f" {own[0]} out"
        )
        require(arm.optimizer != "schedule_free", f"{key}.optimizer", arm.optimizer, rule)
    if arm.tail_blend:
        require(
            arm.average is None,
            f"{key}.tail_blend",
            "…",
            "cannot be combined with average; leave one of them out",
        )
        require(
            arm.schedule in POWERS,
            f"{key}.schedule",
            arm.schedule,
            f"has no decay to 0 that tail_blend could read; use {' or '.join(POWERS)}",
        )
