"""The arguments of a ``next:`` line make the task of the run that they were made from."""

import shlex
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from collect.commands.cli import CONFIGS
from collect.commands.naming import USUAL, named
from collect.config import CollectConfig, DataConfig
from collect.tasks import build

GPT = {
    "_target_": "collect.tasks.Language",
    "tokens": "characters",
    "layers": 2,
    "heads": 4,
    "width": 64,
    "context": 64,
    "dropout": 0.0,
    "steps_per_epoch": 50,
}

DDPG = {
    "_target_": "collect.tasks.DDPG",
    "gamma": 0.95,
    "tau": 0.005,
    "capacity": 20000,
    "learns_after": 64,
    "noise": 0.2,
    "actor_rate": 1.0,
    "critic_rate": 2.0,
}


def test_what_no_command_trains_has_no_arguments_and_images_have_a_network_of_their_own():
    assert named({"task": "mine", "run": "mine-7", "record_every": 100}) is None
    assert named({"model": {"name": "mlp"}, "data": {"name": "mnist"}}) == USUAL


@pytest.mark.parametrize(
    ("own", "data", "said"),
    [
        (GPT, {"name": "tiny_shakespeare", "train_size": None}, "task=gpt data=tiny_shakespeare"),
        (
            GPT | {"layers": 3, "steps_per_epoch": None, "tokens": "my tokens.json"},
            {"name": "lm1b", "train_size": 5000},
            "task=gpt 'task.tokens=my tokens.json' task.layers=3 task.steps_per_epoch=null"
            " data.name=lm1b data.train_size=5000",
        ),
        (DDPG | {"tau": 0.001}, None, "task=ddpg task.tau=0.001"),
        (
            {"_target_": "mine.Sine", "wide": True, "sizes": [1, 2], "more": {"a": 0.5}},
            None,
            "task._target_=mine.Sine task.wide=true 'task.sizes=[1,2]' 'task.more={a:0.5}'",
        ),
    ],
)
def test_the_arguments_are_read_back_as_the_task_that_the_run_had(own, data, said):
    config = {"task_config": own} | ({"data": data} if data else {})
    assert named(config).replace("'", "") == said.replace("'", "")
    ConfigStore.instance().store(name="collect_schema", node=CollectConfig)
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        read = compose("collect", [*shlex.split(named(config)), "corpus=c"])
    assert OmegaConf.to_container(read.task) == own
    if data:
        again = SimpleNamespace(
            task=own,
            model=None,
            augment=None,
            data=DataConfig(read.data.name, read.data.train_size),
        )
        assert build.described(again)["data"] == data
