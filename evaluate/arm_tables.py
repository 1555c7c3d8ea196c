"""Make the report's tables with a row per arm: settings, jumps, forecasts, metrics and costs."""

import math
from collections.abc import Mapping
from typing import Any

from collect.tasks.protocol import LOSS, Metric
from evaluate import chosen_rates
from evaluate.cells import cell
from evaluate.metrics import of, pair, shown
from evaluate.tables import Table, beside_first, mark


def jumps(results: Mapping[str, Any]) -> Table:
    """The table of jumps: how many were taken and refused, and how each changed the metric."""
    metric = of(results)[0]
    dips = f"{metric.name} after {'/' if metric.compare == 'ratio' else '−'} before"
    table: Table = [
        ("arm", "jumps a run", "refused", dips, "at worst", "steps to recover", "never recovered")
    ]
    for row in results["arms"]:
        if found := row["jumps"]:
            dip, worst = (
                _dip(metric, found[key]) if found["taken"] else "–" for key in ("dip", "worst_dip")
            )
            never = f"{found['never_recovered']} of {found['taken']}"
            table.append(
                (
                    row["name"],
                    f"{found['accepted']:g}",
                    f"{found['refused']:g}",
                    dip,
                    worst,
                    f"{found['steps_to_recover']:g}",
                    never,
                )
            )
    return table


def forecasts(results: Mapping[str, Any]) -> Table:
    """The table of forecast errors on the base's runs, a column per operation."""
    rows = [row for row in results["arms"] if row["forecast_error"]]
    operations = list(dict.fromkeys(name for row in rows for name in row["forecast_error"]))
    table: Table = [("arm", "runs of", *operations)]
    for row in rows:
        errors = (row["forecast_error"].get(name) for name in operations)
        cells = (cell(LOSS, one["ratio"], regret=True) if one else "–" for one in errors)
        table.append((row["name"], row["over"], *cells))
    return table


def metrics(results: Mapping[str, Any]) -> Table:
    """The table of all metrics against the base's, after equal steps and after equal seconds."""
    metric, *_ = of(results)
    beside = {title: one for title, one in beside_first(results).items() if one[1] is not metric}
    change = f"{metric.name}_{metric.compare}"
    table: Table = [
        (
            "arm",
            "over",
            f"best {metric.name}, {pair(metric)}",
            f"final {metric.name}, {pair(metric)}",
            "best, equal seconds",
            "final, equal seconds",
            *(f"{title}, {pair(one)}" for title, (_, one) in beside.items()),
        )
    ]
    for row in results["arms"]:
        if row["over"]:
            steps = (row[f"{key}_{change}"] for key in ("best", "final"))
            seconds = (row[f"{key}_{change}"] for key in ("equal_seconds_best", "equal_seconds"))
            gains = (
                (one, row.get(f"{key}_{'ratio' if one.compare == 'ratio' else 'gain'}"))
                for key, one in beside.values()
            )
            shared = not row["seconds_comparable"]
            table.append(
                (
                    *(row["name"], row["over"]),
                    *(cell(metric, one[metric.compare]) for one in steps),
                    *(cell(metric, one[metric.compare], shared=shared) for one in seconds),
                    *(cell(one, gain) if gain else "–" for one, gain in gains),
                )
            )
    return table


def costs(results: Mapping[str, Any]) -> Table:
    """The table of costs: seconds, memory, and the making of what was meta-trained."""
    steps = results["curves"][results["arms"][0]["name"]][0]["step"][-1]
    table: Table = [
        ("arm", "seconds a run", "× its base", "ms a step", "ms a jump", "compiling, s",
         "history, bytes a parameter", "fit, s", "its corpus, s", "saved a run, s", "pays after")
    ]  # fmt: skip
    for row in results["arms"]:
        cost = results["cost"].get(row["name"], {})
        learned = row["name"] in results["cost"]
        pays = cost.get("pays_after")
        table.append(
            (
                row["name"],
                f"{mark(row)}{row['seconds']:.3g}",
                "1" if row["over"] is None else f"{mark(row)}{row['seconds_ratio'][0]:.2f}",
                f"{mark(row)}{1000 * row['seconds'] / steps:.3g}",
                _milliseconds(row),
                f"{row['compile_seconds']:.2g}",
                f"{row['history_bytes_per_parameter']:.3g}",
                _seconds(cost.get("fit_seconds"), learned),
                _seconds(cost.get("corpus_seconds"), learned),
                f"{mark(row)}{cost['saved_seconds']:.3g}" if learned else "",
                (
                    f"{pays:,} runs"
                    if pays
                    else ""
                    if not learned
                    else "not known"
                    if cost["shown"]
                    else "not shown"
                ),
            )
        )
    return table


def described(results: Mapping[str, Any]) -> Table:
    """The table of arms: the base, the settings in words, and the learning rate of each."""
    table: Table = [("arm", "over", "what it is", "learning rate")]
    for row in results["arms"]:
        chosen = results["rates"].get(row["name"])
        how = f" of {chosen_rates.describe_pairs(of(results)[0], chosen)}" if chosen else ""
        table.append(
            (row["name"], row["over"] or "–", row["words"], f"{chosen_rates.of(row)}{how}")
        )
    return table


def _dip(metric: Metric, value: float | None) -> str:
    return (
        "not finite"
        if value is None or not math.isfinite(value)
        else shown(metric, [value, None, None])
    )


def _milliseconds(row: Mapping[str, Any]) -> str:
    """What a jump of the arm takes; empty for an arm that does not jump."""
    taken = (row["jumps"] or {}).get("seconds")
    return "" if taken is None else f"{mark(row)}{1000 * taken:.3g}"


def _seconds(value: float | None, learned: bool) -> str:
    return f"{value:,.0f}" if value is not None else "not known" if learned else ""
