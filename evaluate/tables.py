"""Make the report's tables of gains, as rows of text with the header first."""

from collections.abc import Mapping
from typing import Any

from collect.tasks.protocol import LOSS, Metric
from evaluate import chosen_rates
from evaluate.cells import SHARED, Cell, cell, marked
from evaluate.decision import Ratio, Verdict
from evaluate.judged import bound, final, steps
from evaluate.metrics import none, number, of, pair, shown, splits

Table = list[tuple[str, ...]]
"""The rows of a table, the header first. Comparisons are of :class:`evaluate.cells.Cell`."""


def panels(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each base and of the arms over it, by the base's name, the base's row first.

    An arm that is over another arm counts as a base only if some arm is over it.
    """
    rows = results["arms"]
    found = {
        row["name"]: [row, *(other for other in rows if other["over"] == row["name"])]
        for row in rows
    }
    return {name: own for name, own in found.items() if len(own) > 1 or own[0]["over"] is None}


def main(results: Mapping[str, Any], base: str) -> Table:
    """The table of the arms over a base, at the headline's target."""
    beside, title = results["beside"], results["beside_title"]
    metric, others = of(results)[0], beside_first(results)
    table: Table = [
        (
            "arm",
            "learning rate",
            "epochs to target",
            "steps",
            "reached",
            "speed-up, steps [95 %]",
            "speed-up, seconds [95 %]",
            f"best {metric.name}",
            f"final {metric.name}",
            f"{pair(metric)} [95 %]",
            *others,
            *([title] if beside else []),
        )
    ]
    for row in panels(results)[base]:
        against = row["against"][base][results["protocol"]["headline"]]
        is_base = row["name"] == base
        table.append(
            (
                row["name"],
                chosen_rates.of(row),
                _place(results, against),
                f"{against['steps']['median']:g}",
                _reached(results, against),
                "1" if is_base else _speed_up(against),
                "1"
                if is_base
                else _speed_up(against, "seconds", shared=not row["seconds_comparable"]),
                number(row[f"best_{metric.name}"]),
                number(row[f"final_{metric.name}"]),
                f"{none(metric):g}"
                if is_base
                else cell(metric, final(metric, row)[metric.compare]),
                *(number(row.get(key)) for key, _ in others.values()),
                *([beside.get(row["name"], "")] if beside else []),
            )
        )
    return table


def everything(results: Mapping[str, Any], base: str) -> Table:
    """The table of all arms against one base, also of those that are over another one."""
    table: Table = [("arm", "epochs to target", "reached", f"speed-up over {base}, steps [95 %]")]
    headline = results["protocol"]["headline"]
    for row in results["arms"]:
        against = row["against"][base][headline]
        speed_up = "1" if row["name"] == base else _speed_up(against)
        table.append((row["name"], _place(results, against), _reached(results, against), speed_up))
    return table


def digest(results: Mapping[str, Any]) -> Table:
    """The table of every arm against its own base, for a page of results.

    The columns are epochs to the target, the speed-up in steps, and the comparison of final values.
    """
    metric = of(results)[0]
    table: Table = [
        (
            "over",
            "arm",
            "epochs to target, base",
            "arm",
            "steps, base / arm [95 %]",
            f"final {metric.name}, {pair(metric)} [95 %]",
        )
    ]
    headline, rows = results["protocol"]["headline"], {row["name"]: row for row in results["arms"]}
    for row in rows.values():
        if base := row["over"]:
            of_base, against = (one["against"][base][headline] for one in (rows[base], row))
            table.append(
                (
                    base,
                    row["name"],
                    _place(results, of_base),
                    _place(results, against),
                    _speed_up(against),
                    cell(metric, final(metric, row)[metric.compare]),
                )
            )
    return table


def ladder(results: Mapping[str, Any], base: str) -> Table:
    """The table of speed-ups over a base at each of its targets, with how many runs reach it."""
    targets, name = results["targets"][base], of(results)[0].name
    table: Table = [
        (
            "speed-up, steps",
            *(f"{name} {number(t)} ({float(s):.0%} of the base)" for s, t in targets.items()),
        )
    ]
    for row in panels(results)[base][1:]:
        cells = (row["against"][base][share] for share in targets)
        table.append(
            (
                row["name"],
                *(_speed_up(one, note=f" {_reached(results, one)}") for one in cells),
            )
        )
    return table


def forest(results: Mapping[str, Any]) -> list[tuple[str, Ratio, str, Verdict]]:
    """The entries of :func:`evaluate.pictures.forest`: every arm's speed-up over its base."""
    entries = []
    for row in results["arms"]:
        if row["over"]:
            against = row["against"][row["over"]][results["protocol"]["headline"]]
            found = against["steps"]["speed_up"]
            note = f"{bound(against)}{ratio(found)}  {_reached(results, against)}"
            entries.append((f"{row['name']}  over  {row['over']}", found, note, steps(against)))
    return entries


def ratio(found: Ratio) -> str:
    """A ratio as text: ``1.23× [1.20, 1.26]``; the interval is left out where there is none."""
    return shown(LOSS, found)


def _speed_up(
    against: Mapping[str, Any], unit: str = "steps", *, shared: bool = False, note: str = ""
) -> Cell:
    """The cell of how much sooner an arm reaches a target than its base, in a unit."""
    return cell(LOSS, against[unit]["speed_up"], bound(against), shared=shared, note=note)


def beside_first(results: Mapping[str, Any]) -> dict[str, tuple[str, Metric]]:
    """The columns beside the metric that runs are judged by.

    They show the task's other metrics, on the last split if that was read at the end. A task with
    one metric has a column for that metric on the last split.

    Returns:
        ``(key in an arm's row, metric)``, by the title of the column.
    """
    first, *others = of(results)
    last = splits(results)[-1]
    read = any(f"test_{first.name}" in row for row in results["arms"])
    if not read:
        return {f"final {one.name}": (f"final_{one.name}", one) for one in others}
    return {f"{last} {one.name}": (f"test_{one.name}", one) for one in others or [first]}


def markdown(table: Table) -> str:
    """A table in GitHub's Markdown; bold marks an interval that shows a difference."""
    lines = [
        "| " + " | ".join(marked(one).replace("|", "\\|") for one in row) + " |" for row in table
    ]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def _place(results: Mapping[str, Any], against: Mapping[str, Any]) -> str:
    median = against["epochs"]["median"]
    few = against["reached"] <= len(results["protocol"]["seeds"]) / 2
    return f"{'> ' if few else ''}{round(median, 2):g}"


def _reached(results: Mapping[str, Any], against: Mapping[str, Any]) -> str:
    return f"{against['reached']}/{len(results['protocol']['seeds'])}"


def mark(row: Mapping[str, Any]) -> str:
    """The sign before seconds of an arm that did not have the machine to itself."""
    return "" if row["seconds_comparable"] else SHARED
