"""The configuration of a collection, checked where it enters.

The text below a key is what ``python scripts/collect.py --help`` prints.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import collect.data
import collect.data.augment
import collect.models
import collect.training.optimizers
from collect.checks import check_length, check_rate, check_record, check_seed, one_of, require
from collect.data import prepared, text


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


@dataclass
class ModelConfig:
    """An architecture and its size."""

    name: str = "mlp"
    width: float = 1.0
    """0.5 makes it narrower; 1: the published width"""
    depth: int | None = None
    """14 makes it deeper or shallower, where an architecture comes in several depths; null: its
    usual depth"""

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
    """any image classification set of TensorFlow Datasets; for gpt a set with a feature text, or
    the path of a folder whose .txt files are read in the order of their paths (the path begins with
    /, . or ~); for deeplab an image set, or the path of the folder VOC2012; for
    openpose figures, or the path of a folder with COCO's keypoints"""
    train_size: int | None = None
    """how many of the first training examples are taken, of a text how many tokens; null: all"""
    dir: str | None = None
    """the folder of the prepared sets; null: TFDS_DATA_DIR, else ~/tensorflow_datasets"""
    validation: bool = True
    """false: train on all training examples, and keep none for validation; recording needs true"""
    standardize: bool = False
    """true: give each channel mean 0 and deviation 1 (of the training images)"""
    center: bool = False
    """true: subtract the mean of the training images, pixel by pixel"""
    size: int | None = None
    """224 resizes the shorter side of each image to so many pixels and cuts out the centre; null:
    as they are"""
    in_memory: float = collect.data.IN_MEMORY
    """a budget in GB: a prepared set whose images take more is read from its files as it is needed,
    to the same numbers; 0: always"""
    classes: list[int] | None = None
    """[5,6,7,8,9]: only the examples of these classes, which are numbered from 0 in ascending
    order; null: all"""

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
        rule = "does not go together with data.standardize; leave one of them out"
        require(not (self.center and self.standardize), "data.center", "true", rule)
        rule = "must be 8 to 2048 pixels, such as 224; null: as the images are"
        require(self.size is None or 8 <= self.size <= 2048, "data.size", self.size, rule)
        rule = "must be 0 GB or more; 0: images are read from the prepared files as they are needed"
        require(self.in_memory >= 0, "data.in_memory", self.in_memory, rule)
        if self.classes is not None:
            fine = len({*self.classes}) == len(self.classes) >= 2
            rule = "must be two classes or more, each once, such as [0,1,2,3,4]; null: all"
            require(fine, "data.classes", self.classes, rule)
            self.classes = sorted(self.classes)

    @property
    def identity(self) -> dict[str, Any]:
        """The keys that a run depends on: all but the folder of the data and the memory budget."""
        optional = ("validation", "standardize", "center", "size", "classes")
        given = {key: getattr(self, key) for key in optional}
        more = {key: value for key, value in given.items() if value != getattr(DataConfig, key)}
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
    """the rate before the schedule changes it"""
    schedule: str = "constant"
    """constant, cosine, step, wsd, inverse, staircase, tenths, inception, thirds, exponential or
    up_flat_down; an evaluation's arms have their own"""
    warmup: float = 0.0
    """the share of the run in which the rate climbs; the arms of an evaluation have their own"""

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
    """[low,high]: learning rates of the runs spread over this range, evenly in the logarithm"""
    schedule: list[str] | None = None
    """[constant,cosine]: the runs take these schedules in turn"""
    batch_size: list[int] | None = None
    """[64,256]: the runs take these batch sizes in turn"""

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


@dataclass(kw_only=True)
class TrainingConfig:
    """The keys that all commands which train have in common: what is trained, and how long."""

    task: dict[str, Any] = field(default_factory=any_keys)
    """what is trained (names below): classification of images; transfer, the same from the weights
    of task.weights (a file, or a corpus and its task.run) with a new head; gpt or gpt2_small,
    language models (task.layers=2, task.width=64, task.heads, task.context, task.dropout; an epoch
    is task.steps_per_epoch=50 steps, null: the whole text once; task.tokens=characters, bytes, bpe,
    or the path of a tokenizer.json of Hugging Face's tokenizers); bert, which fills in masked
    tokens (the same keys, but task.passes for layers); ddim, which draws images (task.widths,
    task.depth); deeplab, which tells the class of every pixel (task.width, task.rates); openpose,
    which tells where people's joints are (task.width, task.stages); ddpg, an agent that swings up a
    pendulum (an epoch is an episode); or a class of your own: task._target_=file.Class
    task.key=value, of a file in the current folder or a package (the guide "Your own task")"""
    model: ModelConfig = field(default_factory=ModelConfig)
    """of classification: the architecture (names below)"""
    data: DataConfig = field(default_factory=DataConfig)
    """the data set (names below); of gpt and bert tiny_shakespeare; data.name takes others"""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """of classification and transfer: none, crop_flip, rotation_shift_zoom or flip_shift_cutout, of
    the training images"""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """adam, adamw, adamw_1e-4 (a weight decay of 1e-4 in place of 1e-2), momentum, sgd, rmsprop_1
    (RMSProp with momentum 0.9 and an ε of 1, Inception's), muon, schedule_free, prodigy,
    dadapt_adamw or mechanize; an arm of an evaluation may have another"""
    seed: int = 0
    """the first seed; the others count up"""
    epochs: int = 10
    """length of each run"""
    batch_size: int = 64
    """examples a step; of gpt and bert texts of task.context=64 tokens each; of ddpg transitions"""
    record_every: int | None = None
    """steps between two snapshots, and between two evaluations; null: an epoch, of gpt 10 steps"""
    max_minutes: float | None = None
    """stop in good order after so long; the same command goes on"""


@dataclass
class CollectConfig(TrainingConfig):
    """Train several networks and record every weight's trajectory: task -> corpus.

    nowcast-collect model=lenet data=digits optimizer=adam runs=4 epochs=10 corpus=corpora/mine

    -m tries several values, one job after another: model=mlp,lenet. --cfg job prints the
    configuration. experiment=NAME is a set of such jobs (names above). hydra/launcher=joblib runs
    jobs side by side on this machine, slurm in a Slurm queue, submitit_local as slurm does but on
    this machine, ray on a Ray cluster.
    """

    corpus: str
    """the folder to write; runs that it holds already are not trained again, new ones are added; or
    a URL, gs://bucket/mine, s3://bucket/mine, file:///…: each run is copied there when finished"""
    runs: int = 4
    """how many networks"""
    batch_stats: bool = False
    """true: BatchNorm's running means and variances are recorded beside the weights, where a
    network has them"""
    dry_run: bool = False
    """true: say what the disk and the time would be, and write nothing"""
    together: bool | None = None
    """true: as one vectorised program, over all local devices; false: one run after another, on a
    CPU one per core; null: both are tried for a few steps, and the faster one is taken"""
    at_once: int = 16
    """how many runs train together at most"""
    sample: int | None = None
    """record so many scalars of each leaf at most, the same in every run: for large networks, and
    forecasters of single weights; null: all"""
    record: str = "weights"
    """gram: record inner products in place of the weights, kilobytes a leaf of any size: for
    forecaster=gram"""
    band: int = 16
    """with record=gram: how many increments each is multiplied with; so many snapshots are held in
    memory"""
    vary: VaryConfig = field(default_factory=VaryConfig)

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
