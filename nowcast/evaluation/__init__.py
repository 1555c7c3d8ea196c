"""Comparing runs honestly: what to train, what to measure, and how to say it. Pure functions; training is the caller's.

The protocol: all arms of one seed share initial weights and data order; learning rate and targets come from
calibration seeds of the base arms alone, fixed before any other arm runs; a target is crossed when the mean of three
consecutive validation losses is at or below it; a run that never crosses counts as crossing at its end.
"""

from nowcast.evaluation.arms import Arm, Plan, calibration_arms, choose, comparison_arms
from nowcast.evaluation.summary import summarise

__all__ = ["Arm", "Plan", "calibration_arms", "choose", "comparison_arms", "summarise"]
