"""The report: one self-contained HTML page, the same as Markdown, and the tables for a terminal."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from collect.figures import Figure
from evaluate import pictures, tables
from evaluate.protocol import HONEST
from evaluate.tables import Table
from evaluate.verdicts import tone
from nowcast.text import align

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 16%, transparent); --soft: color-mix(in srgb, currentColor 6%, transparent); }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1.1rem; }
h1 { line-height: 1.2; margin-bottom: .3rem; } h2 { margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); } h3 { margin: 1.4rem 0 .4rem; }
.scroll { overflow-x: auto; background: linear-gradient(90deg, Canvas 40%, transparent) 0 0 / 2.5rem 100% no-repeat local, linear-gradient(270deg, Canvas 40%, transparent) 100% 0 / 2.5rem 100% no-repeat local,
  linear-gradient(90deg, var(--line), transparent) 0 0 / .8rem 100% no-repeat, linear-gradient(270deg, var(--line), transparent) 100% 0 / .8rem 100% no-repeat; } svg { max-width: 100%; min-width: 38rem; height: auto; display: block; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .84rem; margin: .4rem 0; }
th { font-weight: 600; vertical-align: bottom; max-width: 7rem; white-space: normal; } td { white-space: nowrap; }
th, td { padding: .32rem .45rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } tbody tr:hover { background: var(--soft); }
table.words td, table.words th { text-align: left; white-space: normal; max-width: 34rem; vertical-align: top; }
.better { color: light-dark(#0b5cad, #7db8f5); } .worse { color: light-dark(#a8203a, #f29aa9); }
li { margin: .3rem 0; } .quiet { opacity: .78; font-size: .92rem; } .facts { margin-top: 0; }
pre { padding: .8rem; overflow-x: auto; background: var(--soft); border-radius: .4rem; font-size: .85rem; }
"""


def page(results: Mapping[str, Any]) -> str:
    """The whole report of one task as an HTML page: pictures inside, nothing loaded from elsewhere."""
    about, protocol = results["about"], results["protocol"]
    parts = [
        f"<h1>Ways to train, compared on {_esc(about['task'])}</h1>",
        f'<p class="quiet facts">{_esc(setting(results))}</p>',
    ]
    if results["verdicts"]:
        parts += ["<h2>What came out</h2>", listed(results["verdicts"], mark=True)]
    if entries := tables.forest(results):
        label = "steps of the base / steps of the arm, to the target (above 1: faster)"
        parts += [figure(pictures.forest(entries, label), "forest"), f'<p class="quiet">{_esc(FOREST)}</p>']
    drawn = pictures.drawn(results)
    if "sweep" in drawn:
        parts += ["<h2>From rate to rate</h2>", figure(drawn["sweep"], "sweep"), f'<p class="quiet">{_esc(SWEEP)}</p>']
    panels = tables.panels(results)
    for base in panels:
        parts += over(results, base)
        if len(results["targets"][base]) > 1 and len(panels[base]) > 1:
            parts.append("<h3>At the other targets, fixed at the same time</h3>")
            parts.append(table(tables.ladder(results, base)))
    parts += ["<h2>How the runs went</h2>", figure(drawn["curves"], "curves"), f'<p class="quiet">{_esc(_curves(results))}</p>']  # fmt: skip
    if len(panels) > 1:
        parts.append("<h2>Everything against each base</h2>")
        parts.append(f"<p>{_esc(EVERYTHING)}</p>")
        parts += [f"<h3>To the target of {_esc(b)}</h3>" + table(tables.everything(results, b)) for b in panels]
    if len(rows := tables.metrics(results)) > 1:
        parts += ["<h2>After as many steps, and after as many seconds</h2>", f"<p>{_esc(METRICS)}</p>", table(rows)]
    if len(rows := tables.jumps(results)) > 1:
        parts += ["<h2>What jumps did</h2>", f"<p>{_esc(JUMPS)}</p>", table(rows)]
    if len(rows := tables.forecasts(results)) > 1:
        parts += ["<h2>How good the forecasts are</h2>", f"<p>{_esc(FORECASTS)}</p>", table(rows)]
    parts += ["<h2>What it cost</h2>", f"<p>{_esc(_costs(results))}</p>", table(tables.costs(results))]
    parts += ["<h2>The arms</h2>", table(tables.described(results), "words"), listed(about["seen"])]
    parts += closing([results], results["commands"])
    return document(f"Compared on {about['task']}: {protocol['name']} protocol", parts)


