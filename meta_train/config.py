"""What a meta-training is made of. Every key stands in ``python scripts/meta_train.py --help``."""

from dataclasses import dataclass

from collect.config import check_rate, check_seed, one_of, require
from nowcast.forecasters import LEARNED


@dataclass
class MetaTrainConfig:
    """One fit: a corpus in, a bundle out."""

    corpus: str
    bundle: str
    forecaster: str = "wnn"
    window: int = 5
    horizon: int = 5
    windows_per_run: int = 20_000
    validation_share: float = 0.2
    steps: int = 4000
    batch_size: int = 1024
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("forecaster", self.forecaster, LEARNED)
        require(bool(self.bundle), "bundle", repr(self.bundle), "must be a folder's path")
        require(2 <= self.window <= 1000, "window", self.window, "must be 2 to 1000 snapshots; the paper's is 5")
        require(1 <= self.horizon <= 100_000, "horizon", self.horizon, "must be 1 snapshot or more; the paper's is 5")
        for key, most in (("windows_per_run", 10**7), ("steps", 10**9), ("batch_size", 10**6)):
            require(1 <= getattr(self, key) <= most, key, getattr(self, key), f"must be 1 to {most}")
        require(0 < self.validation_share < 1, "validation_share", self.validation_share, "must be between 0 and 1")
        check_seed("seed", self.seed)
        check_rate("learning_rate", self.learning_rate)
