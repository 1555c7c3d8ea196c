"""Meta-train learned optimizers (:mod:`collect.training.learned`): tasks → bundle."""
