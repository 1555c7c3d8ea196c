"""Tasks of any kind: made from a configuration, refused where they are none, recorded with what
they depend on.
"""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from collect import corpus
from collect.config import AugmentConfig, CollectConfig, DataConfig, ModelConfig
from collect.corpus import inspection
from collect.members import members
from collect.population import Group, _run_id, collect_population
from collect.tasks import LOSS, Classification, Metric, Task, build, check
from collect.tasks.failure import failure
from collect.tasks.names import names
from evaluate import Arm
from evaluate.comparison import compare
from meta_train.splitting import check_keep_out
from nowcast.types import UserError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "own_task.md"
TASKS = sorted((PAGE.parent.parent / "configs" / "task").glob("*.yaml"))


class Line:
    """A line through made-up points: the smallest task."""

    name, steps_per_epoch, splits, metrics = "line-made_up", 2, ("validation",), (LOSS,)

    def __init__(self):
        self.arrays = jnp.arange(8.0)
        self.labels = {"slope": "fc"}

    def init(self, seed):
        return {"slope": jnp.full((1, 1), float(seed))}, {}

    def order(self, seed, epoch):
        return np.arange(8).reshape(2, 4)

    def batch(self, arrays, indices, key=None):
        return arrays[indices]

    def loss(self, params, extra, batch, key):
        return jnp.mean((params["slope"][0] * batch - 1) ** 2), extra

    def evaluate(self, params, extra, split):
        return {"loss": 1.0}


def test_the_smallest_task_passes():
    check.check(Line(), "Line")
    assert isinstance(Line(), Task)


def test_parameters_and_losses_in_half_precision_are_a_task():
    task = Line()
    task.init = lambda seed: ({"slope": jnp.ones((1, 1), jnp.bfloat16)}, {})
    task.loss = lambda p, e, b, k: (jnp.mean(p["slope"][0] * b.astype(jnp.bfloat16)), e)
    check.check(task, "Line")