def over(results: Mapping[str, Any], base: str, level: int = 2) -> list[str]:
    """A base with the arms over it: its target and the table, under a heading."""
    heading = f"<h{level}>Over {_esc(base)}</h{level}>"
    return [heading, f"<p>{_esc(target(results, base))}</p>", table(tables.main(results, base))]


def closing(all_results: Sequence[Mapping[str, Any]], commands: Sequence[str]) -> list[str]:
    """How a page ends: the method, the commands, the versions; of one task or of several."""
    parts = [
        "<h2>How it was measured</h2>",
        listed(list(dict.fromkeys(line for one in all_results for line in method(one)))),
    ]
    if commands:
        parts += ["<h2>To make it again</h2>", "<pre>" + _esc("\n".join(commands)) + "</pre>"]
    each = dict.fromkeys(versions(one) for one in all_results)
    return [*parts, *(f'<p class="quiet">{_esc(line)}</p>' for line in each)]


def markdown(results: Mapping[str, Any]) -> str:
    """The tables and the words, for a README."""
    lines = [f"### {results['about']['task']}", "", setting(results), ""]
    for base in tables.panels(results):
        lines += [f"**Over {base}.** {target(results, base)}", "", tables.markdown(tables.main(results, base)), ""]
    lines += [f"- {verdict}" for verdict in results["verdicts"]]
    return "\n".join([*lines, *_notes(results, lines), *made_by(results["commands"][-1:]), ""])


def made_by(commands: Sequence[str]) -> list[str]:
    """The commands that make results again, where they are known, as Markdown after an empty line."""
    known = [command for command in commands if command]
    return ["", "```bash", *known, "```"] if known else []


def text(results: Mapping[str, Any]) -> str:
    """The tables for a terminal, with targets and verdicts."""
    lines = []
    panels = tables.panels(results)
    for base in panels:
        lines += ["", f"over {base}. {target(results, base)}", *align(tables.main(results, base))]
        if len(results["targets"][base]) > 1 and len(panels[base]) > 1:
            lines += ["", *align(tables.ladder(results, base))]
    lines += ["", *(f"- {verdict}" for verdict in results["verdicts"])]
    return "\n".join([*lines, *_notes(results, lines)])


def _notes(results: Mapping[str, Any], lines: Sequence[str]) -> list[str]:
    """What runs were trained apart, and what the signs in these lines mean."""
    said = {tables.SHARED: SHARED, "≥": BOUND, "≤": BOUND}
    marks = dict.fromkeys(meaning for sign, meaning in said.items() if any(sign in line for line in lines))
    return [f"- {note}" for note in [*_mixed(results), *marks]]


def _mixed(results: Mapping[str, Any]) -> list[str]:
    """That an arm and its base, with one seed, were trained on machines that differ, if so."""
    machines = {name: [run.get("machine") for run in runs] for name, runs in results["curves"].items()}
    apart = []
    for row in results["arms"]:
        places = zip(
            results["protocol"]["seeds"], machines[row["name"]], machines[row["over"] or row["name"]], strict=True
        )
        if seeds := [str(seed) for seed, own, base in places if own != base]:
            apart.append(f"{row['name']} (seed {', '.join(seeds)})")
    if not apart:
        return []
    return [
        f"Trained on another machine than the base, or on another number of cores: {', '.join(apart)}. Where that rounds otherwise runs part at the first step "
        "and not at the first jump, so that two runs alone would differ too: remove one of the two from runs/ and give the command again."
    ]


