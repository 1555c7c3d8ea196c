"""Join the results of several tasks: geometric means over tasks, with intervals over tasks."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from collect.tasks.protocol import Metric
from evaluate import answer, metrics, sentences, words
from evaluate.arms import TUNED
from evaluate.decision import Bound, decide
from evaluate.judged import bound, bound_over_tasks
from evaluate.protocol import HONEST, target_metric
from evaluate.statistics import geometric_interval, t_interval
from nowcast.types import UserError

JOINT = "weight-nowcaster/joint/2"
RECIPE = ("schedule", "average")
"""Settings in which bases of one name may differ from task to task, and arms that inherit them."""
SCALES = {
    "average": ("decay", "last"),
    "outer": ("every",),
    "ema_nesterov": ("gamma",),
    "gpa": ("mu_x",),
    "jump": ("every",),
}
"""Time scales of arms, in steps or snapshots: they differ where tasks differ in length."""
ENOUGH = 3
"""The fewest tasks for an interval over tasks, and for a statement about tasks in general."""


def join(all_results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the results of several tasks.

    Each pair of an arm and its base is averaged over the tasks that have it.

    Args:
        all_results: The results of each task, from :func:`evaluate.comparison.compare`.

    Returns:
        A dict with these keys, among others:

        - ``tasks``: name, setting and command of each task.
        - ``seconds_comparable``: whether seconds can be compared on every task.
        - ``strongest``: for each task, the base with the best final value.
        - ``metric``: the metric that all tasks are judged by; None: they are judged by different
          ones.
        - ``arms``: for each arm its name, its base, and three comparisons: ``speed_up`` (steps to
          the headline's target), ``seconds_speed_up``, and the final value, such as
          ``final_loss_ratio``, which is absent if ``metric`` is None. A comparison has the interval
          over tasks (``all``), that of each task (``each``) with its bound (``bounds``), and
          whether the tasks show a difference (``clear``).

    Raises:
        UserError: The tasks were compared by different protocols, arms of one name have different
            settings, or the same runs occur twice.
    """
    protocols = {_judged(one) for one in all_results}
    if len(protocols) > 1:
        found = ", ".join(f"{name} at {target}" for name, _, target in sorted(protocols))
        raise UserError(
            f"reports: they follow different protocols ({found}); join reports of one protocol"
        )
    _check_apart(all_results)
    pairs = dict.fromkeys(
        (row["name"], row["over"]) for one in all_results for row in one["arms"] if row["over"]
    )
    by_task = dict(zip(_names(all_results), all_results, strict=True))
    firsts = {metrics.of(one)[0] for one in all_results}
    metric = firsts.pop() if len(firsts) == 1 else None
    return {
        "schema": JOINT,
        "protocol": dict(zip(("name", "headline"), next(iter(protocols))[:2], strict=True)),
        "tasks": [
            {"name": name, "setting": words.setting(one), "command": (one["commands"] or [""])[-1]}
            for name, one in by_task.items()
        ],
        "metric": metric._asdict() if metric else None,
        "seconds_comparable": all(one["seconds_comparable"] for one in all_results),
        "arms": [_arm(name, over, by_task, metric) for name, over in pairs],
        "strongest": {name: answer.strongest(one)["name"] for name, one in by_task.items()},
        "warnings": _warnings(by_task),
    }


