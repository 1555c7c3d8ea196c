"""The configuration of a collection, checked where it enters.

``python scripts/collect.py --help`` explains every key.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import collect.data
import collect.data.augment
import collect.models
import collect.training.optimizers
from collect.data import prepared, text
from nowcast.types import UserError


def any_keys() -> Any:
    """The default task, as a part of a configuration that takes any key.

    So a configuration also takes the keys of a user's own task.
    """
    from omegaconf import OmegaConf

    return OmegaConf.create({"_target_": "collect.tasks.Classification"}, flags={"struct": False})


def check_task(task: Any) -> dict[str, Any]:
    """A task's class and its keys, as plain values."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(task) if OmegaConf.is_config(task) else task
    named = isinstance(plain, dict) and isinstance(plain.get("_target_"), str)
    require(named, "task._target_", "", "must name a class, such as my_package.my_file.MyTask")
    return plain


def require(ok: object, key: str, value: object, rule: str) -> None:
    """Raise a :class:`UserError` with the key, its value and the rule, unless ``ok``."""
    if not ok:
        raise UserError(f"{key}={value}: {rule}")


def one_of(key: str, value: str, options: Any) -> None:
    """Refuse a name that is not among the options."""
    require(value in options, key, value, f"unknown; available: {', '.join(options)}")


@dataclass
class ModelConfig:
    """An architecture and its size."""

    name: str = "mlp"
    width: float = 1.0
    depth: int | None = None

    def __post_init__(self) -> None:
        one_of("model.name", self.name, collect.models.MODELS)
        require(
            0 < self.width <= 64,
            "model.width",
            self.width,
            "must be above 0 and at most 64; 1 is the published width",
        )
        if self.depth is not None:
            takes = collect.models.own_depth(self.name) is not None
            require(
                takes,
                "model.depth",
                self.depth,
                f"{self.name} comes in one depth; leave this key out",
            )

    @property
    def sizes(self) -> dict[str, Any]:
        """The arguments of the architecture."""
        return {"width": self.width} | ({} if self.depth is None else {"depth": self.depth})


@dataclass
class DataConfig:
    """A data set."""

    name: str = "digits"
    train_size: int | None = None
    dir: str | None = None
    validation: bool = True
    standardize: bool = False
    size: int | None = None
    in_memory: float = collect.data.IN_MEMORY

    def __post_init__(self) -> None:
        require(
            bool(prepared.NAME.fullmatch(self.name)) or text.is_path(self.name),
            "data.name",
            repr(self.name),
            f"must be {', '.join(collect.data.DATASETS)}, a set's name in TensorFlow Datasets, such"
            " as cifar10, or for texts a folder's path",
        )
        require(
            self.dir != "",
            "data.dir",
            "''",
            "must be the folder of the prepared sets; null: TFDS_DATA_DIR",
        )
        rule = "must be 8 to 2048 pixels, such as 224; null: as the images are"
        require(self.size is None or 8 <= self.size <= 2048, "data.size", self.size, rule)
        rule = "must be 0 GB or more; 0: images are read from the prepared files as they are needed"
        require(self.in_memory >= 0, "data.in_memory", self.in_memory, rule)

    @property
    def identity(self) -> dict[str, Any]:
        """What a run depends on, without the data's folder and whether they are in memory."""
        usual = {"validation": True, "standardize": False, "size": None}
        more = {
            key: getattr(self, key) for key, value in usual.items() if getattr(self, key) != value
        }
        name = Path(self.name).name if text.is_path(self.name) else self.name
        return {"name": name, "train_size": self.train_size} | more


@dataclass
class AugmentConfig:
    """The augmentation of training images."""

    name: str = "none"

    def __post_init__(self) -> None:
        one_of("augment.name", self.name, collect.data.augment.AUGMENTS)


@dataclass
class OptimizerConfig:
    """An optimizer and its learning rate over the run."""

    name: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 <= self.warmup < 1,
            "optimizer.warmup",
            self.warmup,
            "must be a share of the run, 0 or more, below 1",
        )
        one_of("optimizer.name", self.name, collect.training.optimizers.OPTIMIZERS)
        one_of("optimizer.schedule", self.schedule, collect.training.optimizers.SCHEDULES)
        check_rate("optimizer.learning_rate", self.learning_rate)