def document(title: str, parts: Sequence[str]) -> str:
    """An HTML page of these parts."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_esc(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>\n'


def setting(results: Mapping[str, Any]) -> str:
    """What was trained, in a sentence, and whether a forecaster had seen it."""
    about, seeds = results["about"], len(results["protocol"]["seeds"])
    first = (
        f"{about['task']}{_more(about['more'])}, {about['epochs']} epochs of {about['steps_per_epoch']} steps, a snapshot every {about['record_every']} steps, {seeds} paired "
        f"seed{'s' * (seeds > 1)}, {results['protocol']['name']} protocol."
    )
    left = [f"Left out, for want of its forecaster: {', '.join(about['left_out'])}."] if about["left_out"] else []
    return " ".join([first, *_spacing(results), *(line for line in about["seen"] if "ALREADY" in line), *left])


def _spacing(results: Mapping[str, Any]) -> list[str]:
    """Which arms' windows are of every second snapshot, or every third, if any are."""
    found: dict[int, list[str]] = {}
    for row in results["arms"]:
        jump = row["settings"]["jump"]
        if row["settings"]["forecaster"] and jump["every"] > 1:
            found.setdefault(jump["every"], []).append(row["name"])
    return [f"Windows of snapshots {every} apart: {', '.join(names)}." for every, names in sorted(found.items())]


def _more(more: Mapping[str, Any]) -> str:
    """The settings of a task of ours, in words; what another one says of itself."""
    words = []
    for key, value in more.items():
        inside = (
            ", ".join(f"{k} {v}" for k, v in value.items() if v is not None) if isinstance(value, Mapping) else value
        )
        words.append(f"{key} {inside}".replace("_", " ").replace(" name ", " "))
    return f" ({'; '.join(words)})" if words else ""


def method(results: Mapping[str, Any]) -> list[str]:
    """The protocol in sentences."""
    protocol = results["protocol"]
    lines = [
        "Paired: all arms of a seed share initial weights and the order of the data, and are equal until the first jump (to rounding, where seeds train as one program)."
    ]
    calibration = len(protocol["calibration_seeds"])
    if protocol["name"] == HONEST:
        lines += [
            f"Targets come from {calibration} calibration seeds of the bases alone (seeds {protocol['calibration_seeds']}), were written down before any "
            "other arm ran, and are what a base has reached, in the median, after 50, 75 and 95 % of its length. A target is crossed when "
            f"the mean of {protocol['smoothing']} consecutive validation losses is at or below it; a run that never crosses counts with its full length.",
            "The validation images are held out of the training data. The test set is read once, at the end.",
        ]
    else:
        lines.append(
            "By the WNN paper's protocol: the first crossing of an accuracy on the test set, at every snapshot, measured before a jump where there "
            "is one. The test set decides, and the dip after a jump does not count: compare these numbers with the paper's, and no others."
        )
    if results["rates"]:
        lines.append(
            f"A tuned learning rate is the one of the grid with the lowest median validation loss at the end of {calibration} calibration runs."
        )
    return [
        *lines,
        *_mixed(results),
        "Speed-up: the geometric mean over seeds of the paired ratio, with a 95 % percentile bootstrap over seeds. The words are chosen by a stricter "
        "test, a paired t-interval of the log-ratio, in which seeds scatter at least as the distance of two evaluations makes them. No correction is made for "
        "the number of arms: of twenty that do nothing one is expected to stand out. Runs that diverged stay in, with their full length.",
        "Final loss: the last smoothed one, in the median over seeds; its ratio is paired. Equal seconds: where the faster of the two is at its end.",
        "Seconds are of training alone, with steps, snapshots' history and jumps, without compiling and evaluating. "
        f"{SHARED} {BOUND}",
    ]  # fmt: skip


