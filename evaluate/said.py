"""The sentences of a report, whatever its protocol."""

from collections.abc import Mapping
from typing import Any

from evaluate import budget, cautions, robust, verdicts
from evaluate.decision import Line


def lines(results: Mapping[str, Any]) -> list[Line]:
    """What came out, and what to bear in mind."""
    if "robust" in results:
        return [Line(robust.sentence(results)), *cautions.lines(results)]
    if "budget" in results:
        return [*budget.lines(results), *cautions.lines(results)]
    return verdicts.lines(results)


def texts(results: Mapping[str, Any]) -> list[str]:
    """As ``results.json`` has them, under ``verdicts``."""
    return [line.text for line in lines(results)]
