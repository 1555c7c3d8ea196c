"""Write the report of several tasks, as an HTML page and as Markdown."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from collect.figures import Figure
from collect.tasks.protocol import LOSS, Metric
from evaluate import (
    answer,
    arm_tables,
    metrics,
    pictures,
    report,
    run_pictures,
    sentences,
    tables,
    words,
)
from evaluate.cells import cell
from evaluate.decision import Bound, Line, Verdict
from evaluate.joint import ENOUGH, final_key
from evaluate.judged import bound_over_tasks, over_tasks
from evaluate.tables import Table

SPEED_UPS = {"speed_up": "Steps to the target", "seconds_speed_up": "Seconds to the target"}


def page(
    joint: Mapping[str, Any], all_results: Sequence[Mapping[str, Any]], command: str | None = None
) -> str:
    """The joint report as an HTML page that holds its pictures and loads nothing.

    Args:
        joint: From :func:`evaluate.joint.join`.
        all_results: The results of each task, in the order of ``joint``.
        command: The command that joined them, to print on the page.
    """
    esc = html.escape
    title = f"Ways to train, compared on {', '.join(task['name'] for task in joint['tasks'])}"
    parts = [
        f"<h1>{esc(title)}</h1>",
        report.answered(answer.over_tasks(joint)),
        "<h2>What came out</h2>",
        report.coloured(lines(joint)),
        report.figure(picture(joint), "all"),
        (
            '<p class="note">Geometric mean over tasks of that over seeds, with Student\'s 95 %'
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
            f'<p class="note">{esc(task["setting"])}</p>',
            report.answered(answer.sentence(one)),
            report.coloured(sentences.lines(one)),
            *(part for base in tables.panels(one) for part in report.over(one, base, level=3)),
            report.figure(run_pictures.curves(one), f"task{place}"),
        ]
        if len(arm_tables.forecasts(one)) > 1:
            parts += [
                f'<p class="note">{esc(words.FORECASTS)}</p>',
                report.table(arm_tables.forecasts(one)),
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
        if joint["seconds_comparable"] or kind != "seconds_speed_up"
        else [f"<p>{html.escape(words.SHARED)}</p>"]
    )


def markdown(joint: Mapping[str, Any]) -> str:
    """The joint report as Markdown, without pictures."""
    texts, found = verdicts(joint), ratios(joint)
    shared = [] if joint["seconds_comparable"] else [words.SHARED]
    signs = ("≥", "≤", "~ ")
    bound = (
        [words.BOUND] if any(sign in line for line in (*texts, *found) for sign in signs) else []
    )
    notes = [f"- {line}" for line in [*texts, *shared, *bound]]
    return "\n".join([f"**{answer.over_tasks(joint)}**", *found, "", *notes, ""])


def kinds(joint: Mapping[str, Any]) -> dict[str, str]:
    """The kinds of comparison over all tasks: the title of each, by its key in ``joint``."""
    if not (metric := _metric(joint)):
        return SPEED_UPS
    return SPEED_UPS | {final_key(metric): f"Final {metric.name}, {metrics.pair(metric)}"}


def ratios(joint: Mapping[str, Any], without: Sequence[str] = ()) -> list[str]:
    """The lines of the tables in Markdown, one table per kind of comparison, under its title.

    Args:
        joint: From :func:`evaluate.joint.join`.
        without: The kinds to leave out.
    """
    shown = {kind: title for kind, title in kinds(joint).items() if kind not in without}
    return [
        line
        for kind, title in shown.items()
        for line in ("", f"**{title}**", "", tables.markdown(speed_ups(joint, kind)))
    ]


def picture(joint: Mapping[str, Any]) -> Figure:
    """The picture of every arm's speed-up in steps, over all tasks."""
    entries = [
        (
            f"{row['name']}  over  {row['over']}",
            row["speed_up"]["all"],
            _note(row),
            over_tasks(row["speed_up"]),
        )
        for row in joint["arms"]
    ]
    return pictures.forest(
        entries, "steps of the base / steps of the arm, over tasks (above 1: faster)"
    )


def speed_ups(joint: Mapping[str, Any], what: str) -> Table:
    """The table of one kind of comparison: a row per arm, a column per task and one for all.

    Args:
        joint: From :func:`evaluate.joint.join`.
        what: A key of :func:`kinds`.
    """
    names = [task["name"] for task in joint["tasks"]]
    shared = what == "seconds_speed_up" and not joint["seconds_comparable"]
    metric = LOSS if what in SPEED_UPS else _metric(joint) or LOSS
    table: Table = [("arm", "over", "all tasks [95 %]", *names)]
    for row in joint["arms"]:
        each, bounds = row[what]["each"], row[what]["bounds"]
        mean = cell(metric, row[what]["all"], bound_over_tasks(row[what]), shared=shared)
        of_tasks = (
            cell(metric, each[name], Bound(bounds[name]), shared=shared) if name in each else "–"
            for name in names
        )
        table.append((row["name"], row["over"], mean, *of_tasks))
    return table


def lines(joint: Mapping[str, Any]) -> list[Line]:
    """A sentence for each arm over all tasks, then the cautions of the tasks' reports."""
    warned = [Line(text, caution=True) for text in joint["warnings"]]
    return [*(_line(row) for row in joint["arms"]), *warned]


def verdicts(joint: Mapping[str, Any]) -> list[str]:
    """The texts of :func:`lines`."""
    return [line.text for line in lines(joint)]


def _size(row: Mapping[str, Any]) -> str:
    """The speed-up in steps over tasks, with its bound and its interval, as text."""
    return bound_over_tasks(row["speed_up"]) + tables.ratio(row["speed_up"]["all"])


def _line(row: Mapping[str, Any]) -> Line:
    size, shown = _size(row), over_tasks(row["speed_up"])
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


def _metric(joint: Mapping[str, Any]) -> Metric | None:
    """The metric that all tasks are judged by; None: they are judged by different ones."""
    return Metric(**joint["metric"]) if joint["metric"] else None


def _note(row: Mapping[str, Any]) -> str:
    return f"{_size(row)}  {len(row['speed_up']['each'])} tasks"
