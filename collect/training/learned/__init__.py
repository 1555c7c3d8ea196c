"""Learned optimizers: small recurrent networks that turn gradients into updates.

``load("l2o")`` or ``load("bundles/mine")`` gives one, and its ``transformation`` is an ordinary
optax optimizer. ``nowcast-meta-train learner=l2o`` makes them.
"""

from collect.training.learned.bundle import load, save
from collect.training.learned.kinds import KINDS
from collect.training.learned.optimizer import LearnedOptimizer

__all__ = ["KINDS", "LearnedOptimizer", "load", "save"]