def test_a_classification_is_a_task():
    check.check(
        Classification.configured(ModelConfig("mlp", width=0.1), DataConfig(), AugmentConfig(), 64),
        "C",
    )


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("evaluate", None, "Line.evaluate: must be a method"),
        ("name", "a b", "Line.name: must be a text without spaces"),
        ("steps_per_epoch", 0, "Line.steps_per_epoch: must be a whole number"),
        ("name", "a\tb", "Line.name: must be a text without spaces"),
        ("name", "a" * 200, "at most 100"),
        ("metrics", (Metric("step"),), "a metric cannot be called 'step'"),
        ("metrics", (Metric("test_loss"),), "and no test_ before it"),
        ("metrics", (LOSS, LOSS), "Line.metrics: 'loss' is there twice"),
        ("splits", ("validation", "validation"), "Line.splits: 'validation' is there twice"),
        ("rates", {"slope": "half"}, "Line.rates: must hold a finite number for each leaf"),
        ("rates", {"slope": np.ones(7)}, "must hold a finite number"),
        ("rates", {"slope": float("nan")}, "must hold a finite number"),
        ("waits", 1, "Line.waits: must be True or False, and is 1"),
        ("record_every", 0, "Line.record_every: must be a whole number of steps"),
        ("metrics", ("loss",), "Line.metrics: must be a sequence of collect.tasks.Metric"),
        ("metrics", (Metric("loss", "less"),), "better is 'lower' or 'higher'"),
        ("splits", "test", "Line.splits: must be a sequence of names"),
        ("labels", {"slop": "fc"}, "Line.labels: must have the structure of params"),
        ("labels", {"slope": "gru"}, "'gru' is not an operation"),
        ("rates", {"other": 1.0}, "Line.rates: must have the structure of params"),
        (
            "init",
            lambda seed: {"slope": jnp.ones(1)},
            "Line.init: must give (params, extra), and gives dict",
        ),
        ("init", lambda seed: ({"slope": 1}, {}), "arrays of floats"),
        (
            "order",
            lambda seed, epoch: [[1]],
            "Line.order: must give a NumPy array of steps_per_epoch=2 rows",
        ),
        (
            "order",
            lambda seed, epoch: np.array(2),
            "a NumPy array of steps_per_epoch=2 rows, and gives an array of ()",
        ),
        (
            "order",
            lambda seed, epoch: jnp.ones((2, 4)),
            "steps_per_epoch=2 rows, and gives an array of (2, 4) of JAX",
        ),
        (
            "order",
            lambda seed, epoch: np.random.default_rng().permutation(8).reshape(2, 4),
            "Line.order: must give the same twice",
        ),
        (
            "order",
            lambda seed: 1,
            "Line.order: failed when it was called as order(seed, epoch) (TypeError",
        ),
        (
            "batch",
            lambda arrays, indices: arrays,
            "Line.batch: failed when it was called as batch(arrays, indices, key)",
        ),
        (
            "loss",
            lambda p, e, b: (jnp.sum(b), e),
            "Line.loss: failed when it was called as loss(params, extra, batch, key)",
        ),
        ("loss", lambda p, e, b, k: jnp.sum(b), "Line.loss: must give (loss, new extra)"),
        (
            "loss",
            lambda p, e, b, k: (b, e),
            "a loss that is one number, and gives an array of (4,)",
        ),
        ("loss", lambda p, e, b, k: (jnp.sum(b), {"count": 1}), "a new extra of the structure"),
        (
            "gradients",
            lambda p, e, b, k: (jnp.sum(b), e),
            "Line.gradients: must give (loss, gradients, new extra)",
        ),
        (
            "gradients",
            lambda p, e, b, k: (jnp.sum(b), {"slope": b}, e),
            "gradients of the structure and shapes of params",
        ),
        (
            "stream",
            lambda seed: 1,
            "Line.stream: failed when it was called as stream(seed, steps) (TypeError",
        ),
        (
            "stream",
            lambda seed, steps: iter([len(steps), 7][: len(steps)]),
            "must give the same for a step wherever it begins",
        ),
        (
            "evaluate",
            lambda p, e, s: 1.0,
            "Line.evaluate: must give a dict with the metrics, loss, and gives float",
        ),
        ("evaluate", lambda p, e, s: {"los": 1.0}, "and gives los"),
        ("evaluate", lambda p, e, s: {"loss": "low"}, "loss as a number, and gives str"),
        (
            "evaluate",
            lambda p, e, s: {"loss": -1.0},
            "Line.metrics: loss is compared by ratio and is -1",
        ),
    ],
)
def test_what_is_of_the_wrong_kind_is_named_in_one_line(member, value, said):
    task = Line()
    setattr(task, member, value)
    with pytest.raises(UserError) as caught:
        check.check(task, "Line")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({"acc": 1.0}, "a dict with the metrics, loss, and gives acc"),
        ({"loss": None}, "loss as a number, and gives NoneType"),
        ({"loss": -1.0}, "loss is compared by ratio and is -1"),
    ],
)
@pytest.mark.parametrize("trains", ["collect", "compare"])
def test_what_is_measured_is_looked_at_every_time(tmp_path, monkeypatch, trains, later, said):
    task, calls = Line(), iter(range(1000))
    task.evaluate = lambda params, extra, split: {"loss": 1.0} if next(calls) < 3 else later
    monkeypatch.setattr(build, "make", lambda config, batch_size: task)
    collects = partial(collect_population, CollectConfig(corpus=str(tmp_path / "c"), epochs=6))
    arms = {"constant": Arm(), "linear": Arm(over="constant", forecaster="linear")}
    settings = {"epochs": 12, "learning_rate": 0.1, "seeds": range(2)}
    compares = partial(compare, task, arms, tmp_path / "r", **settings)
    with pytest.raises(UserError, match=said):
        {"collect": collects, "compare": compares}[trains]()


def test_an_order_of_other_rows_is_told_by_its_shape_once():
    task = Line()
    task.order = lambda seed, epoch: np.ones((3, 16))
    with pytest.raises(UserError, match=r"2 rows, and gives an array of \(3, 16\)$"):
        check.check(task, "Line")


@pytest.mark.parametrize(
    "member", ["name", "labels", "metrics", "splits", "arrays", "init", "loss"]
)
def test_what_is_missing_is_named(member):
    lacking = SimpleNamespace(
        **{name: getattr(Line(), name) for name in dir(Line()) if name[0] != "_" and name != member}
    )
    with pytest.raises(UserError, match=f"Line.{member}: is missing: a task needs {member}"):
        check.check(lacking, "Line")


