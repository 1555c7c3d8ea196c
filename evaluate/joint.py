"""Reports of several tasks as one: geometric means over tasks, with intervals over tasks."""

import html
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from collect.figures import Figure
from collect.tasks.protocol import LOSS, Metric
from evaluate import answer, metrics, pictures, report, said, tables, words
from evaluate.arms import TUNED
from evaluate.decision import Line, Verdict, decide
from evaluate.statistics import geometric_interval, t_interval
from evaluate.tables import Table
from nowcast.types import UserError

JOINT = "weight-nowcaster/joint/2"
SPEED_UPS = {"speed_up": "Steps to the target", "seconds_speed_up": "Seconds to the target"}
ENOUGH = 3
"""Tasks below which there is no interval, and nothing is said of tasks in general."""


def join(all_results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Joint results of tasks: for every arm over the same base, the means over the tasks that have
    it.

    Returns:
        ``schema``; ``tasks`` (name, setting, command); ``alone``, whether seconds can be compared
        on every task; ``strongest``, the base of each task that ends best; ``arms``: name, over,
        and for ``speed_up`` (steps to the headline's target), ``seconds_speed_up`` and
        ``final_loss_ratio`` the interval over tasks, the one of each, and whether the tasks show a
        difference; ``metric``, what all tasks are judged by, which the last one is called after;
        None, and no such key, where they are judged by metrics that differ.

    Raises:
        UserError: Protocols differ, arms of one name are not the same, or the same runs are there
            twice.
    """
    protocols = {(one["protocol"]["name"], one["protocol"]["headline"]) for one in all_results}
    if len(protocols) > 1:
        found = ", ".join(f"{name} at {headline}" for name, headline in sorted(protocols))
        raise UserError(f"reports: they are of different protocols ({found}); join those of one")
    _check_apart(all_results)
    pairs = dict.fromkeys(
        (row["name"], row["over"]) for one in all_results for row in one["arms"] if row["over"]
    )
    by_task = dict(zip(_names(all_results), all_results, strict=True))
    firsts = {metrics.of(one)[0] for one in all_results}
    metric = firsts.pop() if len(firsts) == 1 else None
    return {
        "schema": JOINT,
        "protocol": dict(zip(("name", "headline"), next(iter(protocols)), strict=True)),
        "tasks": [
            {"name": name, "setting": words.setting(one), "command": (one["commands"] or [""])[-1]}
            for name, one in by_task.items()
        ],
        "metric": metric._asdict() if metric else None,
        "alone": all(one["alone"] for one in all_results),
        "arms": [_arm(name, over, by_task, metric) for name, over in pairs],
        "strongest": {name: answer.strongest(one)["name"] for name, one in by_task.items()},
        "warnings": _warnings(by_task),
    }


def page(
    joint: Mapping[str, Any], all_results: Sequence[Mapping[str, Any]], command: str | None = None
) -> str:
    """The joint report as one self-contained HTML page; ``command`` joined it."""
    esc = html.escape
    title = f"Ways to train, compared on {', '.join(task['name'] for task in joint['tasks'])}"
    parts = [
        f"<h1>{esc(title)}</h1>",
        report.answered(answer.over_tasks(joint)),
        "<h2>What came out</h2>",
        report.coloured(lines(joint)),
        report.figure(picture(joint), "all"),
        (
            '<p class="quiet">Geometric mean over tasks of that over seeds, with Student\'s 95 %'
            f" t-interval of the tasks' log-ratios, from {ENOUGH} tasks on: it decides words and"
            " colours.</p>"
        ),
        *(
            part
            for kind, title in kinds(joint).items()
            for part in (
                f"<h2>{title}</h2>",
                *_shared(joint, kind),
                report.table(speed_ups(joint, kind)),
            )
        ),
    ]
    for place, (task, one) in enumerate(zip(joint["tasks"], all_results, strict=True)):
        parts += [
            f"<h2>{esc(task['name'])}</h2>",
            f'<p class="quiet">{esc(task["setting"])}</p>',
            report.answered(answer.sentence(one)),
            report.coloured(said.lines(one)),
            *(part for base in tables.panels(one) for part in report.over(one, base, level=3)),
            report.figure(pictures.curves(one), f"task{place}"),
        ]
        if len(tables.forecasts(one)) > 1:
            parts += [
                f'<p class="quiet">{esc(words.FORECASTS)}</p>',
                report.table(tables.forecasts(one)),
            ]
    commands = dict.fromkeys(
        [
            *(line for one in all_results for line in one["commands"]),
            *([command] if command else []),
        ]
    )
    return report.document(title, [*parts, *report.closing(all_results, list(commands))])


def _shared(joint: Mapping[str, Any], kind: str) -> list[str]:
    return (
        []
        if joint["alone"] or kind != "seconds_speed_up"
        else [f"<p>{html.escape(words.SHARED)}</p>"]
    )


def markdown(joint: Mapping[str, Any]) -> str:
    """The tables and the words, for a README."""
    notes = [
        f"- {line}" for line in [*verdicts(joint), *([] if joint["alone"] else [words.SHARED])]
    ]
    return "\n".join([f"**{answer.over_tasks(joint)}**", *ratios(joint), "", *notes, ""])


def kinds(joint: Mapping[str, Any]) -> dict[str, str]:
    """What arms are compared in over all tasks, by its key, and its title."""
    if not (metric := _metric(joint)):
        return SPEED_UPS
    return SPEED_UPS | {_final(metric): f"Final {metric.name}, {metrics.pair(metric)}"}


def ratios(joint: Mapping[str, Any], without: Sequence[str] = ()) -> list[str]:
    """The tables of all kinds but ``without`` in Markdown, each under its title."""
    shown = {kind: title for kind, title in kinds(joint).items() if kind not in without}
    return [
        line
        for kind, title in shown.items()
        for line in ("", f"**{title}**", "", tables.markdown(speed_ups(joint, kind)))
    ]


def picture(joint: Mapping[str, Any]) -> Figure:
    """Every arm's ratio of steps over all tasks."""
    entries = [
        (
            f"{row['name']}  over  {row['over']}",
            row["speed_up"]["all"],
            _note(row),
            _shown(row),
        )
        for row in joint["arms"]
    ]
    return pictures.forest(
        entries, "steps of the base / steps of the arm, over tasks (above 1: faster)"
    )


def speed_ups(joint: Mapping[str, Any], what: str) -> Table:
    """A row per arm, a column per task, and one for all."""
    names = [task["name"] for task in joint["tasks"]]
    mark = tables.SHARED if what == "seconds_speed_up" and not joint["alone"] else ""
    metric = LOSS if what in SPEED_UPS else _metric(joint) or LOSS
    table: Table = [("arm", "over", "all tasks [95 %]", *names)]
    for row in joint["arms"]:
        each = row[what]["each"]
        table.append(
            (row["name"], row["over"], mark + metrics.shown(metric, row[what]["all"]),
             *(mark + metrics.shown(metric, each[n]) if n in each else "–" for n in names))
        )  # fmt: skip
    return table


def lines(joint: Mapping[str, Any]) -> list[Line]:
    """The result in words, and what the tasks' reports warn of."""
    warned = [Line(text, caution=True) for text in joint["warnings"]]
    return [*(_line(row) for row in joint["arms"]), *warned]


def verdicts(joint: Mapping[str, Any]) -> list[str]:
    """:func:`lines` without what they are."""
    return [line.text for line in lines(joint)]


def _shown(row: Mapping[str, Any]) -> Verdict:
    """Whether an arm is faster over tasks."""
    return decide(row["speed_up"]["all"])


def _line(row: Mapping[str, Any]) -> Line:
    size, shown = tables.ratio(row["speed_up"]["all"]), _shown(row)
    tasks = len(row["speed_up"]["each"])
    many = f"{tasks} task{'s' * (tasks > 1)}"
    words = {
        Verdict.BETTER: f"needs fewer steps over {many}: {size}",
        Verdict.WORSE: f"HURTS over {many}: {size}",
        Verdict.NO_DIFFERENCE: f"makes no difference that these {many} can show: {size}",
    }.get(shown, f"comes over {many} to {size}")
    if tasks < ENOUGH:
        words = f"is on {many}, too few to speak of tasks in general: {size}"
    return Line(f"{row['name']} over {row['over']} {words}.", shown)


def _warnings(by_task: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the tasks' reports warn of, each once, with the tasks that it holds for."""
    found: dict[str, list[str]] = {}
    for name, one in by_task.items():
        for line in said.lines(one):
            if line.caution:
                found.setdefault(line.text, []).append(name)
    return [f"{', '.join(names)}: {line}" for line, names in found.items()]


def _metric(joint: Mapping[str, Any]) -> Metric | None:
    """What all tasks are judged by; None: by metrics that differ."""
    return Metric(**joint["metric"]) if joint["metric"] else None


def _final(metric: Metric) -> str:
    return f"final_{metric.name}_{metric.compare}"


def _arm(
    name: str, over: str, by_task: Mapping[str, Mapping[str, Any]], metric: Metric | None
) -> dict[str, Any]:
    empty: dict[str, Any] = {"each": {}, "seeds": {}}
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
        if metric and rows[name][_final(metric)]["each"]:
            end["each"][task] = rows[name][_final(metric)][metric.compare]
            end["seeds"][task] = rows[name][_final(metric)]["each"]
    for found in (steps, seconds, end):
        _summed_up(found, by_ratio=found is not end or metric is None or metric.compare == "ratio")
    row = {"name": name, "over": over, "speed_up": steps, "seconds_speed_up": seconds}
    return row | ({_final(metric): end} if metric else {})


def _summed_up(found: dict[str, Any], *, by_ratio: bool) -> None:
    """Add what each task's seeds come to over all tasks."""
    means = [
        float(np.exp(np.mean(np.log(each))) if by_ratio else np.mean(each))
        for each in found["seeds"].values()
    ]
    found["all"] = _over_tasks(means, by_ratio=by_ratio)
    found["clear"] = decide(found["all"], 1.0 if by_ratio else 0.0).decided


def _over_tasks(means: Sequence[float], *, by_ratio: bool) -> list[float]:
    """The mean of the tasks' means, with a t-interval: it holds for tasks like these, and not for
    these alone, and the seeds' scatter is part of the tasks'.
    """
    if not means:
        return [math.nan] * 3
    value, low, high = geometric_interval(means) if by_ratio else t_interval(means)
    return [value, low, high] if len(means) >= ENOUGH else [value, math.nan, math.nan]


def _check_apart(all_results: Sequence[Mapping[str, Any]]) -> None:
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
        for row in one["arms"]:
            same = {
                key: value
                for key, value in row["settings"].items()
                if key not in ("optimizer", "forecaster", "of")
            }
            same["warmup"] = TUNED if row.get("warmup_tuned") else same["warmup"]
            same["forecaster"] = row["forecaster_sha256"] or row["settings"]["forecaster"]
            first = known.setdefault((row["name"], row["over"]), same)
            if first != same:
                changed = next(key for key in same if same[key] != first[key])
                raise UserError(
                    f"reports: the arms {row['name']} are not the same ({changed} differs); join"
                    " reports of the same arms"
                )


def _base_runs(one: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """What tells the runs of the bases from all others, whatever was measured on them."""
    task = tuple(one["about"][key] for key in ("content", "epochs", "steps_per_epoch"))
    return {
        (*task, row["learning_rate"], str(sorted(row["settings"].items())), seed)
        for row in one["arms"]
        if row["over"] is None
        for seed in one["protocol"]["seeds"]
    }


def _names(all_results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tasks' names; those of a name that is there twice get numbers."""
    names = [one["about"]["task"] for one in all_results]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]


def _note(row: Mapping[str, Any]) -> str:
    return f"{tables.ratio(row['speed_up']['all'])}  {len(row['speed_up']['each'])} tasks"