def _warnings(by_task: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The cautions of the tasks' reports, each once, behind the names of its tasks."""
    found: dict[str, list[str]] = {}
    for name, one in by_task.items():
        for line in sentences.lines(one):
            if line.caution:
                found.setdefault(line.text, []).append(name)
    return [f"{', '.join(names)}: {line}" for line, names in found.items()]


def final_key(metric: Metric) -> str:
    """The key of the comparison of final values in an arm of joint results."""
    return f"final_{metric.name}_{metric.compare}"


def _arm(
    name: str, over: str, by_task: Mapping[str, Mapping[str, Any]], metric: Metric | None
) -> dict[str, Any]:
    empty: dict[str, Any] = {"each": {}, "seeds": {}, "bounds": {}}
    steps, seconds, end = (deepcopy(empty) for _ in range(3))
    for task, one in by_task.items():
        rows = {row["name"]: row for row in one["arms"]}
        if name not in rows or rows[name]["over"] != over:
            continue
        headline = one["protocol"]["headline"]
        for unit, found in (("steps", steps), ("seconds", seconds)):
            against = [rows[each]["against"][over][headline][unit]["each"] for each in (over, name)]
            found["each"][task] = rows[name]["against"][over][headline][unit]["speed_up"]
            found["seeds"][task] = [base / arm for base, arm in zip(*against, strict=True)]
            found["bounds"][task] = bound(rows[name]["against"][over][headline])
        if metric and rows[name][final_key(metric)]["each"]:
            end["each"][task] = rows[name][final_key(metric)][metric.compare]
            end["seeds"][task] = rows[name][final_key(metric)]["each"]
            end["bounds"][task] = Bound.NONE
    for found in (steps, seconds, end):
        _summed_up(found, by_ratio=found is not end or metric is None or metric.compare == "ratio")
    row = {"name": name, "over": over, "speed_up": steps, "seconds_speed_up": seconds}
    return row | ({final_key(metric): end} if metric else {})


def _summed_up(found: dict[str, Any], *, by_ratio: bool) -> None:
    """Add to a comparison the interval over tasks, and whether it shows a difference."""
    means = [
        float(np.exp(np.mean(np.log(each))) if by_ratio else np.mean(each))
        for each in found["seeds"].values()
    ]
    found["all"] = _over_tasks(means, by_ratio=by_ratio)
    nothing = 1.0 if by_ratio else 0.0
    found["clear"] = decide(found["all"], nothing, bound=bound_over_tasks(found)).decided


def _over_tasks(means: Sequence[float], *, by_ratio: bool) -> list[float]:
    """The mean of the tasks' means, with a t-interval over tasks.

    The interval holds for tasks like these, not only for these tasks. The scatter of the seeds is
    part of the scatter of the tasks.
    """
    if not means:
        return [math.nan] * 3
    value, low, high = geometric_interval(means) if by_ratio else t_interval(means)
    return [value, low, high] if len(means) >= ENOUGH else [value, math.nan, math.nan]


def _judged(one: Mapping[str, Any]) -> tuple[str, str, str]:
    """``(protocol, headline, target in words)``: how the runs of a task were judged.

    All tasks of a joint report must agree in them.
    """
    name, headline = (one["protocol"][key] for key in ("name", "headline"))
    return name, headline, headline if name == HONEST else f"{target_metric(one).name} {headline}"


def _check_apart(all_results: Sequence[Mapping[str, Any]]) -> None:
    """Refuse results with the same runs, or with different arms of one name."""
    known: dict[tuple[str, str | None], Any] = {}
    runs: set[tuple[Any, ...]] = set()
    for one in all_results:
        own = _base_runs(one)
        if own & runs:
            raise UserError(
                f"reports: the same runs of {one['about']['task']} are in two of them, and would"
                " count as two tasks; give reports of different tasks (more arms or seeds of one"
                " task go into its own report)"
            )
        runs |= own
        settings = {row["name"]: row["settings"] for row in one["arms"]}
        for row in one["arms"]:
            base = settings.get(row["over"], row["settings"])
            same = {
                key: without_scales(key, value)
                for key, value in row["settings"].items()
                if key not in ("optimizer", "forecaster", "of")
                and not (key in RECIPE and value == base[key])
            }
            same["warmup"] = TUNED if row.get("warmup_tuned") else same["warmup"]
            same["forecaster"] = row["forecaster_sha256"] or row["settings"]["forecaster"]
            first = known.setdefault((row["name"], row["over"]), same)
            if first != same:
                changed = next(key for key in {**same, **first} if same.get(key) != first.get(key))
                raise UserError(
                    f"reports: the arms {row['name']} are not the same ({changed} differs); join"
                    " reports of the same arms"
                )


def without_scales(key: str, value: Any) -> Any:
    """A setting without its time scale."""
    if not isinstance(value, Mapping):
        return value
    return {name: one for name, one in value.items() if name not in SCALES.get(key, ())}


def _base_runs(one: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """A key for each run of a base, equal for equal runs whatever was measured on them."""
    task = tuple(one["about"][key] for key in ("content", "epochs", "steps_per_epoch"))
    return {
        (*task, row["learning_rate"], str(sorted(row["settings"].items())), seed)
        for row in one["arms"]
        if row["over"] is None
        for seed in one["protocol"]["seeds"]
    }


def _names(all_results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tasks' names, with a number behind those that occur twice: ``name (1)``."""
    names = [one["about"]["task"] for one in all_results]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]
