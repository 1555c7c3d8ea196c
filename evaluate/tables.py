"""The report's tables, as rows of text with the header first: for the page, for Markdown, and for a
terminal.
"""

import math
from collections.abc import Mapping
from typing import Any

from collect.tasks.protocol import LOSS, Metric
from evaluate import chosen_rates
from evaluate.decision import Ratio, Verdict
from evaluate.judged import bound, final, steps
from evaluate.metrics import none, number, of, pair, shown, splits, verdict

Table = list[tuple[str, ...]]
SHARED = "≈"
"""Before seconds that were measured while something else ran."""
SWEEP = 3
"""Learning rates below which bases are no sweep."""


def panels(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Each base with the arms over it, itself first; a base that nothing is over only where it is
    over nothing.
    """
    rows = results["arms"]
    found = {
        row["name"]: [row, *(other for other in rows if other["over"] == row["name"])]
        for row in rows
    }
    return {name: own for name, own in found.items() if len(own) > 1 or own[0]["over"] is None}


def main(results: Mapping[str, Any], base: str) -> Table:
    """How the arms over a base fare against it, at the headline's target."""
    beside, title = results["beside"], results["beside_title"]
    metric, others = of(results)[0], _others(results)
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
        alone = row["name"] == base
        table.append(
            (
                row["name"],
                chosen_rates.of(row),
                _place(results, against),
                f"{against['steps']['median']:g}",
                _reached(results, against),
                "1" if alone else bound(against) + ratio(against["steps"]["speed_up"]),
                (
                    "1"
                    if alone
                    else _mark(row) + bound(against) + ratio(against["seconds"]["speed_up"])
                ),
                number(row[f"best_{metric.name}"]),
                number(row[f"final_{metric.name}"]),
                f"{none(metric):g}" if alone else shown(metric, final(metric, row)[metric.compare]),
                *(number(row.get(key)) for key, _ in others.values()),
                *([beside.get(row["name"], "")] if beside else []),
            )
        )
    return table


def everything(results: Mapping[str, Any], base: str) -> Table:
    """All arms against one base, whatever they are over."""
    table: Table = [("arm", "epochs to target", "reached", f"speed-up over {base}, steps [95 %]")]
    headline = results["protocol"]["headline"]
    for row in results["arms"]:
        against = row["against"][base][headline]
        speed_up = (
            "1" if row["name"] == base else bound(against) + ratio(against["steps"]["speed_up"])
        )
        table.append((row["name"], _place(results, against), _reached(results, against), speed_up))
    return table


def digest(results: Mapping[str, Any]) -> Table:
    """Every arm that is over another: epochs to the target, the ratio to its base, and how it ends
    beside it; bold where the interval shows a difference.
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
            alone, against = (one["against"][base][headline] for one in (rows[base], row))
            speed_up = against["steps"]["speed_up"]
            end = final(metric, row)[metric.compare]
            table.append(
                (
                    base,
                    row["name"],
                    _place(results, alone),
                    _place(results, against),
                    _bold(bound(against) + ratio(speed_up), steps(against)),
                    _bold(shown(metric, end), verdict(metric, end)),
                )
            )
    return table


def ladder(results: Mapping[str, Any], base: str) -> Table:
    """Speed-ups over a base at each of its targets, and how many runs got there."""
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
                *(
                    f"{bound(c)}{ratio(c['steps']['speed_up'])} {_reached(results, c)}"
                    for c in cells
                ),
            )
        )
    return table


def jumps(results: Mapping[str, Any]) -> Table:
    """What became of the jumps."""
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
    """How well each forecaster foretells the runs of its base."""
    rows = [row for row in results["arms"] if row["forecast_error"]]
    operations = list(dict.fromkeys(name for row in rows for name in row["forecast_error"]))
    table: Table = [("arm", "runs of", *operations)]
    for row in rows:
        cells = (row["forecast_error"].get(name) for name in operations)
        table.append(
            (
                row["name"],
                row["over"],
                *(ratio(cell["ratio"]).replace("×", "") if cell else "–" for cell in cells),
            )
        )
    return table


def metrics(results: Mapping[str, Any]) -> Table:
    """Every metric beside the base's, after as many steps and after as many seconds."""
    metric, *_ = of(results)
    others = {title: one for title, one in _others(results).items() if one[1] is not metric}
    change = f"{metric.name}_{metric.compare}"
    table: Table = [
        (
            "arm",
            "over",
            f"best {metric.name}, {pair(metric)}",
            f"final {metric.name}, {pair(metric)}",
            "best, equal seconds",
            "final, equal seconds",
            *(f"{title}, {pair(one)}" for title, (_, one) in others.items()),
        )
    ]
    for row in results["arms"]:
        if row["over"]:
            steps = (row[f"{key}_{change}"] for key in ("best", "final"))
            seconds = (row[f"{key}_{change}"] for key in ("equal_seconds_best", "equal_seconds"))
            gains = (
                (one, row.get(f"{key}_{'ratio' if one.compare == 'ratio' else 'gain'}"))
                for key, one in others.values()
            )
            table.append(
                (row["name"], row["over"], *(shown(metric, one[metric.compare]) for one in steps),
                 *(_mark(row) + shown(metric, one[metric.compare]) for one in seconds),
                 *(shown(one, gain) if gain else "–" for one, gain in gains))
            )  # fmt: skip
    return table


def costs(results: Mapping[str, Any]) -> Table:
    """Seconds, memory, and what making the forecaster cost."""
    table: Table = [
        ("arm", "seconds a run", "× its base", "compiling, s", "history, bytes a parameter",
         "fit, s", "its corpus, s", "saved a run, s", "pays after")
    ]  # fmt: skip
    for row in results["arms"]:
        cost = results["cost"].get(row["name"], {})
        learned = row["name"] in results["cost"]
        pays = cost.get("pays_after")
        table.append(
            (
                row["name"],
                f"{_mark(row)}{row['seconds']:.3g}",
                "1" if row["over"] is None else f"{_mark(row)}{row['seconds_ratio'][0]:.2f}",
                f"{row['compile_seconds']:.2g}",
                f"{row['history_bytes_per_parameter']:.3g}",
                _seconds(cost.get("fit_seconds"), learned),
                _seconds(cost.get("corpus_seconds"), learned),
                f"{_mark(row)}{cost['saved_seconds']:.3g}" if learned else "",
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
    """What each arm is."""
    table: Table = [("arm", "over", "what it is", "learning rate")]
    for row in results["arms"]:
        chosen = results["rates"].get(row["name"])
        how = f" of {chosen_rates.tried(of(results)[0], chosen)}" if chosen else ""
        table.append(
            (row["name"], row["over"] or "–", row["words"], f"{chosen_rates.of(row)}{how}")
        )
    return table


def forest(results: Mapping[str, Any]) -> list[tuple[str, Ratio, str, Verdict]]:
    """Every arm's speed-up over its own base, for the picture."""
    entries = []
    for row in results["arms"]:
        if row["over"]:
            against = row["against"][row["over"]][results["protocol"]["headline"]]
            found = against["steps"]["speed_up"]
            note = f"{bound(against)}{ratio(found)}  {_reached(results, against)}"
            entries.append((f"{row['name']}  over  {row['over']}", found, note, steps(against)))
    return entries


def sweeps(results: Mapping[str, Any]) -> dict[str, dict[str, list[tuple[float, Ratio, Ratio]]]]:
    """Bases that differ in nothing but a learning rate, three or more: by their words, and by what
    an arm of the same settings over each adds to the base's name, the base's rate, the arm's ratio
    of steps, and how it ends beside it, from the lowest rate up.
    """
    metric = of(results)[0]
    alone = {row["name"]: row for row in results["arms"] if not row["over"]}
    found: dict[str, dict[tuple[str, str], dict[float, tuple[Ratio, Ratio]]]] = {}
    for row in results["arms"]:
        base, name = alone.get(row["over"]), row["name"].removeprefix(f"{row['over']}_")
        if base and name != row["name"]:
            against = row["against"][row["over"]][results["protocol"]["headline"]]
            speed_up = against["steps"]["speed_up"]
            same = (name, str(sorted(row["settings"].items())))
            arms = found.setdefault(base["words"], {})
            arms.setdefault(same, {})[base["learning_rate"]] = (
                speed_up,
                final(metric, row)[metric.compare],
            )
    kept = {
        words: {
            name: [(rate, *arms[name, settings][rate]) for rate in sorted(arms[name, settings])]
            for name, settings in arms
            if len(arms[name, settings]) >= SWEEP
        }
        for words, arms in found.items()
    }
    return {words: arms for words, arms in kept.items() if arms}


def ratio(found: Ratio) -> str:
    """``1.23× [1.20, 1.26]``; without an interval where there is none."""
    return shown(LOSS, found)


def _bold(text: str, said: Verdict) -> str:
    return f"**{text}**" if said.decided else text


def _others(results: Mapping[str, Any]) -> dict[str, tuple[str, Metric]]:
    """What is shown beside the metric that runs are judged by: by title the key of an arm, and its
    metric.

    The other metrics, on the split that is read at the end where there is one; without any, the
    first one there.
    """
    first, *others = of(results)
    last = splits(results)[-1]
    read = any(f"test_{first.name}" in row for row in results["arms"])
    if not read:
        return {f"final {one.name}": (f"final_{one.name}", one) for one in others}
    return {f"{last} {one.name}": (f"test_{one.name}", one) for one in others or [first]}


def markdown(table: Table) -> str:
    """As GitHub shows it."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def _place(results: Mapping[str, Any], against: Mapping[str, Any]) -> str:
    median = against["epochs"]["median"]
    few = against["reached"] <= len(results["protocol"]["seeds"]) / 2
    return f"{'> ' if few else ''}{round(median, 2):g}"


def _reached(results: Mapping[str, Any], against: Mapping[str, Any]) -> str:
    return f"{against['reached']}/{len(results['protocol']['seeds'])}"


def _dip(metric: Metric, value: float | None) -> str:
    return (
        "not finite"
        if value is None or not math.isfinite(value)
        else shown(metric, [value, None, None])
    )


def _mark(row: Mapping[str, Any]) -> str:
    return "" if row["alone"] else SHARED


def _seconds(value: float | None, learned: bool) -> str:
    return f"{value:,.0f}" if value is not None else "not known" if learned else ""