@dataclass
class VaryConfig:
    """What differs between the runs of a population, besides the seed."""

    learning_rate: list[float] | None = None
    schedule: list[str] | None = None
    batch_size: list[int] | None = None

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            ok = len(self.learning_rate) == 2 and self.learning_rate[0] <= self.learning_rate[1]
            require(ok, "vary.learning_rate", self.learning_rate, "must be a range [low,high]")
            for rate in self.learning_rate:
                check_rate("vary.learning_rate", rate)
        for schedule in self.schedule or ():
            one_of("vary.schedule", schedule, collect.training.optimizers.SCHEDULES)
        require(
            self.schedule != [], "vary.schedule", self.schedule, "must name at least one schedule"
        )
        require(
            self.batch_size != [], "vary.batch_size", self.batch_size, "must hold at least one size"
        )
        for size in self.batch_size or ():
            require(size >= 1, "vary.batch_size", size, "must be 1 or more")


@dataclass
class CollectConfig:
    """One collection: ``runs`` trainings of one architecture on one data set."""

    corpus: str
    task: dict[str, Any] = field(default_factory=any_keys)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    vary: VaryConfig = field(default_factory=VaryConfig)
    runs: int = 4
    seed: int = 0
    epochs: int = 10
    batch_size: int = 64
    record_every: int | None = None
    batch_stats: bool = False
    max_minutes: float | None = None
    dry_run: bool = False
    together: bool | None = None
    at_once: int = 16
    sample: int | None = None
    record: str = "weights"
    band: int = 16

    def __post_init__(self) -> None:
        require(1 <= self.at_once <= 10_000, "at_once", self.at_once, "must be 1 to 10000 runs")
        require(bool(self.corpus), "corpus", repr(self.corpus), "must be a folder's path, or a URL")
        self.task = check_task(self.task)
        require(
            self.data.validation,
            "data.validation",
            "false",
            "recorded runs are judged by it; must be true",
        )
        require(1 <= self.runs <= 100_000, "runs", self.runs, "must be 1 to 100000")
        check_seed("seed", self.seed)
        check_length(self.epochs, self.batch_size, self.record_every, self.max_minutes)
        check_record(self.sample, self.record, self.band)


def check_rate(key: str, rate: float) -> None:
    """Refuse a learning rate that cannot be meant."""
    require(0 < rate < 100, key, rate, "must be above 0 and below 100, such as 0.001")


def check_seed(key: str, seed: int) -> None:
    """Refuse a seed that NumPy or JAX does not take."""
    require(0 <= seed < 2**31, key, seed, "must be 0 or more, below 2^31")


def check_length(
    epochs: int, batch_size: int, record_every: int | None, max_minutes: float | None
) -> None:
    """Check the keys about a run's length, which all commands share."""
    require(1 <= epochs <= 1_000_000, "epochs", epochs, "must be 1 to 1000000")
    require(batch_size >= 1, "batch_size", batch_size, "must be 1 or more")
    require(
        record_every is None or record_every >= 1,
        "record_every",
        record_every,
        "must be 1 step or more; null: an epoch",
    )
    check_minutes(max_minutes)


def check_record(sample: int | None, record: str, band: int) -> None:
    """Check the keys about what is recorded of a run."""
    one_of("record", record, ("weights", "gram"))
    require(
        sample is None or sample >= 1,
        "sample",
        sample,
        "must be 1 scalar of each leaf or more; null: all",
    )
    require(
        sample is None or record == "weights",
        "sample",
        sample,
        "record=gram takes leaves as a whole; leave one out",
    )
    require(1 <= band <= 10_000, "band", band, "must be 1 to 10000 snapshots")


def check_minutes(max_minutes: float | None) -> None:
    """Check the limit on a command's time."""
    require(
        max_minutes is None or max_minutes > 0,
        "max_minutes",
        max_minutes,
        "must be above 0; null: no limit",
    )
