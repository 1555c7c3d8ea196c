"""The WNN paper's ImageNet and transfer of Table 5: the published settings, in both forms, and a
fast run of each small form with two of its arms.
"""

from pathlib import Path

import jax
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from made_sets import needs_sets
from omegaconf import OmegaConf
from whole_way import LEFT_OUT

import nowcast
from collect.config import CollectConfig
from collect.models import MODELS
from collect.tasks import build
from evaluate import resolve
from evaluate.commands import products
from evaluate.config import EvaluateConfig

CONFIGS = str(Path(__file__).resolve().parent.parent / "configs")
ARMS = ["linear", "introspection", "published", "nowcast_safe", "gram_safe"]
SMALL = [f"naive_{name}" for name in (*ARMS, "auto")]
SMALL += ["cosine", "cosine_nowcast_safe", "cosine_gram_safe"]
"""Of the small forms, behind ``naive``."""
JUMPING = {"conv", "depthwise_conv", "fc", "bias"}


@pytest.fixture(scope="module")
def composed():
    """The configuration of an experiment, checked."""
    products.store()
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    ConfigStore.instance().store(name="collect_schema", node=CollectConfig)

    def make(name, *more, command="evaluate"):
        with initialize_config_dir(CONFIGS, version_base="1.3"):
            return OmegaConf.to_object(compose(command, [f"experiment={name}", *more]))

    return make


def chosen(config):
    """The arms of a configuration, settled."""
    rate = config.optimizer.learning_rate
    return resolve(config.arm, optimizer=config.optimizer.name, learning_rate=rate)[0]


@pytest.mark.parametrize("form", ["", "_small"])
def test_transfer_is_the_published_program(composed, form):
    config = composed(f"table5_transfer{form}", "report=mine", "published=average")
    base, *jumping = chosen(config)
    assert (base.optimizer, base.schedule, base.learning_rate) == (
        "momentum",
        "up_flat_down",
        2.5e-3,
    )
    assert [arm.name for arm in jumping] == (SMALL if form else ARMS)
    assert config.augment.name == "flip_shift_cutout"
    assert config.data.standardize
    assert config.task["_target_"] == "collect.tasks.Transfer"
    for arm in jumping:
        assert (arm.guard is None) == (arm.jump.min_drift is None)
    assert config.data.validation == bool(form)
    if form:
        assert all((arm.jump.operations, arm.jump.skip) == (None, None) for arm in jumping)
    else:
        for arm in jumping:
            assert (set(arm.jump.operations), arm.jump.skip) == (JUMPING, ["stages/*/bias"])
        assert (config.data.name, config.data.size, config.batch_size) == ("cifar100", 224, 128)
        assert (config.epochs, config.target_value, config.model.width) == (45, 0.8, 1.0)


@pytest.mark.parametrize("form", ["", "_small"])
def test_imagenet_decays_evenly_in_the_logarithm(composed, form):
    config = composed(f"table5_imagenet{form}", "report=mine", "published=average")
    base, *jumping = chosen(config)
    assert (base.optimizer, base.schedule, base.learning_rate) == ("adam", "exponential", 1e-3)
    assert [arm.name for arm in jumping] == (SMALL if form else ARMS)
    assert config.model.name == "mobilenet_v2_imagenet"
    if form:
        assert (config.data.name, config.data.in_memory, config.model.width) == ("cifar10", 0, 0.25)
    else:
        assert (config.data.name, config.data.size, config.target_value) == (
            "imagenet2012",
            224,
            0.68,
        )


def test_the_small_form_of_transfer_begins_with_other_classes(composed, monkeypatch, tmp_path):
    first = composed("table5_pretraining", command="collect")
    second = composed("table5_transfer_small", "report=mine")
    assert (first.data.classes, second.data.classes) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
    assert first.model == second.model
    assert (second.task["weights"], second.task["made_by"]) == (first.corpus, "table5_pretraining")
    monkeypatch.chdir(tmp_path)
    command = (
        f"make it: python scripts/collect.py experiment=table5_pretraining corpus={first.corpus}"
    )
    with pytest.raises(nowcast.UserError, match=f"is not there; {command}$"):
        build.make(second)


def test_in_the_backbone_kernels_jump_alone_and_in_the_head_the_bias_too():
    from flax import nnx

    model = nnx.eval_shape(lambda: MODELS["pvt_v2"]((64, 64, 3), 5, width=0.125, rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    jumps = nowcast.Jumps(
        forecaster=nowcast.load("linear"),
        every=1,
        labels=nowcast.label_ops(model),
        operations=[*JUMPING],
        skip=["stages/*/bias"],
    )
    names = {
        nowcast.ops.path_name(path): jump
        for (path, _), jump in zip(
            jax.tree.leaves_with_path(params), jumps._jumping(params), strict=True
        )
    }
    for name, jumping in names.items():
        kernel = name.endswith("kernel")
        assert jumping == (kernel or name == "head/bias"), name


@needs_sets
@pytest.mark.slow
@pytest.mark.usefixtures("cache_folder")
def test_the_small_form_of_imagenet_runs_in_fast_mode(script, tmp_path):
    done = script(
        "evaluate",
        "experiment=table5_imagenet_small",
        "model=lenet",  # that of the experiment compiles for a minute
        "model.width=0.2",
        "data.name=mnist",
        "data.train_size=480",
        "batch_size=16",
        "epochs=1",
        "record_every=5",
        "seeds=1",
        "tuned.seeds=1",
        *LEFT_OUT,
        f"report={tmp_path / 'report'}",
    )
    assert done.returncode == 0, done.stderr
    assert "nowcast_safe" in done.stdout


@pytest.mark.slow
def test_the_small_form_of_transfer_runs_in_fast_mode(script, tmp_path):
    # The network of the experiment compiles for minutes; tests/test_architectures.py trains it.
    small = ("model=lenet", "model.width=0.2", "data.name=digits", "data.train_size=320")
    small += ("batch_size=16", "epochs=1")
    for name, *given in (
        ("collect", "experiment=table5_pretraining", *small),
        (
            *("evaluate", "experiment=table5_transfer_small", *small),
            *(
                "record_every=3",
                "seeds=1",
                "protocol=paper",
                "target_value=0.01",
                *LEFT_OUT,
                "report=report",
            ),
        ),
    ):
        done = script(name, *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "nowcast_safe" in done.stdout
