"""Write the report of one task: as an HTML page, as Markdown, and as text for a terminal."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from collect.figures import Figure
from evaluate import answer, arm_tables, budget, pictures, robust, sentences, tables, words
from evaluate.cells import Cell, marked
from evaluate.decision import Line, Verdict
from evaluate.drawing import svg
from evaluate.protocol import BUDGET, ROBUST
from evaluate.tables import Table
from evaluate.task_pictures import section
from nowcast.text import align

STYLE = """
:root {
  color-scheme: light dark;
  --line: color-mix(in srgb, currentColor 16%, transparent);
  --soft: color-mix(in srgb, currentColor 6%, transparent);
}
body {
  font: 16px/1.55 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1.1rem;
}
h1 { line-height: 1.2; margin-bottom: .3rem; }
h2 { margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { margin: 1.4rem 0 .4rem; }
.scroll {
  overflow-x: auto;
  background:
    linear-gradient(90deg, Canvas 40%, transparent) 0 0 / 2.5rem 100% no-repeat local,
    linear-gradient(270deg, Canvas 40%, transparent) 100% 0 / 2.5rem 100% no-repeat local,
    linear-gradient(90deg, var(--line), transparent) 0 0 / .8rem 100% no-repeat,
    linear-gradient(270deg, var(--line), transparent) 100% 0 / .8rem 100% no-repeat;
}
svg { max-width: 100%; min-width: 38rem; height: auto; display: block; }
table {
  border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .84rem; margin: .4rem 0;
}
th { font-weight: 600; vertical-align: bottom; max-width: 7rem; white-space: normal; }
td { white-space: nowrap; }
th, td { padding: .32rem .45rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } tbody tr:hover { background: var(--soft); }
table.words td, table.words th {
  text-align: left; white-space: normal; max-width: 34rem; vertical-align: top;
}
.better { color: light-dark(#0b5cad, #7db8f5); } .worse { color: light-dark(#a8203a, #f29aa9); }
.made { display: flex; flex-wrap: wrap; gap: 1rem; } .made figure { margin: 0; }
.made img { image-rendering: pixelated; min-width: 16rem; max-width: 100%; }
li { margin: .3rem 0; } .note { opacity: .78; font-size: .92rem; } .facts { margin-top: 0; }
pre {
  padding: .8rem; overflow-x: auto; background: var(--soft); border-radius: .4rem;
  font-size: .85rem;
}
.answer { font-size: 1.15rem; margin: .6rem 0; }
"""
COLOURS = {Verdict.BETTER: "better", Verdict.WORSE: "worse", Verdict.DIVERGED: "worse"}
"""The CSS class of a sentence, or of a cell, with this verdict."""


def page(results: Mapping[str, Any], made: Mapping[str, bytes] | None = None) -> str:
    """The report of one task as an HTML page that holds its pictures and loads nothing.

    Args:
        results: From :func:`evaluate.summarise`.
        made: The picture that the task made of each arm's first run, as PNG files.
    """
    about = results["about"]
    parts = [
        f"<h1>Ways to train, compared on {_esc(about['task'])}</h1>",
        answered(answer.sentence(results)),
        f'<p class="note facts">{_esc(words.setting(results))}</p>',
    ]
    if lines := sentences.lines(results):
        parts += ["<h2>What came out</h2>", coloured(lines)]
    parts += {ROBUST: _from_any_rate, BUDGET: _honest_speed_up}.get(
        words.protocol(results), _compared
    )(results)
    parts += section(made or {})
    if len(rows := arm_tables.jumps(results)) > 1:
        parts += ["<h2>What jumps did</h2>", f"<p>{_esc(words.JUMPS)}</p>", table(rows)]
    if len(rows := arm_tables.forecasts(results)) > 1:
        parts += [
            "<h2>How good the forecasts are</h2>",
            f"<p>{_esc(words.FORECASTS)}</p>",
            table(rows),
        ]
    parts += [
        "<h2>What it cost</h2>",
        f"<p>{_esc(words.costs(results))}</p>",
        table(arm_tables.costs(results)),
    ]
    parts += [
        "<h2>The arms</h2>",
        table(arm_tables.described(results), "words"),
        listed(about["seen"]),
    ]
    parts += closing([results], results["commands"])
    return document(f"Compared on {about['task']}: {words.protocol(results)} protocol", parts)


def _from_any_rate(results: Mapping[str, Any]) -> list[str]:
    """The parts of the page for the robust protocol.

    They are the regrets from every start, their picture, the steps to the base's targets, and the
    runs.
    """
    parts = [
        "<h2>From any rate</h2>",
        f"<p>{_esc(robust.words(results))}</p>",
        table(robust.regrets(results)),
    ]
    parts.append(figure(pictures.drawn(results)["robust"], "robust"))
    parts.append("<h2>Steps to what the base had reached</h2>")
    base = results["robust"]["base"]
    parts += [table(robust.steps(results, share)) for share in results["targets"][base]]
    return [*parts, *over(results, base)]


def _honest_speed_up(results: Mapping[str, Any]) -> list[str]:
    """The parts of the page for the budget protocol: speed-ups, their picture, and the runs."""
    parts = ["<h2>An honest speed-up</h2>", f"<p>{_esc(budget.words(results))}</p>"]
    parts += [table(budget.speed_ups(results)), f'<p class="note">{_esc(words.BEYOND)}</p>']
    parts.append(figure(pictures.drawn(results)["budget"], "budget"))
    parts += ["<h2>The base at every length</h2>", table(budget.base(results))]
    return [*parts, *over(results, results["budget"]["base"])]


def own_table(results: Mapping[str, Any]) -> tuple[str, Table] | None:
    """``(explanation, table)`` of the robust and the budget protocol; None for the others."""
    own = {ROBUST: (robust.words, robust.regrets), BUDGET: (budget.words, budget.speed_ups)}.get(
        words.protocol(results)
    )
    return own and (own[0](results), own[1](results))


def _compared(results: Mapping[str, Any]) -> list[str]:
    """The parts of the page for the honest and the paper's protocol.

    They are the gains of the arms, a table for each base, and the course of the runs.
    """
    parts: list[str] = []
    if entries := tables.forest(results):
        label = "steps of the base / steps of the arm, to the target (above 1: faster)"
        parts += [
            figure(pictures.forest(entries, label), "forest"),
            f'<p class="note">{_esc(words.FOREST)}</p>',
        ]
    drawn = pictures.drawn(results)
    if "sweep" in drawn:
        parts += [
            "<h2>From rate to rate</h2>",
            figure(drawn["sweep"], "sweep"),
            f'<p class="note">{_esc(words.SWEEP)}</p>',
        ]
    panels = tables.panels(results)
    for base in panels:
        parts += over(results, base)
        if len(results["targets"][base]) > 1 and len(panels[base]) > 1:
            parts.append("<h3>At the other targets, fixed at the same time</h3>")
            parts.append(table(tables.ladder(results, base)))
    parts += [
        "<h2>How the runs went</h2>",
        figure(drawn["curves"], "curves"),
        f'<p class="note">{_esc(words.curves(results))}</p>',
    ]
    if len(panels) > 1:
        parts.append("<h2>Everything against each base</h2>")
        parts.append(f"<p>{_esc(words.EVERYTHING)}</p>")
        parts += [
            f"<h3>To the target of {_esc(b)}</h3>" + table(tables.everything(results, b))
            for b in panels
        ]
    if len(rows := arm_tables.metrics(results)) > 1:
        parts += [
            "<h2>After as many steps, and after as many seconds</h2>",
            f"<p>{_esc(words.metrics_table(results))}</p>",
            table(rows),
        ]
    return parts


def over(results: Mapping[str, Any], base: str, level: int = 2) -> list[str]:
    """The section of a base: its target, and the table of the arms over it.

    Args:
        results: From :func:`evaluate.summarise`.
        base: The base's name.
        level: The level of the HTML heading.
    """
    heading = f"<h{level}>Over {_esc(base)}</h{level}>"
    return [
        heading,
        f"<p>{_esc(words.target(results, base))}</p>",
        table(tables.main(results, base)),
    ]


def closing(all_results: Sequence[Mapping[str, Any]], commands: Sequence[str]) -> list[str]:
    """The last sections of a page: method, commands and versions, for one task or several."""
    parts = [
        "<h2>How it was measured</h2>",
        listed(list(dict.fromkeys(line for one in all_results for line in words.method(one)))),
    ]
    if commands:
        parts += ["<h2>To make it again</h2>", "<pre>" + _esc("\n".join(commands)) + "</pre>"]
    each = dict.fromkeys(words.versions(one) for one in all_results)
    return [*parts, *(f'<p class="note">{_esc(line)}</p>' for line in each)]


def markdown(results: Mapping[str, Any]) -> str:
    """The report as Markdown, without pictures."""
    lines = [f"### {results['about']['task']}", "", f"**{answer.sentence(results)}**", ""]
    lines += [words.setting(results), ""]
    if own := own_table(results):
        lines += [own[0], "", tables.markdown(own[1]), ""]
    for base in [] if own else tables.panels(results):
        lines += [
            f"**Over {base}.** {words.target(results, base)}",
            "",
            tables.markdown(tables.main(results, base)),
            "",
        ]
    lines += [f"- {line}" for line in sentences.texts(results)]
    return "\n".join(
        [
            *lines,
            *words.notes(results, lines),
            *words.commands_as_markdown(results["commands"][-1:]),
            "",
        ]
    )


def text(results: Mapping[str, Any]) -> str:
    """The report as text for a terminal: tables, targets and verdicts."""
    lines = ["", answer.sentence(results)]
    if own := own_table(results):
        lines += ["", own[0], *_aligned(own[1])]
    panels = {} if own else tables.panels(results)
    for base in panels:
        lines += [
            "",
            f"over {base}. {words.target(results, base)}",
            *_aligned(tables.main(results, base)),
        ]
        if len(results["targets"][base]) > 1 and len(panels[base]) > 1:
            lines += ["", *_aligned(tables.ladder(results, base))]
    lines += ["", *(f"- {line}" for line in sentences.texts(results))]
    return "\n".join([*lines, *words.notes(results, lines)])


def _aligned(rows: Table) -> list[str]:
    """A table as text for a terminal, with ``**`` around what is bold elsewhere."""
    return align([[marked(cell) for cell in row] for row in rows])


def document(title: str, parts: Sequence[str]) -> str:
    """A complete HTML page with this title, whose body is the parts joined."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_esc(title)}</title><style>{STYLE}</style>"
    )
    body = "".join(parts)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def answered(sentence: str) -> str:
    """The first paragraph of a page, with names between backticks as code."""
    parts = _esc(sentence).split("`")
    marked = "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(parts))
    return f'<p class="answer">{marked}</p>'


def listed(lines: Sequence[str]) -> str:
    """Sentences as an HTML list."""
    return "<ul>" + "".join(f"<li>{_esc(line)}</li>" for line in lines) + "</ul>"


def coloured(lines: Sequence[Line]) -> str:
    """Sentences as an HTML list, each in the colour of its verdict."""

    def kind(line: Line) -> str:
        found = COLOURS.get(line.verdict) if line.verdict else None
        return f' class="{found}"' if found else ""

    return "<ul>" + "".join(f"<li{kind(one)}>{_esc(one.text)}</li>" for one in lines) + "</ul>"


def figure(drawn: Figure, name: str) -> str:
    """A picture as HTML, which scrolls on a narrow screen; its ids begin with ``name``."""
    return f'<div class="scroll">{svg(drawn, name)}</div>'


def table(rows: Table, kind: str = "") -> str:
    """A table as HTML, which scrolls on a narrow screen; ``kind`` is its CSS class."""
    head = "".join(f"<th>{_esc(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_bold(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    attribute = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll"><table{attribute}>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _bold(text: str) -> str:
    """The text of a cell as HTML: bold, and in its colour, where it shows a difference."""
    if isinstance(text, Cell) and text.verdict.decided:
        return f'<b class="{COLOURS[text.verdict]}">{_esc(text)}</b>'
    return _esc(text)


def _esc(text: str) -> str:
    return html.escape(text)
