"""Collect the sentences of a report, by any protocol: what came out, and the cautions."""

from collections.abc import Mapping
from typing import Any

from evaluate import budget, cautions, robust, verdicts
from evaluate.decision import Line


def lines(results: Mapping[str, Any]) -> list[Line]:
    """The sentences on the results, and the cautions, with their verdicts."""
    if "robust" in results:
        return [Line(robust.sentence(results)), *cautions.lines(results)]
    if "budget" in results:
        return [*budget.lines(results), *cautions.lines(results)]
    return verdicts.lines(results)


def texts(results: Mapping[str, Any]) -> list[str]:
    """The texts of :func:`lines`, which ``results.json`` has under ``verdicts``."""
    return [line.text for line in lines(results)]
