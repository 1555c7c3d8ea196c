"""Meta-training of learned optimizers: its gradients against those of the whole computation, found
by differentiating through it, and its rounds, kills and bad input.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from made_sets import needs_sets

from collect.tasks.protocol import LOSS
from collect.training import learned, optimizers
from collect.training.learned import KINDS, kinds
from collect.training.loop import Loop
from meta_train.learners import fit, objectives
from meta_train.learners.fit import Recipe, Stage
from meta_train.learners.problem import Problem
from meta_train.learners.unroll import TEACHERS, Learner, Settings

STEPS = 5


class Quadratic:
    """A small task: the loss is ½ Σ (A params − b)², with a batch of other numbers at each step."""

    name, steps_per_epoch, loops = "quadratic", 4, True
    metrics, splits = (LOSS,), ("validation",)

    def __init__(self):
        self.arrays = jnp.asarray(np.random.default_rng(1).normal(size=(32, 7)), jnp.float32)
        self.labels = {"kernel": "fc"}

    def evaluate(self, params, extra, split):
        return {"loss": float(self.loss(params, extra, self.arrays, None)[0])}

    def init(self, seed):
        return {"kernel": jax.random.normal(jax.random.key(seed), (3, 2))}, ()

    def order(self, seed, epoch):
        return np.random.default_rng([seed, epoch]).permutation(32).reshape(4, 8)

    def batch(self, arrays, indices, key=None):
        return arrays[indices]

    def loss(self, params, extra, batch, key):
        weights = jnp.append(jnp.ravel(params["kernel"]), -1.0)
        return 0.5 * jnp.mean((batch @ weights) ** 2) + 0.1 * jnp.sum(weights**4), extra


class Noisy(Quadratic):
    """Its batches and its gradients are drawn by their keys, and the gradients are its own."""

    def batch(self, arrays, indices, key=None):
        return arrays[indices] + jax.random.normal(key, (8, 7))

    def gradients(self, params, extra, batch, key):
        loss, grads = jax.value_and_grad(lambda p: self.loss(p, extra, batch, key)[0])(params)
        noise = jax.random.normal(key, (3, 2))
        return loss, {"kernel": grads["kernel"] + noise}, extra


def test_a_step_of_the_problem_has_the_keys_and_the_gradients_of_the_loop():
    task, seeds = Noisy(), [3, 4]
    problem = Problem(task, KINDS["l2o"])
    parts, extra = problem.start(seeds)
    found = problem.gradients(parts, extra, task.arrays, *problem.inputs(seeds, 0))
    loop = Loop(task, optimizers.make("sgd", task))
    for member, seed in enumerate(seeds):
        before, after = (
            np.array(snapshot.state.params["kernel"])
            for snapshot in loop.run(seed, np.ones(1, np.float32), record_every=1)
        )
        whole = problem.layout.whole({name: part[member] for name, part in found.gradients.items()})
        np.testing.assert_allclose(whole["kernel"], before - after, rtol=1e-5, atol=1e-6)


def learner(name, members=2, amalgamation="min_max"):
    kind = KINDS[name]
    problem = Problem(Quadratic(), kind)
    settings = (
        Settings(STEPS, logarithm=False)
        if name == "l2o"
        else Settings(STEPS, logarithm=True, spread=1.0, amalgamation=amalgamation)
    )
    own = Learner(problem, kind, settings)
    params = fit.draw(kind, problem.networks, 4)
    run = own.begin(params, [5, 6][:members], taught=name != "l2o")
    return own, params, own.warm(run, 2, 0.01)


def whole(own, params, run, imitation):
    """The objective of an unroll, as one function that JAX can differentiate; teachers and the
    gradients that are read are constants in it, as the papers' code has them.
    """
    task, members = own.problem.task, len(run.seeds)

    def loss(parts, step):
        each = []
        for member, seed in enumerate(run.seeds):
            row = task.order(seed, step // 4)[step % 4]
            weights = {name: part[member] * run.scale[name][member] for name, part in parts.items()}
            tree = own.problem.layout.whole(weights)
            each.append(task.loss(tree, (), task.batch(task.arrays, row), None)[0])
        return jnp.stack(each)

    parts, memory, total = run.parts, run.memory, 0.0
    teachers = list(run.teachers)
    for number in range(STEPS):
        step = run.step + number
        here = loss(parts, step)
        total += jnp.sum(jnp.log(here + 1e-10) / STEPS if own.settings.logarithm else here)
        read = jax.grad(lambda p, s=step: jnp.sum(loss(p, s)))(jax.lax.stop_gradient(parts))
        updates, memory = kinds.advance(own.kind, params, memory, read)
        parts = jax.tree.map(jnp.add, parts, updates)
        for k, (weights, state) in enumerate(teachers):
            plain = jax.tree.map(
                jnp.divide, jax.grad(lambda p, s=step: jnp.sum(loss(p, s)))(weights), run.scale
            )
            moved, state = TEACHERS[k].update(plain, state)
            weights = jax.tree.map(lambda w, u, s: w + u / s, weights, moved, run.scale)
            teachers[k] = (weights, state)
        if imitation:
            distances = [
                jnp.log(sum(jnp.sum(0.5 * (parts[n] - weights[n]) ** 2, -1) for n in parts) + 1e-10)
                for weights, _ in teachers
            ]
            of = {"min_max": jnp.max, "mean": jnp.mean}[own.settings.amalgamation]
            total += imitation * jnp.sum(of(jnp.stack(distances), 0)) / STEPS
    if not own.settings.logarithm:
        total += jnp.sum(loss(parts, run.step + STEPS))
    return total / members


@pytest.mark.parametrize(
    ("name", "imitation", "amalgamation"),
    [
        ("l2o", 0.0, "min_max"),
        pytest.param("l2o_amalgam", 0.0, "min_max", marks=pytest.mark.slow),
        ("l2o_amalgam", 0.3, "min_max"),
        ("l2o_amalgam", 0.3, "mean"),
    ],
)
def test_the_meta_gradient_is_that_of_the_whole_unroll(name, imitation, amalgamation):
    own, params, run = learner(name, amalgamation=amalgamation)
    found = own.unroll(params, run, imitation)
    value, expected = jax.value_and_grad(lambda p: whole(own, p, run, imitation))(params)
    for one, two in zip(jax.tree.leaves(found.slope), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-3, atol=2e-4 * float(jnp.max(jnp.abs(two))))
    if not imitation:
        assert found.value == pytest.approx(float(value), rel=1e-5)
    assert any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(found.slope))


def test_more_coordinates_than_a_block_give_the_same(monkeypatch):
    own, params, run = learner("l2o")
    found = own.unroll(params, run).slope
    monkeypatch.setattr("meta_train.learners.unroll.BLOCK", 5)  # 12 coordinates: three blocks
    own = Learner(own.problem, own.kind, own.settings)
    for one, two in zip(
        jax.tree.leaves(own.unroll(params, run).slope), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-7)


def test_an_update_is_judged_by_all_weights_after_it():
    slopes = np.arange(6.0).reshape(3, 1, 2)
    expected = [[[6, 9]], [[6, 8]], [[4, 5]]]
    np.testing.assert_array_equal(objectives.by_update(jnp.asarray(slopes)), expected)


def test_imitation_is_of_the_farthest_teacher_or_of_all():
    own = {"all": jnp.array([[1.0, 2.0]])}
    near, far = {"all": jnp.array([[1.0, 1.5]])}, {"all": jnp.array([[-2.0, 2.0]])}
    pull = objectives.of_imitation(own, [near, far], "min_max")
    assert pull.value[0] == pytest.approx(np.log(0.5 * 9) - np.log(2))
    np.testing.assert_allclose(pull.slope["all"], [[3 / 4.5, 0]], rtol=1e-6)
    pull = objectives.of_imitation(own, [near, far], "mean")
    both = (np.log(0.5 * 9) + np.log(0.5 * 0.25)) / 2
    assert pull.value[0] == pytest.approx(both - np.log(2))
    np.testing.assert_allclose(pull.slope["all"], [[1.5 / 4.5, 0.25 / 0.125]], rtol=1e-6)


RECIPE = Recipe((Stage(1, 0.2), Stage(2)), 2, 2, 1, 1, 1e-2, clip=0.1, worse=0.5)


def ended(name="l2o_amalgam", recipe=RECIPE, progress=None, rounds=99):
    own, _, _ = learner(name)
    progress = progress or fit.start(own.kind, own.problem.networks, recipe, 0)
    path = []
    for _, after in zip(range(rounds), fit.fit(own, recipe, 0, progress), strict=False):
        path.append(after)
    return path


@pytest.mark.slow
def test_rounds_go_on_bit_for_bit_from_where_they_stopped():
    path = ended()
    again = ended(progress=path[1])
    jax.tree.map(np.testing.assert_array_equal, again[-1].best, path[-1].best)
    assert again[-1].history == path[-1].history
    assert [one["stage"] for one in path[-1].history if one["kept"]] == [0, 0, 1, 1]
    assert path[-1].lowest == min(one["judged"] for one in path[-1].history if one["stage"] == 1)


def test_a_round_that_is_not_finite_or_much_worse_is_taken_back(monkeypatch):
    judged = iter([1.0, float("inf"), 2.0, 1.2, 0.9, 0.8])
    monkeypatch.setattr(fit, "judge", lambda *_: next(judged))
    path = ended()
    kept = [(one["judged"], one["kept"]) for one in path[-1].history]
    assert kept == [
        (1.0, True),
        (np.inf, False),
        (2.0, False),
        (1.2, True),
        (0.9, True),
        (0.8, True),
    ]
    for back in path[1:3]:
        jax.tree.map(np.testing.assert_array_equal, back.params, path[0].params)
    assert path[-1].lowest == 0.8


def test_gradients_that_are_not_finite_end_an_episode_and_change_nothing(monkeypatch):
    def unroll(self, params, run, imitation=0.0, *, slope=True):
        found = given(self, params, run, imitation, slope=slope)
        return found._replace(slope=jax.tree.map(lambda leaf: leaf * jnp.nan, found.slope))

    given = Learner.unroll
    monkeypatch.setattr(Learner, "unroll", unroll)
    path = ended(rounds=1)
    first = fit.start(KINDS["l2o_amalgam"], ["all"], RECIPE, 0)
    jax.tree.map(np.testing.assert_array_equal, path[0].params, first.params)
    assert path[0].history[0]["skipped"] == RECIPE.episodes


def test_the_best_of_the_replicates_is_kept(monkeypatch):
    judged = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(fit, "judge", lambda *_: next(judged))
    path = ended("l2o", Recipe((Stage(1),), 2, 1, 1, 1, 1e-2, replicates=2))
    jax.tree.map(np.testing.assert_array_equal, path[-1].best, path[1].params)
    fresh = fit.start(KINDS["l2o"], ["fc"], RECIPE, 1)
    apart = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), path[2].params, fresh.params)
    assert max(jax.tree.leaves(apart)) < 0.05  # the second began from a draw of its own


def test_whole_arrays_are_clipped_beside_their_parameters():
    tx = fit._clipped(0.1)
    params = {"one": jnp.array([3.0, 4.0]), "zero": jnp.zeros(2)}
    found, _ = tx.update(
        {"one": jnp.array([0.0, 2.0]), "zero": jnp.ones(2)}, tx.init(params), params
    )
    np.testing.assert_allclose(found["one"], [0, 0.5])
    np.testing.assert_allclose(found["zero"], np.full(2, 1e-4 / np.sqrt(2)), rtol=1e-5)


@pytest.mark.slow
def test_meta_training_makes_an_optimizer_better():
    recipe = Recipe((Stage(4),), 6, 6, 2, 2, 1e-2)
    path = ended("l2o", recipe)
    judged = [one["judged"] for one in path[-1].history]
    assert path[-1].lowest < 0.8 * judged[0]
    tx, task = learned.LearnedOptimizer("l2o", path[-1].best).transformation(), Quadratic()

    def after(tx):
        params, _ = task.init(77)
        state = tx.init(params)
        for _ in range(20):
            grads = jax.grad(lambda p: task.loss(p, (), task.arrays, None)[0])(params)
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return float(task.loss(params, (), task.arrays, None)[0])

    assert after(tx) < after(optax.sgd(0.0))


SMALL = (
    *("learner=l2o", "model=mlp", "model.width=0.25", "data=digits", "steps=4", "unrolls=[2]"),
    *("rounds=2", "episodes=2", "judged=1"),
)


@pytest.mark.parametrize(
    ("added", "names"),
    [
        ("learner=l20", "the nearest is l2o"),
        ("kind=adam", "kind=adam: is unknown"),
        ("steps=0", "steps=0: must be 1 or more"),
        ("unrolls=[]", "unrolls=[]: must hold 1 or more"),
        ("unrolls=[1,2]", "imitation=[0.0]: must hold a weight"),
        ("imitation=[0.5]", "l2o imitates nobody"),
        ("amalgamation=max", "amalgamation=max: is unknown"),
        ("learning_rate=0", "learning_rate=0"),
        ("seed=-1", "seed=-1"),
        ("bundle=s3://mine", "must be the path of a folder"),
        ("bundle={file}", "bundle"),
        pytest.param("data=mnist data.in_memory=0", "larger data.in_memory", marks=needs_sets),
    ],
)
def test_bad_input_ends_in_one_line(added, names, script, tmp_path):
    (tmp_path / "file").write_text("mine")
    more = added.replace("{file}", str(tmp_path / "file")).split()
    typed = [*SMALL, f"bundle={tmp_path / 'bundle'}"]
    done = script("meta_train", *(one for one in typed if not _other(one, more)), *more)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert names in done.stderr
    assert not (tmp_path / "bundle").exists()


def _other(one, more):
    return one.split("=")[0] in {two.split("=")[0] for two in more}


@pytest.mark.slow
def test_the_command_makes_a_bundle_that_an_arm_trains_with(script, tmp_path):
    bundle = tmp_path / "bundle"
    typed = ["meta_train", *SMALL, f"bundle={bundle}"]
    part = script(*typed, "max_minutes=0.0001")
    assert part.returncode == 0, part.stderr
    assert "the same command goes on" in part.stdout
    other = script(*typed, "episodes=3")
    assert (other.returncode, "another episodes" in other.stderr) == (2, True)
    whole = script(*typed)
    assert whole.returncode == 0, whole.stderr
    assert {path.name for path in bundle.iterdir()} == {"card.json", "params.npz", "loss.png"}
    assert not bundle.with_name("bundle.checkpoint").exists()
    card = json.loads((bundle / "card.json").read_text())
    assert (card["task"], card["rounds"], card["optimizer"]) == ("mlp-digits", 2, "l2o")
    fresh = script(*typed[:-1], f"bundle={tmp_path / 'fresh'}")  # never stopped
    assert fresh.returncode == 0, fresh.stderr
    for name, leaf in learned.load(tmp_path / "fresh").params["fc"]["linear"].items():
        np.testing.assert_array_equal(leaf, learned.load(bundle).params["fc"]["linear"][name])
    report = tmp_path / "report"
    settings = ["model=mlp", "data=digits", "seeds=2", "epochs=6", "arm=[constant,l2o]"]
    settings += ["arm.l2o.over=constant", f"arm.l2o.learned={bundle}", f"report={report}"]
    done = script("evaluate", *settings)
    assert done.returncode == 0, done.stderr
    arms = {arm["name"]: arm for arm in json.loads((report / "results.json").read_text())["arms"]}
    assert arms["l2o"]["words"].startswith(f"l2o of {bundle}, constant")
    wrong = script("evaluate", *settings, "arm.constant.learned=mine")
    said = "is for the optimizers l2o, l2o_amalgam and celo; leave it out"
    assert (wrong.returncode, said in wrong.stderr) == (2, True)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_with_its_cure(script, tmp_path):
    bundle = tmp_path / "bundle"
    typed = ["meta_train", *SMALL, f"bundle={bundle}"]
    assert script(*typed, "max_minutes=0.0001").returncode == 0
    (tmp_path / "bundle.checkpoint" / "progress.npz").write_bytes(b"PK")
    done = script(*typed)
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "remove" in done.stderr
