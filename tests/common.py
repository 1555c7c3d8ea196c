# ruff: noqa: E402
"""Strictness for every test, simulated devices, and the small corpus and bundle that several tests
read.
"""

import collections
import fcntl
import gc
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ["KERAS_BACKEND"] = "jax"
FAST_TO_COMPILE = (
    # Most of the time goes into optimization.
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"  # the other core runs tests of its own
)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST_TO_COMPILE}"
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    # What is written durably waits for the disk, a quarter of the time: folders of tests lie in
    # memory where there is room.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

import jax
import jaxtyping
import lowering  # noqa: F401  a thread's programs are lowered in one context
import pytest
import slow
import typecheck  # noqa: F401  checks of inner functions are written once
import warm
from made_sets import MADE

# Tracing makes millions of small objects: by default a third of the time went there.
gc.set_threshold(200_000, 20, 50)
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jaxtyping.install_import_hook(["nowcast", "collect", "meta_train", "evaluate"], "typecheck.check")

from collect.config import CollectConfig, ModelConfig, OptimizerConfig, VaryConfig
from collect.corpus.recorder import Recorder
from collect.population import collect_population
from meta_train import data, fitting, loader
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train

# Fits in this process draw fewer windows than those of the commands, are split over two of the
# devices, and make no pictures: more devices and pictures have tests of their own.
data.SCORED, data.WATCHED, loader.DEPTH = 4_000, 1_024, 2
loader.devices = lambda: jax.devices()[:2]
fitting.png = lambda figure: b"a picture"


def pytest_collection_modifyitems(items):
    rows = collections.Counter()
    for item in items:
        name = f"{item.path.name}::{item.originalname}"
        if slow.is_slow(name, rows[name]):
            item.add_marker(pytest.mark.slow)
        rows[name] += 1
    # One that waits for pip for minutes begins first, so that others run beside it.
    items.sort(key=lambda item: item.path.name != "test_wheel.py")


@pytest.fixture
def unchecked():
    """Without the type checks that only tests have: for arguments of a wrong type."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def keras_as_users_have_it():
    """Keras broadcasts biases over ranks, which the tests forbid nowcast."""
    import keras

    keras.utils.clear_session(free_memory=False)  # names of layers begin anew
    keras.utils.set_random_seed(0)
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """``once(name, make)``: a folder that all workers of this session share, and what ``make`` of
    it gave to the one that came first.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def find(name, make):
        folder, gave = root / f"shared_{name}", root / f"shared_{name}.pickle"
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not gave.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that failed
                folder.mkdir()
                gave.write_bytes(pickle.dumps(make(folder)))
        return folder, pickle.loads(gave.read_bytes())

    return find


@pytest.fixture(scope="module")
def cache_folder(once):
    """A cache of the tests' own."""
    folder, _ = once("cache", lambda folder: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "weight-nowcaster"


@pytest.fixture(scope="session")
def made(once):
    """A folder of small sets that TFDS prepared without TensorFlow; tests never change it."""

    def prepare(folder):
        (folder / "made.py").write_text(MADE)
        command = [sys.executable, folder / "made.py", folder / "sets"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    return once("made_sets", prepare)[0] / "sets"


@pytest.fixture(scope="session")
def corpus_config():
    """Makes the configuration of a tiny collection; keywords override."""

    def make(path, **overrides):
        given = {
            "model": ModelConfig("mlp", width=0.1),
            "optimizer": OptimizerConfig("adam", 3e-3),
            "vary": VaryConfig(learning_rate=[1e-3, 1e-2]),
            "runs": 3,
            "epochs": 14,
            "batch_size": 256,
        }
        return CollectConfig(corpus=str(path), **(given | overrides))

    return make


@pytest.fixture(scope="session")
def corpus_path(once, corpus_config):
    """A recorded corpus: 3 runs of a narrow MLP on digits, 14 epochs each. Read it, do not change
    it.
    """

    def collect(folder):
        path = folder / "corpus"
        return collect_population(
            corpus_config(path), command=f"python scripts/collect.py model=mlp corpus={path}"
        )

    folder, counts = once("recorded", collect)
    assert counts["complete"] == 3
    return folder / "corpus"


@pytest.fixture
def collect_until_killed(monkeypatch):
    """Collects until a run has recorded a snapshot of this index; ``checkpoint(folder, snapshot)``
    says where a checkpoint is made.
    """

    class Killed(BaseException):
        pass

    append = Recorder.append

    def collect(config, last, checkpoint=lambda folder, snapshot: True):
        def append_until_killed(self, snapshot, params, metrics, state, **more):
            more |= {"checkpoint": checkpoint(self.path, snapshot)}
            append(self, snapshot, params, metrics, state, **more)
            if snapshot == last:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "append", append_until_killed)
            with pytest.raises(Killed):
                collect_population(config)

    return collect


@pytest.fixture(scope="session")
def bundle_path(once, corpus_path):
    """A bundle fitted to that corpus in a few steps. Read it, do not change it."""

    def fit(folder):
        path = folder / "bundle"
        config = MetaTrainConfig(str(corpus_path), str(path), steps=40, batch_size=64)
        meta_train(
            config, command=f"python scripts/meta_train.py corpus={corpus_path} bundle={path}"
        )

    return once("fitted", fit)[0] / "bundle"


def pytest_collection_finish(session):
    """Let a warm process import while the first tests run, where commands will be tested and this
    process runs tests.
    """
    commands = {"script", "launch"}
    if not session.config.option.collectonly and any(
        commands & set(getattr(item, "fixturenames", ())) for item in session.items
    ):
        warm.warm_up()


@pytest.fixture(scope="session")
def command_line():
    """The command of ``scripts/NAME.py`` with overrides, for ``subprocess``."""

    def make(name, *overrides):
        return [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, overrides)]

    return make


@pytest.fixture(scope="session")
def script(command_line):
    """Runs ``scripts/NAME.py`` with overrides, as a user would, and gives the finished process."""

    def run(name, *overrides, cwd=ROOT):
        return warm.run(command_line(name, *overrides), cwd=cwd)

    return run


@pytest.fixture(scope="session")
def process(command_line):
    """As ``script``, in a process that was started by itself: slower, for what starts further
    processes.
    """

    def run(name, *overrides, cwd=ROOT):
        command = command_line(name, *overrides)
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
        )

    return run


@pytest.fixture
def launch(command_line):
    """Starts ``scripts/NAME.py`` with overrides; kills it if it still runs at the test's end."""
    begun = []

    def start(name, *overrides, cwd=ROOT):
        begun.append(warm.Command(command_line(name, *overrides), cwd=cwd))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def small_task():
    """The overrides that name the task of the small comparisons."""
    return ["model=mlp", "model.width=0.1", "data.train_size=256", "batch_size=64"]


@pytest.fixture(scope="session")
def evaluation(bundle_path, small_task):
    """The overrides of a small comparison, as a user types them; two jumps in eleven epochs."""
    return [
        f"forecaster={bundle_path}",
        *small_task,
        "arm=[constant,constant_linear,constant_nowcast,cosine,cosine_linear,cosine_nowcast]",
        "seeds=3",
        "epochs=11",
        "tuned.learning_rates=[0.003,0.01]",
        "tuned.warmups=[0.1]",
        "tuned.seeds=2",
    ]


@pytest.fixture(scope="session")
def evaluated(once, script, evaluation):
    """``(folder, process)`` of that comparison. Read it, do not change it."""
    root, done = once(
        "evaluated",
        lambda root: script("evaluate", *evaluation, f"report={root / 'report'}", cwd=root),
    )
    assert done.returncode == 0, done.stderr
    return root / "report", done
