"""DDPG on a pendulum, beside the published program written anew in NumPy, and in all commands."""

import collections
import itertools
import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import nowcast
from collect import corpus
from collect.commands.cli import CONFIGS
from collect.config import AugmentConfig, CollectConfig, DataConfig, ModelConfig, TrainingConfig
from collect.corpus import inspection
from collect.population import collect_population
from collect.tasks import DDPG, Task, build, check, control
from collect.tasks.carried import Draws
from collect.tasks.names import names
from collect.tasks.replay import distinct
from collect.training import optimizers
from collect.training.loop import Loop
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from nowcast.types import UserError

SMALL = {"batch_size": 4, "capacity": 14, "learns_after": 6, "tau": 0.2, "gamma": 0.9}
GIVEN = OmegaConf.to_container(OmegaConf.load(f"{CONFIGS}/task/ddpg.yaml"))
SHORT = 9
"""Steps of an episode of the reference."""


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_parameters_are_as_many_as_published():
    params, _ = DDPG().init(0)
    assert (count(params["actor"]), count(params["critic"])) == (2_881, 2_817)


def test_every_leaf_has_an_operation_and_a_rate():
    task = DDPG()
    params, extra = task.init(3)
    assert task.labels == nowcast.label_ops(params)
    for path, label in jax.tree_util.tree_leaves_with_path(task.labels):
        assert label == ("bias" if "bias" in jax.tree_util.keystr(path) else "fc")
    assert set(jax.tree.leaves(task.rates["actor"])) == {1.0}
    assert set(jax.tree.leaves(task.rates["critic"])) == {2.0}
    jax.tree.map(np.testing.assert_array_equal, extra.target, params)


def test_it_is_a_task(unchecked):
    assert isinstance(DDPG(), Task)
    check.check(DDPG(), "DDPG")


def test_initial_weights_are_keras_s():
    params, _ = DDPG().init(1)
    kernel = np.asarray(params["actor"]["h2"]["kernel"])
    limit = math.sqrt(6 / (64 + 32))
    assert np.abs(kernel).max() < limit
    assert kernel.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    assert not np.any(params["critic"]["q"]["bias"])


def dense(layer, x, relu=True):
    out = x @ layer["kernel"] + layer["bias"].reshape(1, -1)
    return (out > 0) * out if relu else out


def policy(actor, seen):
    x = dense(actor["h3"], dense(actor["h2"], dense(actor["h1"], seen)))
    return 2 * jnp.tanh(dense(actor["action"], x, relu=False))


def value(critic, seen, action):
    x = jnp.concatenate([dense(critic["x1"], seen), dense(critic["a1"], action)], axis=1)
    return dense(critic["q"], dense(critic["h3"], dense(critic["h2"], x)), relu=False)[:, 0]


def moved(params, step):
    """Weights as if an optimizer had taken some steps: the reference asks none."""
    return jax.tree.map(lambda leaf: leaf * (1 + 0.01 * step) + 0.003 * step, params)


def draws(step):
    rng = np.random.default_rng(step)
    own = (rng.uniform(size=2), rng.normal(), rng.uniform(size=SMALL["batch_size"]))
    start, noise, shares = (jnp.asarray(each, jnp.float32) for each in own)
    return Draws(jnp.int32(step % SHORT), start, noise, shares)


