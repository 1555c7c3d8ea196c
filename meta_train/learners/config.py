"""The configuration of a learned optimizer's meta-training.

The text below a key is what ``python scripts/meta_train.py learner=l2o --help`` prints.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collect.checks import check_minutes, check_rate, check_seed, one_of, require
from collect.config import AugmentConfig, DataConfig, ModelConfig, any_keys, check_task
from collect.training.learned import KINDS
from meta_train.learners.fit import Recipe, Stage
from meta_train.learners.objectives import AMALGAMATIONS
from meta_train.learners.unroll import Settings
from nowcast.paths import at_home

FIXED: dict[str, dict[str, Any]] = {
    "l2o": {},
    "l2o_amalgam": {"clip": 0.1, "warm": 100, "warm_rate": 0.05, "worse": 0.5},
}
"""What belongs to a method and has no key: clipping, the steps of SGD before an episode, and by how
much a round may be worse than the last one.
"""
UNROLLING: dict[str, dict[str, Any]] = {
    "l2o": {"logarithm": False},
    "l2o_amalgam": {"logarithm": True, "spread": 3.0},
}


@dataclass(kw_only=True)
class LearnerConfig:
    """Meta-train a learned optimizer on a task: task -> bundle.

    nowcast-meta-train learner=l2o bundle=bundles/l2o

    nowcast-meta-train learner=l2o_amalgam model=mlp data=digits rounds=2 bundle=bundles/mine

    An arm trains with it: arm.l2o.learned=bundles/l2o. In Python:
    collect.training.learned.load("bundles/l2o").transformation() is an optax optimizer.
    """

    bundle: str
    """the folder to write: card.json, params.npz, loss.png; an older bundle there is replaced at
    the end; what was stopped or killed goes on from PATH.checkpoint"""
    kind: str = "l2o"
    """l2o or l2o_amalgam; learner=… sets it, with all that belongs to it"""
    task: dict[str, Any] = field(default_factory=any_keys)
    """what the learned optimizer trains meanwhile (names below), as for nowcast-collect"""
    model: ModelConfig = field(default_factory=ModelConfig)
    """of classification: the architecture (names below)"""
    data: DataConfig = field(default_factory=DataConfig)
    """the data set (names below)"""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """of classification: none, crop_flip or rotation_shift_zoom"""
    batch_size: int = 128
    """examples of a step of the task"""
    steps: int = 20
    """steps of one unroll, after which the learned optimizer is changed"""
    unrolls: list[int] = field(default_factory=lambda: [5])
    """unrolls of one episode, for each stage; then the task begins anew"""
    imitation: list[float] = field(default_factory=lambda: [0.0])
    """the weight of the distance to the teachers, Adam and RMSProp, for each stage; 0: none"""
    amalgamation: str = "min_max"
    """of several teachers: min_max counts the largest distance, mean the mean of the distances"""
    rounds: int = 12
    """rounds of each stage; each ends with episodes that judge it"""
    episodes: int = 20
    """episodes of a round"""
    judged: int = 4
    """episodes that judge a round, always the same"""
    members: int = 1
    """runs of an episode, with different seeds, whose meta-gradients are averaged"""
    replicates: int = 1
    """how many are meta-trained from different initial parameters; the best is kept"""
    learning_rate: float = 1e-3
    """the learning rate of Adam, which changes the learned optimizer"""
    seed: int = 0
    """the seed of the initial parameters and of the episodes"""
    max_minutes: float | None = None
    """stop after the round that is under way then; the same command goes on"""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        one_of("amalgamation", self.amalgamation, AMALGAMATIONS)
        place = "://" not in self.bundle and Path(self.bundle).name not in ("", "..")
        require(place, "bundle", repr(self.bundle), "must be the path of a folder of its own")
        self.bundle = at_home(self.bundle)
        self.task = check_task(self.task)
        for key in ("steps", "rounds", "episodes", "judged", "members", "replicates", "batch_size"):
            value = getattr(self, key)
            require(1 <= value <= 10**6, key, value, "must be 1 or more")
        counted = self.unrolls and all(one >= 1 for one in self.unrolls)
        require(counted, "unrolls", self.unrolls, "must hold 1 or more for each stage, as [5]")
        weighed = all(0 <= one <= 100 for one in self.imitation)
        require(
            weighed and len(self.imitation) == len(self.unrolls), "imitation", self.imitation,
            f"must hold a weight, 0 or more, for each of the {len(self.unrolls)} stages of unrolls",
        )  # fmt: skip
        require(
            self.kind == "l2o_amalgam" or not any(self.imitation), "imitation", self.imitation,
            "l2o imitates nobody; leave it out, or give learner=l2o_amalgam",
        )  # fmt: skip
        check_rate("learning_rate", self.learning_rate)
        check_seed("seed", self.seed)
        check_minutes(self.max_minutes)

    @property
    def settings(self) -> Settings:
        """How it unrolls."""
        return Settings(self.steps, **UNROLLING[self.kind], amalgamation=self.amalgamation)

    @property
    def recipe(self) -> Recipe:
        """How it is meta-trained."""
        stages = tuple(map(Stage, self.unrolls, self.imitation))
        return Recipe(
            stages, self.rounds, self.episodes, self.judged, self.members, self.learning_rate,
            replicates=self.replicates, **FIXED[self.kind],
        )  # fmt: skip
