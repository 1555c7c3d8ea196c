"""The report: one self-contained HTML page, and the table as text."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from nowcast.evaluation import pictures
from nowcast.evaluation.arms import ALONE, CONSTANT, TUNED
from nowcast.evaluation.statistics import SMOOTHING
from nowcast.text import align

HEADER = (
    "arm",
    "learning rate",
    "epochs to target",
    "reached",
    "speed-up [95 %]",
    "best loss",
    "final loss",
    "test acc.",
    "worst rise",
)

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.2rem; }
.scroll { overflow-x: auto; } svg { max-width: 100%; min-width: 40rem; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); }
th:first-child, td:first-child { text-align: left; } tr.base td { font-weight: 600; }
li { margin: .3rem 0; } .quiet { opacity: .75; font-size: .92rem; }
pre { padding: .8rem; overflow-x: auto; background: color-mix(in srgb, currentColor 8%, transparent); border-radius: .4rem; font-size: .85rem; }
"""


def rows(results: Mapping[str, Any], base: str, target: str = "own_target") -> list[tuple[str, ...]]:
    """The table's rows for one base, as text; ``target`` is ``own_target`` or ``constant_target``."""
    table: list[tuple[str, ...]] = []
    for row in results["arms"]:
        if row["base"] != base:
            continue
        against, seeds = row[target], len(results["plan"]["seeds"])
        value, low, high = against["speed_up"]
        measured = row["forecaster"] != ALONE or target == "constant_target"
        epochs = (
            f"{against['median_epochs']:g}" if against["reached"] > seeds / 2 else f"> {against['median_epochs']:g}"
        )
        table.append(
            (
                row["name"].replace(f"-{ALONE}", ""), f"{row['learning_rate']:g} {row['schedule']}", epochs,
                f"{against['reached']}/{seeds}", f"{value:.2f}× [{low:.2f}, {high:.2f}]" if measured else "1",
                f"{row['best_loss']:.4f}", f"{row['final_loss']:.4f}", f"{row['test_accuracy']:.4f}",
                f"×{row['worst_rise']:.2f}",
            )
        )  # fmt: skip
    return table


def ladder(results: Mapping[str, Any], base: str) -> list[tuple[str, ...]]:
    """The speed-ups over one base at every target of the ladder, as text, header first."""
    targets = results["choice"]["ladder"][base]
    table: list[tuple[str, ...]] = [
        ("speed-up to", *(f"loss {t:.4f} ({float(s):.0%} of the base)" for s, t in targets.items()))
    ]
    for row in results["arms"]:
        if row["base"] == base and row["forecaster"] != ALONE:
            cells = [(*row["ladder"][share]["speed_up"], row["ladder"][share]["reached"]) for share in targets]
            seeds = len(results["plan"]["seeds"])
            table.append((row["name"], *(f"{v:.2f}× [{lo:.2f}, {hi:.2f}] {n}/{seeds}" for v, lo, hi, n in cells)))
    return table


def text(results: Mapping[str, Any]) -> str:
    """The table for a terminal, with targets and verdicts."""
    lines = []
    for base in (CONSTANT, TUNED):
        target = results["choice"]["targets"][base]
        lines.append(f"\n{pictures.TITLES[base]}; target: validation loss {target:.4f}, fixed on calibration seeds")
        lines += align([HEADER, *rows(results, base)])
        lines += ["", *align(ladder(results, base))]
    return "\n".join([*lines, "", *(f"- {verdict}" for verdict in results["verdicts"])])


def page(
    results: Mapping[str, Any], *, jump_every: float | None, commands: Sequence[str], versions: Mapping[str, str]
) -> str:
    """The whole report as one HTML page: pictures inside, nothing loaded from elsewhere."""
    about, plan, choice = results["about"], results["plan"], results["choice"]
    esc = html.escape
    finals = ", ".join(f"{rate}: {loss:.4f}" for rate, loss in choice["final_loss"].items())
    edge = " The best rate lies at the edge of the grid: a wider one may do better." if choice["at_edge"] else ""
    parts = [
        f"<h1>Weight nowcasting on {esc(about['task'])}</h1>",
        f"<p>{esc(about['optimizer'])}, batch {about['batch_size']}, {about['epochs']} epochs, {len(plan['seeds'])} seeds. "
        f"{esc(about['seen'])}</p>",
        "<h2>What came out</h2><ul>" + "".join(f"<li>{esc(line)}</li>" for line in results["verdicts"]) + "</ul>",
        f'<div class="scroll">{pictures.svg(pictures.curves(results, jump_every=jump_every), "curves")}</div>',
        '<p class="quiet">Median and quartiles over seeds, measured after a jump where there is one. Dashed: the target. '
        "Dots: median crossing. Dotted: jumps. Spikes above twice the initial loss leave the panel; the tables give their size.</p>",
        f'<div class="scroll">{pictures.svg(pictures.forest(results), "forest")}</div>',
    ]
    for base in (CONSTANT, TUNED):
        target = choice["targets"][base]
        gain = "a gain over a constant rate" if base == CONSTANT else "a gain over the tuned base"
        parts.append(
            f"<h2>{pictures.TITLES[base]}</h2><p>Target: validation loss {target:.4f}. A speed-up here is {gain}.</p>"
        )
        parts.append(_table([HEADER, *rows(results, base)]))
        parts.append("<p>At other targets, fixed at the same time; behind each interval the runs that got there.</p>")
        parts.append(_table(ladder(results, base)))
    parts += [
        "<h2>Everything against the constant rate</h2><p>The same runs, all to the constant base's target "
        f"({choice['targets'][CONSTANT]:.4f}), all speed-ups over constant rate alone. What the first row of the tuned base gains here "
        "is had without any forecaster.</p>",
        _table([HEADER, *rows(results, CONSTANT, "constant_target"), *rows(results, TUNED, "constant_target")]),
        "<h2>How it was measured</h2><ul>"
        "<li>Paired: all arms of a seed share initial weights and the order of the data.</li>"
        f"<li>Learning rate of the tuned base and both targets come from {len(plan['calibration_seeds'])} calibration seeds of the bases alone, "
        "fixed before any other run. Median final validation loss by rate: "
        f"{esc(finals)}; chosen: {choice['learning_rate']:g}.{edge}</li>"
        f"<li>A target is what a base has reached, in the median, after {plan['target_share']:.0%} of its length. It is crossed when the mean of "
        f"{SMOOTHING} consecutive validation losses is at or below it; a run that never crosses counts with its full length.</li>"
        "<li>Speed-up: geometric mean over seeds of the paired ratio of epochs, 95 % percentile bootstrap over seeds. Words are chosen by a stricter test, a paired t-interval.</li>"
        "<li>Best and final loss are on the validation part, in the median; the test set is read once, at the end. Worst rise: the largest "
        "factor by which the validation loss went up from one evaluation to the next.</li></ul>",
        "<h2>To make it again</h2><pre>" + esc("\n".join(commands)) + "</pre>",
        '<p class="quiet">' + esc(", ".join(f"{name} {version}" for name, version in versions.items())) + "</p>",
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Nowcasting {esc(about["task"])}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>\n'


def _table(lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in lines[0])
    body = "".join(
        f"<tr{'' if '-' in line[0] else ' class=base'}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in line)
        + "</tr>"
        for line in lines[1:]
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