def test_a_task_with_its_own_gradients_needs_no_loss():
    task = SimpleNamespace(
        **{name: getattr(Line(), name) for name in dir(Line()) if name[0] != "_" and name != "loss"}
    )
    task.gradients = lambda p, e, b, k: (jnp.sum(b), p, e)
    task.rates = {"slope": 0.5}
    check.check(task, "Line")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to type commands in, on the import path as long as the test runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def configuration(target, **own):
    return SimpleNamespace(
        task={"_target_": target, **own},
        model=ModelConfig("mlp"),
        data=DataConfig(),
        augment=AugmentConfig(),
        batch_size=4,
    )


def test_a_class_gets_its_own_keys_and_the_parts_that_it_asks_for(here):
    (here / "asking.py").write_text(
        "class Asking:\n    def __init__(self, batch_size, data, *, model, width=1):\n       "
        " self.got = batch_size, data.name, model, width\n"
    )
    own = configuration("asking.Asking", model="lstm", width=3)
    with pytest.raises(UserError, match=r"asking\.Asking\.name: is missing"):
        build.make(own)
    made = build._call(
        build.resolve("asking.Asking"), "T", {"model": "lstm"}, vars(own) | {"batch_size": 7}
    )
    assert made.got == (7, "digits", "lstm", 1)
    assert build.described(own) == {
        "task_config": own.task,
        "data": {"name": "digits", "train_size": None},
    }


def test_a_file_that_fails_is_told_by_its_line(here):
    (here / "failing.py").write_text("import math\n\nmath.nothing\n")
    with pytest.raises(
        UserError,
        match=r"failing cannot be imported \(AttributeError: .*nothing.*, failing.py line 3\)",
    ):
        build.make(configuration("failing.Task"))
    (here / "broken.py").write_text("class Task(\n")
    with pytest.raises(UserError, match=r"broken cannot be imported \(SyntaxError"):
        build.make(configuration("broken.Task"))
    (here / "raising.py").write_text("class Task:\n    def __init__(self):\n        1 / 0\n")
    with pytest.raises(
        UserError, match=r"cannot be made \(ZeroDivisionError: .*, raising.py line 3\)"
    ):
        build.make(configuration("raising.Task"))


def test_a_missing_key_is_told_with_those_that_there_are(here):
    (here / "needing.py").write_text(
        "class Task:\n    def __init__(self, batch_size, width, depth=2):\n        pass\n"
    )
    with pytest.raises(
        UserError,
        match=r"task.width is missing: give task.width=…; needing.Task takes width, depth",
    ):
        build.make(configuration("needing.Task"))


def test_a_failure_without_a_line_of_the_users_names_none():
    assert failure(ValueError("odd")) == "ValueError: odd"


def test_what_a_classification_records_is_what_it_recorded_before(corpus_config, tmp_path):
    config = corpus_config(tmp_path, runs=1)
    group = Group(config, list(members(config)), None)
    described = group._describe(group.members[0])
    assert list(described) == [
        "task",
        "seed",
        "model",
        "data",
        "optimizer",
        "augment",
        "batch_size",
        "epochs",
        "record_every",
    ]
    assert _run_id(described) == "mlp-digits-adam-seed0-" + BEFORE


BEFORE = "23555fa0"
"""The digest that the collector gave this run before there were tasks of other kinds."""


def run(task, **config):
    return SimpleNamespace(config={"task": task, **config})


def made(task, **config):
    return run(task, **config).config


