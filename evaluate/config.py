"""The configuration of a comparison, and of a report that joins several.

Values are checked here, where they enter. The text below a key is what ``python
scripts/evaluate.py --help`` prints.
"""

import math
from dataclasses import dataclass, field

import collect.models
from collect.checks import check_length, check_rate, check_seed, one_of, require
from collect.config import TrainingConfig, check_task
from collect.training import optimizers
from evaluate.arms import NAME, TUNED, Arm
from evaluate.lengths import LENGTHS
from evaluate.products import expanded
from evaluate.protocol import BUDGET, HONEST, PAPER, ROBUST, WARMUPS
from evaluate.starts import STARTS, WARMUP, check_names, prepared
from nowcast.paths import at_home


@dataclass
class TunedConfig:
    """The calibration of tuned arms."""

    learning_rates: list[float] | None = None
    """the grid from which calibration picks a tuned arm's rate, such as [0.003,0.01,0.03]; null:
    the optimizer's own grid (adam: 0.001 to 0.1 in half decades)"""
    warmups: list[float] = field(default_factory=lambda: list(WARMUPS))
    """warm-ups, as shares of the run in which the rate climbs: calibration tries each of them with
    each rate and takes the best pair, unless the arm has a warm-up (arm.NAME.warmup=0.1)"""
    seeds: int = 3
    """how many seeds calibration trains"""
    seed: int = 1000
    """the first calibration seed; the others count up"""

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
    """The learning rates from which the robust protocol trains its arms."""

    starts: list[float] = field(default_factory=lambda: list(STARTS))
    """the rates that arms begin with, as multiples of the swept base's best rate; an arm's
    learning_rate must be given or tuned"""
    warmup: float = WARMUP
    """the warm-up of arms that give none, as a share of the run"""

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
    """The lengths at which the budget protocol trains its base."""

    lengths: list[float] = field(default_factory=lambda: list(LENGTHS))
    """the lengths of the swept base, two or more, as multiples of epochs"""

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
    run. Given again with more arms or more seeds, the command trains only what is missing"""
    arm: dict[str, Arm] = field(default_factory=dict)
    """what is compared (names below). arm.NAME.jump.damping=0.5 changes an option
    of one arm; '+arm={mine: {over: cosine, forecaster: linear}}' adds an arm, which
    has min_drift 0.2 unless it says jump: {min_drift: null}. An arm without over
    is a base"""
    forecaster: str = "wnn"
    """the forecaster of the arms ..._nowcast: a bundle's folder, or a name: wnn, gram and
    introspection come meta-trained; linear, quadratic, damped_linear, autoregressive, exponential,
    average, noise, permuted and last_value need no fit"""
    introspection: str = "introspection"
    """the forecaster of the arms ..._introspection, given in the same way"""
    introspection_linear: str = ""
    """a bundle of forecaster=introspection_linear, for the arms that need one"""
    introspection_further: str = ""
    """a bundle of forecaster=introspection horizon=12, which aims at 2.2 times the step, for the
    arms that need one"""
    nino: str = ""
    """a bundle of forecaster=nino, or a PyTorch file of its authors, for the arms that need one"""
    wnn_plus: str = ""
    """the same of wnn_plus"""
    celo: str = ""
    """the file theta.state of Celo's authors, for the arm celo"""
    published: str = ""
    """the folder of the WNN authors' files NWNN_*_13.h5, for the arms that need them"""
    seeds: int = 5
    """how many seeds are compared"""
    epochs: int = field(default=20, kw_only=True)
    protocol: str = HONEST
    """how arms are compared. honest: the time to targets that calibration runs of the base set.
    paper: the time to target_value on the test set, measured before a jump. robust: the final loss
    from rates many times too low or too high, against the swept base;
    without arm= it compares cosine, cosine_auto, prodigy, dadapt_adamw, mechanize, schedule_free
    and cosine_gram_guarded. budget: the length at which the swept base, with a cosine fitted to
    each length, ends as well as each arm"""
    target_share: float = 0.75
    """honest: the verdicts' target is the loss that a base has reached after this share of its
    length, in the median of its calibration runs; the report also has 0.5, 0.75 and 0.95"""
    target_metric: str = "accuracy"
    """paper: the metric of target_value, one of the task's (gpt: loss or perplexity)"""
    target_value: float = 0.59
    """paper: the target; a run reaches it with a metric at this value or better"""
    beside: dict[str, str] = field(default_factory=dict)
    """{ARM:TEXT}: a text for each arm, such as its published number, for the tables' last column"""
    beside_title: str = ""
    """the title of that column"""
    workers: int | None = None
    """runs that train side by side; null: one per core. With 1 a run has the machine to itself, and
    seconds can be compared"""
    dry_run: bool = False
    """true: say how many runs the comparison is and how long it would take, and write nothing"""
    together: bool | None = None
    """true: the seeds of an arm train as one program; null: true on an accelerator only"""
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
            "must be 1 to 10000; an interval is reliable from 5 on",
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
        rule = "must be true: honest targets and tuned rates are chosen on the validation split"
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
                "an arm's name consists of letters, digits, - and _",
            )
            if arm.model is not None:
                one_of(f"arm.{name}.model", arm.model, collect.models.MODELS)
            if arm.optimizer is not None:
                known = (*optimizers.OPTIMIZERS, *optimizers.PUBLISHED)
                one_of(f"arm.{name}.optimizer", arm.optimizer, known)
            if arm.schedule is not None:
                one_of(f"arm.{name}.schedule", arm.schedule, optimizers.SCHEDULES)
        if self.protocol == ROBUST:
            prepared(self.arm, optimizer=self.optimizer.name)  # refuses arms that it cannot train
        if self.protocol == BUDGET:
            check_names(self.arm)
        require(
            self.optimizer.schedule == "constant",
            "optimizer.schedule",
            self.optimizer.schedule,
            "each arm has its own schedule (arm.NAME.schedule); leave this key out",
        )
        require(
            self.optimizer.warmup == 0,
            "optimizer.warmup",
            self.optimizer.warmup,
            "each arm has its own warm-up (arm.NAME.warmup); leave this key out",
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
    """two or more folders that nowcast-evaluate wrote"""
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
