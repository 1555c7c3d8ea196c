"""Make the cells of tables that compare an arm with its base: a text with its verdict."""

from evaluate.decision import Bound, Ratio, Verdict
from evaluate.metrics import Metric, shown, verdict

SHARED = "≈"
"""The sign before seconds that were measured while something else ran on the machine."""


class Cell(str):
    """The text of a comparison, with its verdict, on which bold and colour depend."""

    verdict: Verdict

    def __new__(cls, text: str, verdict: Verdict) -> "Cell":
        """Make a cell of a text and the verdict of the interval in it."""
        made = super().__new__(cls, text)
        made.verdict = verdict
        return made


def cell(
    metric: Metric,
    found: Ratio,
    bound: Bound = Bound.NONE,
    *,
    regret: bool = False,
    shared: bool = False,
    note: str = "",
) -> Cell:
    """A comparison as the cell of a table.

    Args:
        metric: The metric that is compared.
        found: ``(value, low, high)``.
        bound: The bound that is printed before the value.
        regret: Whether a lower value is better whatever the metric, as it is for a regret, an error
            or a share of steps.
        shared: Whether seconds were measured while something else ran; then nothing is decided.
        note: What follows the interval.

    Examples:
        >>> from collect.tasks import LOSS
        >>> from evaluate.cells import cell, marked
        >>> marked(cell(LOSS, [1.13, 1.02, 1.25], note=" 5/5"))
        '**1.13× [1.02, 1.25] 5/5**'
        >>> marked(cell(LOSS, [1.13, 1.02, 1.25], shared=True))
        '≈1.13× [1.02, 1.25]'
    """
    said = Verdict.UNDECIDED if shared else verdict(metric, found, bound, regret=regret)
    return Cell(SHARED * shared + bound + shown(metric, found) + note, said)


def marked(text: str) -> str:
    """The text of a cell in Markdown: bold where the cell's verdict shows a difference."""
    return f"**{text}**" if isinstance(text, Cell) and text.verdict.decided else text