def test_keep_out_knows_tasks_of_ones_own(unchecked):
    assert names(made("gpt-tiny_shakespeare", task_config={"layers": 2})) == {
        "gpt",
        "gpt-tiny_shakespeare",
    }
    sized = made("gpt_l4_w128-tiny_shakespeare", task_config={"layers": 4, "width": 128})
    assert {"gpt", "gpt-tiny_shakespeare", "gpt_l4_w128", sized["task"]} <= names(sized)
    mlp = {"name": "mlp", "depth": None}
    assert names(made("mlp-mnist", model=mlp)) == {"mlp", "mlp-mnist"}
    assert {"mine", "resnet32", "resnet"} <= names(
        made("mine-data", task_config={"model": "resnet32"})
    )
    assert "resnet20" in names(
        made("mine-data", task_config={"model": {"name": "resnet", "depth": 20}})
    )
    check_keep_out([run("gpt-poem")], ["gpt", "shufflenet_v2", "resnet32"])
    with pytest.raises(
        UserError, match=r"keep_out=gpd: no architecture, and no run .* in the corpus gpt, gpt-poem"
    ):
        check_keep_out([run("gpt-poem")], ["gpd"])


def test_the_task_of_the_documents_goes_through_all_commands(script, tmp_path):
    text = PAGE.read_text()
    [code] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    [lines] = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "my_tasks.py").write_text(code)
    short = {
        "collect": [],
        "meta_train": ["steps=20"],
        "evaluate": ["seeds=2", "tuned.seeds=2", "workers=1"],
    }
    for line in lines.splitlines():
        name, *given = re.fullmatch(r"python scripts/(\w+)\.py (.*)", line).groups()
        done = script(name, *given[0].replace("steps=200", "").split(), *short[name], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if name == "collect":
            assert "\nsine16-made_up: 3 complete\n" in f"\n{done.stdout}"
    one, *_ = corpus.open(tmp_path / "corpora/sine")
    assert one.config["task"] == "sine16-made_up"
    assert one.config["task_config"] == {"_target_": "my_tasks.Sine", "width": 16}
    assert "data" not in one.config
    assert one.metrics["loss"][-1] < one.metrics["loss"][0]
    assert (tmp_path / "reports/sine/report.html").is_file()
    assert jax.tree.leaves(list(tmp_path.glob("reports/sine/results.json")))


def test_a_member_that_fails_when_it_is_read_is_named():

    class Late(Line):
        @property
        def rates(self):
            raise RuntimeError("not yet")

    class Ends(Line):
        def evaluate(self, params, extra, split):
            raise SystemExit(3)

    class Shifting(Line):
        arrays = ()

        def stream(self, seed, steps):
            return (np.arange(4.0 + step) for step in steps)

        def batch(self, arrays, indices, key=None):
            return indices

    for kind, said in (
        (Late, "Late.rates: failed when it was read (RuntimeError: not yet"),
        (
            Ends,
            (
                "Ends.evaluate: failed when it was called as evaluate(params, extra, split)"
                " (SystemExit: 3"
            ),
        ),
        (Shifting, "Shifting.stream: must give arrays of the same shapes at every step"),
    ):
        task = kind()
        if kind is Shifting:
            task.arrays = ()
        with pytest.raises(UserError, match=re.escape(said)):
            check.check(task, kind.__name__)


@pytest.mark.parametrize("target", ["builtins.int", "collect.tasks.protocol.Task"])
def test_a_class_that_is_no_task_is_refused_in_one_line(target):
    with pytest.raises(
        UserError, match=f"task._target_={target}: is not a task; give a class of your own"
    ):
        build.resolve(target)


@pytest.mark.parametrize(
    ("typed", "refused"),
    [
        ("model=lenet", "model=lenet"),
        ("+model.width=0.5", r"\+model.width=0.5"),
        ("augment=crop_flip", "augment=crop_flip"),
        ("data=tiny_shakespeare", None),
        ("batch_size=8", None),
        ("task.layers=1", None),
        ("models=3", None),
    ],
)
def test_what_is_typed_of_a_part_that_the_task_does_not_take_is_refused(typed, refused):
    config = SimpleNamespace(task={"_target_": "collect.tasks.Language"})
    if refused is None:
        build.check_typed(config, ["epochs=2", typed])
    else:
        with pytest.raises(UserError, match=f"^{refused}: collect.tasks.Language takes no "):
            build.check_typed(config, ["epochs=2", typed])


@pytest.mark.parametrize("command", ["collect corpus=mine", "evaluate report=mine"])
def test_a_model_of_a_task_without_models_ends_a_command_with_one_line(command, script, tmp_path):
    name, *more = command.split()
    done = script(name, *more, "task=gpt", "model=lenet", cwd=tmp_path)
    said = "error: model=lenet: collect.tasks.Language takes no model; leave it out\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_an_error_of_a_tasks_own_code_while_it_trains_is_one_line_and_ours_is_not_hidden(here):
    (here / "late.py").write_text(
        "class Late:\n    def fail(self):\n        raise ValueError('boom\\nand more')\n"
    )
    config = configuration("late.Late")
    said = r"^task\._target_=late\.Late: failed while it trained \(ValueError: boom, late.py line 3"
    with pytest.raises(UserError, match=said), build.failures_in_one_line(config):
        build.resolve("late.Late")().fail()
    with pytest.raises(UserError, match=r"^as it was$"), build.failures_in_one_line(config):
        raise UserError("as it was")
    with (
        pytest.raises(ZeroDivisionError),
        build.failures_in_one_line(configuration("collect.tasks.Language")),
    ):
        raise ZeroDivisionError


FAILING = """
from pathlib import Path

import jax
import jax.numpy as jnp

from collect.tasks import LOSS


class Failing:
    name, steps_per_epoch, splits, metrics = "failing-x", 2, ("validation",), (LOSS,)

    def __init__(self):
        self.arrays, self.labels, self.evaluated = jnp.arange(8.0), {"slope": "fc"}, 0

    def init(self, seed):
        return {"slope": jnp.full((SIZE, 1), float(seed))}, {}

    def order(self, seed, epoch):
        return jax.device_get(jnp.arange(8)).reshape(2, 4)

    def batch(self, arrays, indices, key=None):
        return arrays[indices]

    def loss(self, params, extra, batch, key):
        return jnp.mean((params["slope"][0] * batch - 1) ** 2), extra

    def evaluate(self, params, extra, split):
        self.evaluated += 1
        if self.evaluated > MOST:
            raise ValueError("boom")
        return {"loss": 1.0}
"""


@pytest.mark.parametrize("size", [1, 2])
def test_a_task_that_failed_goes_on_when_its_code_is_mended(script, tmp_path, size):
    """It begins anew where the mended code has other leaves."""

    def collect(most, size):
        text = f"SIZE, MOST = {size}, {most}\n{FAILING}"
        (tmp_path / "failing.py").write_text(text)
        given = ["task._target_=failing.Failing", "runs=1", "epochs=6", "corpus=corpus"]
        return script("collect", *given, cwd=tmp_path)

    done = collect(most=4, size=1)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "(ValueError: boom, failing.py line 32); finished runs stay, and" in done.stderr
    assert not corpus.open(tmp_path / "corpus").runs
    done = collect(most=99, size=size)
    assert done.returncode == 0, done.stderr
    assert "failing-x: 1 complete\n" in done.stdout
    then = (
        r"(it goes on from snapshot \d|there was no checkpoint; it begins anew)\n"
        if size == 1
        else "its leaves were others; it begins anew\n"
    )
    assert re.search(f"was unfinished: {then}", done.stderr)
    [run] = corpus.open(tmp_path / "corpus")
    assert run.weights.shape == (7, size)
    inspection.verify(run)


@pytest.mark.parametrize("file", TASKS, ids=lambda file: file.stem)
def test_a_key_that_none_of_our_tasks_has_is_refused_in_one_line(file):
    given = yaml.safe_load(file.read_text())
    parts = {"model": None, "data": None, "augment": SimpleNamespace(name="none"), "batch_size": 1}
    config = SimpleNamespace(task=given | {"widht": 3}, **parts)
    with pytest.raises(UserError, match=r"task.widht: is unknown; .* takes "):
        build.make(config)


def test_so_it_is_where_a_task_of_ones_own_is_a_subclass_of_ours(tmp_path, monkeypatch):
    (tmp_path / "subclassed.py").write_text(
        "from collect.tasks import Diffusion\n\n\nclass Mine(Diffusion):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    parts = {"model": None, "data": None, "augment": None, "batch_size": 1}
    config = SimpleNamespace(task={"_target_": "subclassed.Mine", "widht": 3}, **parts)
    with pytest.raises(UserError, match=r"task.widht: is unknown; subclassed.Mine takes "):
        build.make(config)