def versions(results: Mapping[str, Any]) -> str:
    """And machines, on one line."""
    machines = [one for one in results["machines"] if one != "None"]
    return ", ".join([*(f"{name} {version}" for name, version in results["versions"].items()), *machines])


SHARED = (
    f"{tables.SHARED} marks seconds of runs that did not have the machine to themselves: read them as no more than a hint "
    "(workers=1 measures them)."
)
BOUND = "≥ and ≤: runs that do not reach the target, of the base or of the arm, count with their whole length, so that the ratio is no more than a bound."
METRICS = (
    "Paired ratios of losses (above 1: the arm's are lower), and paired differences of the test accuracy, over the base's, with 95 % intervals. "
    "Equal seconds: where the faster of the two is at its end."
)
EVERYTHING = (
    "The same runs, all to one base's target. What a tuned base gains over a constant rate, any arm over it has for nothing: "
    "a gain over a constant rate is not a gain over what you could have anyway."
)
SWEEP = (
    "Arms over bases that differ in their learning rate alone, each over its own: what they gain there, with 95 % intervals (above 1: faster, lower). Rates that are higher "
    "may be better without any arm: the tables below have every arm against every base."
)
JUMPS = (
    "The loss right after a jump over the one right before it, the median and the largest over all jumps of all runs; and the steps until the "
    "loss was back (as far as evaluations can tell; those that never came back count to the end of the run)."
)


FOREST = (
    "Each arm over its own base, with 95 % intervals; at the right the runs that reached the target. "
    "Blue: faster; red: slower; grey: no difference that these seeds can show, by the stricter test that chooses the words."
)
FORECASTS = (
    "On the runs of the base, which never jump: the absolute error of the forecasts over that of the last value, by operation. Below 1: better than "
    "staying; 1: no better. Windows are where the arm's own jumps would be; geometric mean over seeds with 95 % intervals. "
    "A forecaster that is not here has no window with its horizon in such a run."
)


def target(results: Mapping[str, Any], base: str) -> str:
    """The headline's target of a base, in a sentence."""
    headline = results["protocol"]["headline"]
    value = results["targets"][base][headline]
    if results["protocol"]["name"] != HONEST:
        return f"Target: {100 * value:g} % on the test set, first crossing, before a jump."
    return f"Target: validation loss {value:.4f}, where {base} is after {float(headline):.0%} of its length."


def _curves(results: Mapping[str, Any]) -> str:
    when = "after" if results["protocol"]["name"] == HONEST else "before"
    return (
        f"Median and quartiles over seeds, measured {when} a jump where there is one. Triangles: jumps. Dashed: the target. Dots: the median "
        "crossing, where most runs cross. What lies above twice the initial loss, or diverged, leaves the panel; the table of jumps gives its size."
    )


def _costs(results: Mapping[str, Any]) -> str:
    said = "Medians over seeds."
    if not results["alone"]:
        said += f" {tables.SHARED}: not all of these runs had the machine to themselves."
    if results["cost"]:
        said += (
            " A learned forecaster pays after so many runs: the seconds of its fit and of training its corpus, over those that it saves "
            "a run on the way to the target."
        )
    return said


def listed(lines: Sequence[str], mark: bool = False) -> str:
    """A list; with ``mark`` in the colour of what it says."""

    def kind(line: str) -> str:
        found = tone(line) if mark else ""
        return f' class="{found}"' if found else ""

    return "<ul>" + "".join(f"<li{kind(line)}>{_esc(line)}</li>" for line in lines) + "</ul>"


def figure(drawn: Figure, name: str) -> str:
    """A picture that scrolls on a narrow screen; its ids begin with ``name``."""
    return f'<div class="scroll">{pictures.svg(drawn, name)}</div>'


def table(rows: Table, kind: str = "") -> str:
    """A table that scrolls on a narrow screen."""
    head = "".join(f"<th>{_esc(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_esc(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    attribute = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{attribute}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _esc(words: str) -> str:
    return html.escape(words)
