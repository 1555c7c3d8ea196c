"""Make the single figures that a page of results quotes in tables of its own."""

from collections.abc import Mapping
from typing import Any

from collect.tasks.protocol import LOSS
from evaluate.cells import Cell, cell
from evaluate.folder import with_nan
from evaluate.joint import JOINT, final_key
from evaluate.judged import bound, bound_over_tasks, final
from evaluate.metrics import Metric, compared, of, splits
from nowcast.types import UserError

KINDS = ("steps", "final", "test")


def figure(results: Mapping[str, Any], arm: str, kind: str) -> Cell:
    """An arm's comparison with its base, as the tables made from the same results print it.

    Args:
        results: Of one task from :func:`evaluate.joining.read`, or of several from
            :func:`evaluate.joint.join`.
        arm: The arm's name.
        kind: ``steps`` to the headline's target, or to another one such as ``steps@0.5``; ``final``
            for the final value that runs are judged by; ``test`` for the same metric on the last
            split, which was read once at the end. Of several tasks ``steps`` and ``final`` alone.

    Raises:
        UserError: The results have no such arm over another, or no such figure.
    """
    row = next((row for row in results["arms"] if row["name"] == arm and row["over"]), None)
    what, _, share = kind.partition("@")
    if row is None or what not in KINDS:
        raise UserError(
            f"figure {arm} {kind}: name an arm that is over another one, and one of"
            f" {', '.join(KINDS)}"
        )
    try:
        found = _over_tasks if results["schema"] == JOINT else _of_a_task
        return found(results, row, what, share)
    except KeyError as missing:
        raise UserError(f"figure {arm} {kind}: the results have no {missing}") from None


def _over_tasks(results: Mapping[str, Any], row: Mapping[str, Any], what: str, _: str) -> Cell:
    if what == "steps":
        return cell(LOSS, row["speed_up"]["all"], bound_over_tasks(row["speed_up"]))
    metric = Metric(**results["metric"])
    return cell(metric, row[{"final": final_key(metric)}[what]]["all"])


def _of_a_task(results: Mapping[str, Any], row: Mapping[str, Any], what: str, share: str) -> Cell:
    metric = of(results)[0]
    if what == "steps":
        against = row["against"][row["over"]][share or results["protocol"]["headline"]]
        return cell(LOSS, against["steps"]["speed_up"], bound(against))
    if what == "final":
        return cell(metric, final(metric, row)[metric.compare])
    key = f"{splits(results)[-1]}_{metric.name}"
    ends = (
        [with_nan(run[key])[-1] for run in results["curves"][name]]
        for name in (row["over"], row["name"])
    )
    return cell(metric, compared(metric, *ends)[metric.compare])
