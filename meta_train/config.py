"""The configuration of a meta-training.

The text below a key is what ``python scripts/meta_train.py --help`` prints.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from collect.checks import check_minutes, check_rate, check_seed, one_of, require
from meta_train.loader import SLOTS
from meta_train.log import LOGS
from meta_train.source import Rule
from meta_train.trainer import Settings
from meta_train.windows import SAMPLING
from nowcast.forecasters import LEARNED, Learned
from nowcast.paths import at_home
from nowcast.rate_forecaster import Rate
from nowcast.types import OPERATIONS

INTROSPECTION = {"sampling": "movement", "steps": 30_000, "batch_size": 64, "learning_rate": 5e-4}
RECIPES: dict[str, dict[str, Any]] = {
    "introspection": INTROSPECTION,
    "introspection_linear": INTROSPECTION,
    "gram": {"steps": 5_000, "learning_rate": 3e-3},
    "wnn_plus": {"learning_rate": 3e-3},
    "nino": {"steps": 1_000, "batch_size": 4, "learning_rate": 3e-3},
    Rate.name: {"steps": 1_000, "batch_size": 512, "learning_rate": 3e-3},
}
"""A forecaster's settings where the configuration leaves them open; the rest is ``COMMON``."""
LEAVES = 64
"""Leaves drawn from one run at a time; few, because their rows are long."""
NOT_OF_RATES = {
    "window": None, "horizon": None, "networks": None, "sampling": None, "log": None,
    "max_minutes": None, "processes": 1, "process": 0, "coordinator": None,
}  # fmt: skip
"""The defaults of the keys that ``forecaster=rate`` does not use."""
COMMON = {"sampling": "uniform", "steps": 20_000, "batch_size": 1024, "learning_rate": 2e-3}