@pytest.fixture(scope="module")
def steps():
    """``(weights, draws, loss, gradients, extra)`` of 30 steps, of three episodes and a bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "EPISODE", SHORT)
        task = DDPG(**SMALL)
        begun, extra = task.init(5)
        step, found = jax.jit(task.gradients), []
        for number in range(30):
            params, own = moved(begun, number), draws(number)
            loss, grads, extra = step(params, extra, own, jax.random.key(0))
            found.append((params, own, float(loss), grads, jax.tree.map(np.asarray, extra)))
    return begun, found


def test_steps_are_those_of_the_published_program(steps):
    begun, found = steps
    buffer, target, rewards = collections.deque(maxlen=14), begun, []
    for number, (params, own, loss, grads, extra) in enumerate(found):
        if len(buffer) > 6:  # the step before was an update: targets follow its weights
            target = jax.tree.map(lambda old, new: 0.2 * new + 0.8 * old, target, params)
        if number % SHORT == 0:
            angle, speed, noise, total = *(2 * np.asarray(own.start) - 1), 0.0, 0.0
            angle *= math.pi
        seen = [math.cos(angle), math.sin(angle), speed]
        noise += 0.15 * (0 - noise) * 0.1 + 0.2 * math.sqrt(0.1) * float(own.noise)
        action = float(np.clip(policy(params["actor"], np.array([seen]))[0, 0] + noise, -2, 2))
        off = (angle + math.pi) % (2 * math.pi) - math.pi
        reward = -(off**2 + 0.1 * speed**2 + 0.001 * action**2)
        speed = np.clip(speed + (15 * math.sin(angle) + 3 * action) * 0.05, -8, 8)
        angle += 0.05 * speed
        after, total = [math.cos(angle), math.sin(angle), speed], total + reward
        ends = number % SHORT == SHORT - 1
        buffer.append((seen, action, (reward + 8) / 8, after, ends))
        if ends:
            rewards.append(total)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), extra.target, target)
        assert int(extra.held) == number + 1
        assert int(extra.episodes) == len(rewards)
        np.testing.assert_allclose(extra.rewards[: len(rewards)], rewards, rtol=1e-3)
        assert float(extra.noise) == pytest.approx(noise, abs=1e-5)
        newest = np.hstack(buffer[-1])
        np.testing.assert_allclose(extra.buffer[number % 14], newest, rtol=2e-3, atol=2e-3)
        if len(buffer) <= 6:
            assert loss == 0
            assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads))
            continue
        rows = extra.buffer[np.asarray(distinct(own.shares, jnp.int32(len(buffer))))]
        seen_by, actions, given, later = rows[:, :3], rows[:, 3:4], rows[:, 4], rows[:, 5:8]
        ahead = value(target["critic"], later, policy(target["actor"], later))
        wanted = jnp.where(rows[:, 8] == 1, given, given + 0.9 * ahead)

        def of_critic(critic, seen=seen_by, actions=actions, wanted=wanted):
            return jnp.mean((value(critic, seen, actions) - wanted) ** 2)

        def of_actor(actor, seen=seen_by, critic=params["critic"]):
            return -jnp.mean(value(critic, seen, policy(actor, seen)))

        error, critic = jax.value_and_grad(of_critic)(params["critic"])
        cost, actor = jax.value_and_grad(of_actor)(params["actor"])
        assert loss == pytest.approx(float(error + cost), rel=1e-3, abs=1e-3)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=5e-3, atol=2e-4),
            grads,
            {"actor": actor, "critic": critic},
        )
    assert len(rewards) == 3


def test_a_guard_judges_both_networks_without_the_critics_own_praise(steps):
    task = DDPG(**SMALL)
    params, own, _, _, extra = steps[1][-1]
    extra = jax.tree.map(jnp.asarray, extra)
    judged = jax.jit(lambda params: task.loss(params, extra, own)[0])
    before = float(judged(params))
    proud = jax.tree.map(jnp.copy, params)
    proud["critic"]["q"]["bias"] += 100.0
    assert float(judged(proud)) > before + 1000
    better = jax.tree.map(jnp.copy, params)
    climb = jax.grad(lambda actor: judged(params | {"actor": actor}))(params["actor"])
    better["actor"] = jax.tree.map(lambda leaf, g: leaf - 1e-4 * g, params["actor"], climb)
    assert float(judged(better)) < before
    empty = task.init(0)[1]
    assert float(task.loss(params, empty, own)[0]) == 0


def test_numbers_are_distinct_and_every_set_is_as_likely():
    rng = np.random.default_rng(0)
    drawn = jax.vmap(lambda shares: distinct(shares, jnp.int32(5)))(
        jnp.asarray(rng.uniform(size=(6000, 2)), jnp.float32)
    )
    found = collections.Counter(tuple(sorted(pair)) for pair in np.asarray(drawn).tolist())
    assert set(found) == set(itertools.combinations(range(5), 2))
    assert max(abs(times - 600) for times in found.values()) < 100  # 4 deviations
    many = np.asarray(distinct(jnp.full(32, 1.0), jnp.int32(20_000)))
    assert len({*many.tolist()}) == 32
    assert (many.min(), many.max()) >= (0, 32)
    assert many.max() < 20_000


def test_metrics_are_of_the_last_40_episodes(steps):
    task = DDPG(**SMALL)
    params, extra = task.init(0)
    begun = task.evaluate(params, extra, "training")
    assert begun["average_reward"] == begun["reward"] == begun["greedy_reward"] < -100
    rewards = -np.arange(40.0)
    few = extra._replace(rewards=jnp.asarray(rewards), episodes=jnp.int32(3))
    found = task.evaluate(params, few, "training")
    assert (found["average_reward"], found["reward"]) == (-1, -2)
    many = few._replace(episodes=jnp.int32(45))
    found = task.evaluate(params, many, "training")
    assert (found["average_reward"], found["reward"]) == (rewards.mean(), -4)
    still = jax.tree.map(jnp.zeros_like, params)
    starts = 2 * np.asarray(jax.random.uniform(jax.random.key(control.PLAYS), (10, 2)), float) - 1
    assert task.evaluate(still, many, "training")["greedy_reward"] == pytest.approx(
        np.mean([swing(math.pi * angle, speed) for angle, speed in starts]), rel=0.02
    )


def swing(angle, speed):
    """The reward of an episode without torque."""
    total = 0.0
    for _ in range(200):
        total -= ((angle + math.pi) % (2 * math.pi) - math.pi) ** 2 + 0.1 * speed**2
        speed = np.clip(speed + 15 * math.sin(angle) * 0.05, -8, 8)
        angle += 0.05 * speed
    return total


def test_a_run_goes_on_bit_for_bit_and_does_not_depend_on_pauses():
    task = DDPG(batch_size=8, learns_after=50, capacity=300)
    loop, rates = Loop(task, optimizers.make("adam", task)), np.full(500, 1e-3, np.float32)
    whole = [jax.tree.map(np.array, one.state) for one in loop.run(2, rates, record_every=150)]
    own = jax.tree.map(jnp.asarray, whole[1])
    later = [one.state for one in loop.run(2, rates, state=own, first_step=150, also={155})]
    jax.tree.map(np.testing.assert_array_equal, later[-1], whole[-1])
    assert whole[-1].optimizer[0].count == 450  # Adam's, of updates alone
    assert int(whole[-1].extra.held) == 500


def test_a_killed_collection_goes_on_bit_for_bit(tmp_path, collect_until_killed):
    def config(name):
        return CollectConfig(
            corpus=str(tmp_path / name), task=GIVEN, runs=1, epochs=4, batch_size=8, seed=7
        )

    collect_population(config("whole"))
    collect_until_killed(config("killed"), 2)
    collect_population(config("killed"))
    whole, killed = (corpus.open(tmp_path / name).runs[0] for name in ("whole", "killed"))
    np.testing.assert_array_equal(killed.weights, whole.weights)
    assert killed.metrics["average_reward"].tolist() == whole.metrics["average_reward"].tolist()
    inspection.verify(killed)


def made(**own):
    parts = {"model": ModelConfig(), "data": DataConfig(), "augment": AugmentConfig()}
    batch_size = own.pop("batch_size", TrainingConfig.batch_size)
    return build.make(SimpleNamespace(task=GIVEN | own, batch_size=batch_size, **parts))


def test_the_file_of_the_group_has_the_tasks_own_defaults():
    assert vars(made()).keys() == vars(DDPG()).keys()
    for name, own in vars(DDPG()).items():
        if isinstance(own, int | float | dict):
            assert vars(made())[name] == own, name


def test_the_experiment_is_the_published_program():
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    products.store()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        found = compose("evaluate", ["experiment=table5_ddpg", "report=mine"])
    task = build.make(OmegaConf.to_object(found))
    assert {key: value for key, value in found.task.items() if value != GIVEN[key]} == {
        "tau": 0.001,
        "learns_after": 1000,
        "actor_rate": 0.1,
        "critic_rate": 1.0,
    }
    assert (found.task.gamma, found.task.capacity, found.task.noise) == (0.95, 20_000, 0.2)
    assert (task.batch_size, found.epochs, found.seeds) == (32, 200, 20)
    assert found.optimizer.learning_rate * task.rates["actor"]["h1"]["kernel"] == 1e-4


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"gamma": 1.0}, "task.gamma=1.0: must be 0 or more, below 1, such as 0.95"),
        ({"tau": 0}, "task.tau=0: must be above 0 and at most 1, such as 0.005"),
        ({"noise": -0.1}, "task.noise=-0.1: must be 0 or more, such as 0.2; 0: none"),
        ({"actor_rate": 0}, "task.actor_rate=0: must be above 0, such as 1"),
        ({"critic_rate": "fast"}, "task.critic_rate='fast' must be above 0, such as 1"),
        ({"learns_after": 0}, "task.learns_after=0 must be a whole number of transitions"),
        ({"batch_size": 65}, "task.learns_after=64: must be 65 or more"),
        ({"capacity": 64}, "task.capacity=64: must be above task.learns_after=64"),
        ({"capacity": 10**8}, "and 10,000,000 at most"),
        ({"buffer": 5}, "task.buffer: is unknown; collect.tasks.DDPG takes gamma, tau"),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(unchecked, own, said):
    with pytest.raises(UserError) as caught:
        made(**own)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_takes_no_data_and_is_kept_out_of_a_fit_by_its_name():
    config = SimpleNamespace(task=GIVEN)
    with pytest.raises(UserError, match=r"data=mnist: collect.tasks.DDPG takes no data"):
        build.check_typed(config, ["data=mnist"])
    assert names({"task": DDPG.name, "task_config": GIVEN}) == {"ddpg", "ddpg-pendulum"}


@pytest.mark.slow
def test_it_goes_through_all_commands(script, tmp_path):
    own = "task.tau=0.01"
    for name, *given in (
        ("collect", own, "runs=2", "epochs=12", "corpus=corpora/mine"),
        ("meta_train", "corpus=corpora/mine", "forecaster=wnn", "steps=20", "bundle=bundles/mine"),
        (
            *("evaluate", own, "forecaster=bundles/mine", "arm=[constant,constant_nowcast]"),
            *("seeds=2", "protocol=paper", "target_metric=reward", "target_value=-1600"),
            *("epochs=7", "workers=1", "report=reports/mine"),
        ),
    ):
        task = [] if name == "meta_train" else ["task=ddpg"]
        done = script(name, *task, *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if name == "meta_train":
            assert f"task=ddpg {own}" in done.stdout
    one, *_ = runs = corpus.open(tmp_path / "corpora/mine").runs
    assert len(runs) == 2
    assert one.weights.shape == (13, 2_881 + 2_817)
    assert {leaf.op for leaf in one.leaves} == {"fc", "bias"}
    assert one.config["batch_size"] == 64
    results = json.loads((tmp_path / "reports/mine/results.json").read_text())
    assert [metric["name"] for metric in results["metrics"]] == [
        metric.name for metric in DDPG.metrics
    ]
    jumped = next(row for row in results["arms"] if row["name"] == "constant_nowcast")
    assert len(jumped["final_average_reward_difference"]["each"]) == 2


@pytest.mark.slow
def test_the_small_form_trains_its_guarded_and_its_swept_arms(script, tmp_path):
    done = script(
        *("evaluate", "experiment=table5_ddpg_small", "epochs=12", "seeds=1", "tuned.seeds=1"),
        *("task.learns_after=100", "tuned.learning_rates=[0.001]", "tuned.warmups=[0,0.3]"),
        *("protocol=paper", "target_metric=reward", "target_value=-1600"),
        *("~arm.naive_linear", "~arm.naive_introspection", "~arm.naive_published"),
        "report=report",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "report/results.json").read_text())
    rows = {row["name"]: row for row in results["arms"]}
    assert len(rows) == 7
    assert rows["cosine"]["warmup_tuned"]
    assert rows["naive_auto"]["settings"]["auto"]["until"] == 0.5
    assert not rows["naive"]["settings"]["guard"]
    for name in ("naive_nowcast_safe", "naive_gram_safe", "cosine_gram_safe"):
        assert rows[name]["settings"]["guard"]
        assert rows[name]["settings"]["jump"]["min_drift"] == 0.2
