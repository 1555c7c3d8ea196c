"""What a comparison is made of, checked where it enters.

The text below a key is what ``python scripts/evaluate.py --help`` prints.
"""

import math
from dataclasses import dataclass, field

import collect.training.optimizers
from collect.checks import check_length, check_rate, check_seed, one_of, require
from collect.config import TrainingConfig, check_task
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
    """the grid from which calibration picks a tuned arm's rate, such as [0.003,0.01,0.03]; null:
    the optimizer's own grid (adam: 0.001 to 0.1 in half decades)"""
    warmups: list[float] = field(default_factory=lambda: list(WARMUPS))
    """shares of the run in which the rate climbs, each tried with each of those rates: a tuned arm
    takes the best pair, unless it says a warm-up of its own (arm.NAME.warmup=0.1)"""
    seeds: int = 3
    """how many calibration seeds"""
    seed: int = 1000
    """the first of them"""

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
    """the rates that arms begin with, as multiples of the swept base's; arms are given or tuned
    ones"""
    warmup: float = WARMUP
    """the warm-up of arms that say none, a share of the run"""

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
    """the lengths of the swept base, as multiples of epochs, two or more"""

    def __post_init__(self) -> None:
        rule = (
            "must be two multiples of epochs or more, each once, above 0 and at most 100, such as"
            " [0.5,1,2]"
        )
        each = {*self.lengths}
        fine = len(each) == len(self.lengths) >= 2 and all(0 < one <= 100 for one in each)
        require(fine, "budget.lengths", self.lengths, rule)


@dataclass
class EvaluateConfig(TrainingConfig):
    """Compare ways to train: paired seeds, calibrated bases, targets fixed beforehand -> report.

    nowcast-evaluate model=resnet20 data=digits seeds=5 epochs=20 report=reports/mine

    -m tries several values, one job after another: model=resnet20,resnet32. --cfg job prints the
    configuration.
    """

    report: str
    """the folder to write: report.html, report.md, results.json, targets.json, and every finished
    run. A folder that is there goes on: more arms or more seeds train what is missing"""
    arm: dict[str, Arm] = field(default_factory=dict)
    """what is compared (names below; see configs/arm). arm.NAME.jump.damping=0.5 changes an option
    of one; '+arm={mine: {over: cosine, forecaster: linear}}' adds one. A base is an arm without
    over"""
    forecaster: str = "wnn"
    """for the arms ..._nowcast: a name: wnn, gram, introspection (which come meta-trained), linear,
    quadratic, damped_linear, autoregressive, exponential, average, noise, permuted, last_value; or
    a bundle's folder"""
    introspection: str = "introspection"
    """the same for the arms ..._introspection"""
    published: str = ""
    """the folder of the WNN authors' own NWNN_*_13.h5, for the arms that ask for them"""
    seeds: int = 5
    """how many seeds are compared"""
    epochs: int = field(default=20, kw_only=True)
    protocol: str = HONEST
    """honest; paper: target_value on the test set, its first crossing, measured before a jump;
    robust: every arm from rates that are many times too low or too high, beside the swept base
    (docs/learning_rate.md). Without arm= it compares cosine, cosine_auto, prodigy, dadapt_adamw,
    mechanize, schedule_free, cosine_gram_guarded; or budget: how many steps of the swept base, its
    cosine fitted to each length, end as well as each arm
    (docs/evaluate.md#an-honest-speed-up)"""
    target_share: float = 0.75
    """honest: the target of the headline is the loss that a base has reached after this share of
    its length, in the median of its calibration runs; 0.5, 0.75 and 0.95 are in the report too"""
    target_metric: str = "accuracy"
    """paper: the metric of the target, one of the task's (gpt: loss or perplexity)"""
    target_value: float = 0.59
    """paper: the value of that metric which is crossed, from above where the metric is better when
    lower"""
    beside: dict[str, str] = field(default_factory=dict)
    """{ARM:TEXT}: what is known of arms from elsewhere, such as published numbers: the tables' last
    column"""
    beside_title: str = ""
    """the title of that column"""
    workers: int | None = None
    """runs side by side; null: as many as cores. 1: seconds are measured with the machine to
    itself"""
    together: bool | None = None
    """train the seeds of an arm as one program; null: on an accelerator"""
    tuned: TunedConfig = field(default_factory=TunedConfig)
    robust: RobustConfig = field(default_factory=RobustConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

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
        for key in ("target_metric", "target_value"):
            given = getattr(self, key)
            fits = self.protocol == PAPER or given == getattr(EvaluateConfig, key)
            require(fits, key, given, "belongs to protocol=paper; give that too, or leave this out")
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
    """Join the reports of several tasks into one: geometric means over tasks, with intervals.

    nowcast-report reports=[reports/mnist,reports/cifar10] report=reports/both

    --cfg job prints the configuration.
    """

    reports: list[str]
    """folders that nowcast-evaluate wrote, two or more"""
    report: str
    """the folder to write: report.html, report.md, results.json"""

    def __post_init__(self) -> None:
        require(
            len(self.reports) >= 2,
            "reports",
            self.reports,
            "give two folders or more: [reports/a,reports/b]",
        )
        require(bool(self.report), "report", repr(self.report), "must be a folder's path")
        self.report, self.reports = at_home(self.report), [at_home(one) for one in self.reports]