@dataclass
class MetaTrainConfig:
    """Fit a forecaster to corpora of weight trajectories: corpora -> bundle.

    nowcast-meta-train corpus=corpora/mine forecaster=wnn bundle=bundles/mine

    -m tries several values, one job after another: horizon=3,5. --cfg job prints the configuration.
    learner=l2o and learner=l2o_amalgam meta-train an optimizer in place of a forecaster; their keys
    are printed by learner=l2o --help.
    """

    corpus: Any
    """the folder that nowcast-collect wrote, or its URL: gs://, s3://, https://, file://; several:
    corpus=[corpora/mine,corpora/yours]"""
    bundle: str
    """the folder to write: card.json, params.npz, loss.png; an older bundle there is replaced at
    the end; a fit that was stopped or killed goes on from PATH.checkpoint; with -m, one for each
    job: 'bundle=bundles/h${horizon}'"""
    forecaster: str = "wnn"
    """what to fit: wnn, wnn_multi (all horizons up to 40), wnn_plus (the same, one network for all
    operations, scaled by leaf), gram (whole leaves, all horizons up to 40), nino (whole networks,
    all horizons up to 40), introspection, introspection_linear; or rate, which reads from sweeps of
    learning rates how far a rate is from its best, for nowcast.auto_rate: it takes corpus, bundle,
    keep_out, steps, batch_size, learning_rate, seed"""
    window: int | None = None
    """snapshots it reads; null: 5, for introspection 11"""
    horizon: int | None = None
    """snapshots past the window that it forecasts; null: 5, for wnn_multi, wnn_plus, gram and
    nino all of 1 to 40, for introspection 10"""
    networks: Any = None
    """which network forecasts each operation, where it differs from the forecaster's default:
    networks={norm:norm,depthwise_conv:depthwise,bias:null} gives two operations networks of their
    own, and biases none. Operations: conv, depthwise_conv, fc, bias, norm, embedding, other"""
    sampling: str | None = None
    """uniform over the weights; or movement: half of the windows from the half that moved most, a
    quarter from the next quartile; null: movement for introspection, else uniform; gram and nino
    take leaves as a whole"""
    keep_out: list[str] = field(default_factory=lambda: ["shufflenet_v2", "resnet32"])
    """architectures (for other tasks the beginning of the name: gpt), or tasks (mlp-mnist), that
    are kept out of the fit and scored at its end; the default is that of the WNN paper"""
    validation_share: float = 0.2
    """the share of each other task's runs, at least one run, that is kept for validation: it
    decides when to stop and which parameters to keep"""
    steps: int | None = None
    """optimizer steps; null: 20000, for introspection 30000, for gram 5000, for nino and rate
    1000"""
    batch_size: int | None = None
    """windows a step, for each network; a multiple of 64; null: 1024, for introspection 64; for
    rate any number, null: 512; for nino networks a step, null: 4"""
    learning_rate: float | None = None
    """the learning rate of Adam at the first step, which a cosine takes to 0; null: 0.002, for
    introspection 0.0005, for gram, wnn_plus, nino and rate 0.003"""
    patience: int = 10
    """the fit ends after so many evaluations without a better network; a fit has 40 evaluations,
    more if it is long, fewer if it has fewer steps"""
    seed: int = 0
    """the seed of the split, the windows, the initial parameters and the batches"""
    log: str | None = None
    """csv or tensorboard: write the curves to PATH.log while the fit goes on"""
    max_minutes: float | None = None
    """save and stop after so many minutes; the same command continues the fit"""
    processes: Any = 1
    """how many processes fit together, each with all devices that it sees; auto: as Slurm or a TPU
    pod says"""
    process: int = 0
    """the number of this process, from 0"""
    coordinator: str | None = None
    """the address of process 0, such as 10.0.0.1:12345"""

    def __post_init__(self) -> None:
        one_of("forecaster", self.forecaster, [*LEARNED, Rate.name])
        self._check_places()
        if self.of_rates:
            self._of_rates()
        else:
            self._of_weights()
        for key, most in (("steps", 10**9), ("patience", 10**9)):
            require(
                1 <= getattr(self, key) <= most, key, getattr(self, key), f"must be 1 to {most}"
            )
        check_seed("seed", self.seed)
        check_rate("learning_rate", cast(float, self.learning_rate))
        require(
            0 < self.validation_share < 1,
            "validation_share",
            self.validation_share,
            "must be between 0 and 1",
        )

    @property
    def of_rates(self) -> bool:
        """Whether the fit is one to sweeps of learning rates (:mod:`meta_train.rates`)."""
        return self.forecaster == Rate.name

    def _check_places(self) -> None:
        self.corpus = [self.corpus] if isinstance(self.corpus, str) else self.corpus
        paths = (
            isinstance(self.corpus, list)
            and self.corpus
            and all(isinstance(c, str) and c for c in self.corpus)
        )
        require(
            bool(paths),
            "corpus",
            self.corpus,
            "must be a corpus's path, or a list of them: corpus=[a,b]",
        )
        place = (
            bool(self.bundle)
            and "://" not in self.bundle
            and Path(self.bundle).name not in ("", "..")
        )
        require(place, "bundle", repr(self.bundle), "must be the path of a folder of its own")
        self.bundle = at_home(self.bundle)

    def _of_rates(self) -> None:
        for key, unsaid in NOT_OF_RATES.items():
            value = getattr(self, key)
            require(value == unsaid, key, value, "forecaster=rate has no use for it; leave it out")
        for key, value in RECIPES[Rate.name].items():
            setattr(self, key, value if getattr(self, key) is None else getattr(self, key))
        size = cast(int, self.batch_size)
        require(1 <= size <= 10**6, "batch_size", size, "must be 1 to a million windows")

    def _of_weights(self) -> None:
        self.default_horizon = self.horizon is None
        ahead = self.kind.longest or self.kind.horizon
        recipe = (
            COMMON
            | RECIPES.get(self.forecaster, {})
            | {"window": self.kind.window, "horizon": ahead}
        )
        for key, value in recipe.items():
            setattr(self, key, value if getattr(self, key) is None else getattr(self, key))
        require(
            3 <= self.rule.window <= 1000,
            "window",
            self.window,
            "must be 3 to 1000 snapshots; the paper's is 5",
        )
        require(
            1 <= self.rule.horizon <= 10**5,
            "horizon",
            self.horizon,
            "must be 1 snapshot or more; the paper's is 5",
        )
        self._check_networks()
        one_of("sampling", str(self.sampling), SAMPLING)
        whole = "takes leaves as a whole, each as likely as any other; leave this key out"
        require(
            not (self.kind.leaves or self.kind.whole) or self.sampling == SAMPLING[0],
            "sampling",
            self.sampling,
            f"{self.forecaster} {whole}",
        )
        size, rule = self.settings.batch_size, "must be 1 to 4096 networks"
        fits = 1 <= size <= 4096
        if not self.kind.whole:
            fits = 1 <= size <= 10**6 and size % SLOTS == 0
            rule = (
                f"must be a multiple of {SLOTS}, up to a million: {SLOTS} places give equally many"
            )
        require(fits, "batch_size", size, rule)
        if self.log is not None:
            one_of("log", self.log, LOGS)
        check_minutes(self.max_minutes)
        if self.processes != "auto":
            self._check_processes()

    def _check_networks(self) -> None:
        changes = {} if self.networks is None else self.networks
        cure = "must say which network forecasts an operation: networks={norm:norm,bias:null}"
        require(isinstance(changes, dict), "networks", changes, cure)
        for operation, network in changes.items():
            one_of("networks", operation, OPERATIONS)
            named = isinstance(network, str) and network.isidentifier()
            require(network is None or named, "networks", changes, cure)
        one = not self.kind.whole or {*changes.values()} <= {"all", None}
        rule = f"{self.forecaster} has one network, all: give all or null for each operation"
        require(one, "networks", changes, rule)
        self.asked = {network for network in changes.values() if network}
        self.networks = {**self.kind.mapping, **changes}
        require(
            any(self.networks.values()), "networks", self.networks, "leaves nothing to forecast"
        )

    def _check_processes(self) -> None:
        count = self.processes if isinstance(self.processes, int) else 0
        require(
            count >= 1,
            "processes",
            self.processes,
            "must be 1 or more, or auto: as Slurm or a TPU pod says",
        )
        require(
            0 <= self.process < count,
            "process",
            self.process,
            f"must be 0 to {count - 1}: processes={count}",
        )
        cure = "several processes need the address of the first, such as coordinator=10.0.0.1:12345"
        host, _, port = (self.coordinator or "").rpartition(":")
        require(
            count == 1 or (bool(host) and port.isdigit()), "coordinator", self.coordinator, cure
        )

    @property
    def kind(self) -> type[Learned]:
        """The forecaster to fit."""
        return LEARNED[self.forecaster]

    @property
    def rule(self) -> Rule:
        """The shape of a window and its targets."""
        return Rule(
            cast(int, self.window), cast(int, self.horizon), self.kind.many, self.kind.from_start
        )

    @property
    def settings(self) -> Settings:
        """The settings of the fit."""
        steps, size, rate = cast(
            tuple[int, int, float], (self.steps, self.batch_size, self.learning_rate)
        )
        handful = {"handful": LEAVES} if self.kind.leaves else {}
        return Settings(steps, size, rate, self.seed, self.patience, **handful)
