"""What a comparison is made of, checked where it enters. Every key stands in ``python
scripts/evaluate.py --help``.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import collect.training.optimizers
from collect.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    any_keys,
    check_length,
    check_rate,
    check_seed,
    check_task,
    one_of,
    require,
)
from evaluate.arms import NAME, TUNED, Arm
from evaluate.lengths import LENGTHS
from evaluate.products import expanded
from evaluate.protocol import BUDGET, HONEST, PAPER, ROBUST, WARMUPS
from evaluate.starts import STARTS, WARMUP, check_names, prepared
from nowcast.paths import at_home


@dataclass
class TunedConfig:
    """How the tuned base is found."""

    learning_rates: list[float] | None = None
    warmups: list[float] = field(default_factory=lambda: list(WARMUPS))
    seeds: int = 3
    seed: int = 1000

    def __post_init__(self) -> None:
        require(
            self.learning_rates != [],
            "tuned.learning_rates",
            self.learning_rates,
            "must hold at least one rate",
        )
        for rate in self.learning_rates or ():
            check_rate("tuned.learning_rates", rate)
        require(
            self.warmups != [],
            "tuned.warmups",
            self.warmups,
            "must hold at least one share of the run, such as 0.1",
        )
        for warmup in self.warmups:
            require(
                0 <= warmup < 1,
                "tuned.warmups",
                self.warmups,
                "must be shares of the run, 0 or more, below 1",
            )
        require(
            len({*self.warmups}) == len(self.warmups),
            "tuned.warmups",
            self.warmups,
            "must hold each share once",
        )
        require(1 <= self.seeds <= 10_000, "tuned.seeds", self.seeds, "must be 1 to 10000")
        check_seed("tuned.seed", self.seed)


@dataclass
class RobustConfig:
    """From where the robust protocol trains its arms."""

    starts: list[float] = field(default_factory=lambda: list(STARTS))
    warmup: float = WARMUP

    def __post_init__(self) -> None:
        rule = (
            "must be multiples of the best rate, each once, above 0 and at most 1000, such as"
            " [0.125,1]"
        )
        fine = (
            self.starts
            and len({*self.starts}) == len(self.starts)
            and all(0 < one <= 1000 for one in self.starts)
        )
        require(bool(fine), "robust.starts", self.starts, rule)
        require(
            0 <= self.warmup < 1,
            "robust.warmup",
            self.warmup,
            "must be a share of the run, 0 or more, below 1",
        )


@dataclass
class BudgetConfig:
    """At which lengths the budget protocol trains its base."""

    lengths: list[float] = field(default_factory=lambda: list(LENGTHS))

    def __post_init__(self) -> None:
        rule = (
            "must be two multiples of epochs or more, each once, above 0 and at most 100, such as"
            " [0.5,1,2]"
        )
        each = {*self.lengths}
        fine = len(each) == len(self.lengths) >= 2 and all(0 < one <= 100 for one in each)
        require(fine, "budget.lengths", self.lengths, rule)


@dataclass
class EvaluateConfig:
    """One comparison: some arms on one task."""

    report: str
    arm: dict[str, Arm] = field(default_factory=dict)
    forecaster: str = "wnn"
    introspection: str = "introspection"
    published: str = ""
    task: dict[str, Any] = field(default_factory=any_keys)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    tuned: TunedConfig = field(default_factory=TunedConfig)
    robust: RobustConfig = field(default_factory=RobustConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    seeds: int = 5
    seed: int = 0
    epochs: int = 20
    batch_size: int = 64
    record_every: int | None = None
    protocol: str = HONEST
    target_share: float = 0.75
    target_metric: str = "accuracy"
    target_value: float = 0.59
    beside: dict[str, str] = field(default_factory=dict)
    beside_title: str = ""
    max_minutes: float | None = None
    workers: int | None = None
    together: bool | None = None

    def __post_init__(self) -> None:
        require(bool(self.report), "report", repr(self.report), "must be a folder's path")
        self.report = at_home(self.report)
        self.task = check_task(self.task)
        require(
            1 <= self.seeds <= 10_000,
            "seeds",
            self.seeds,
            "must be 1 to 10000; an interval needs 5 or more",
        )
        check_seed("seed", self.seed)
        calibration = range(self.tuned.seed, self.tuned.seed + self.tuned.seeds)
        overlap = self.seed < calibration.stop and calibration.start < self.seed + self.seeds
        require(
            not overlap,
            "tuned.seed",
            self.tuned.seed,
            "calibration seeds must not be among the seeds that are compared",
        )
        one_of("protocol", self.protocol, (HONEST, PAPER, ROBUST, BUDGET))
        needs = self.protocol != PAPER or any(
            arm.learning_rate == TUNED for arm in self.arm.values()
        )
        rule = "an honest target and a tuned rate need the validation split; must be true"
        require(self.data.validation or not needs, "data.validation", "false", rule)
        require(
            0 < self.target_share <= 1,
            "target_share",
            self.target_share,
            "must be above 0 and at most 1",
        )
        require(
            math.isfinite(self.target_value),
            "target_value",
            self.target_value,
            "must be a finite number",
        )
        self.arm = expanded(self.arm)
        for name, arm in self.arm.items():
            require(
                bool(NAME.fullmatch(name)),
                "arm",
                name,
                "an arm's name is of letters, digits, - and _",
            )
            if arm.optimizer is not None:
                one_of(
                    f"arm.{name}.optimizer", arm.optimizer, collect.training.optimizers.OPTIMIZERS
                )
            if arm.schedule is not None:
                one_of(f"arm.{name}.schedule", arm.schedule, collect.training.optimizers.SCHEDULES)
        if self.protocol == ROBUST:
            prepared(self.arm, optimizer=self.optimizer.name)  # refuses arms that it cannot have
        if self.protocol == BUDGET:
            check_names(self.arm)
        require(
            self.optimizer.schedule == "constant",
            "optimizer.schedule",
            self.optimizer.schedule,
            "arms have their own schedules; leave it out",
        )
        require(
            self.optimizer.warmup == 0,
            "optimizer.warmup",
            self.optimizer.warmup,
            "arms have their own; leave it out",
        )
        require(
            self.workers is None or self.workers >= 1,
            "workers",
            self.workers,
            "must be 1 run or more",
        )
        check_length(self.epochs, self.batch_size, self.record_every, self.max_minutes)


@dataclass
class ReportConfig:
    """Reports to be joined."""

    reports: list[str]
    report: str

    def __post_init__(self) -> None:
        require(
            len(self.reports) >= 2,
            "reports",
            self.reports,
            "give two folders or more: [reports/a,reports/b]",
        )
        require(bool(self.report), "report", repr(self.report), "must be a folder's path")
        self.report, self.reports = at_home(self.report), [at_home(one) for one in self.reports]
