"""Meta-training: what can be learned is learned, scores are what they say, and the bundle says
where it comes from.
"""

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import random_wnn

import nowcast
from collect import corpus
from collect.figures import png
from collect.population import collect_population
from meta_train import objective, trainer, validate
from meta_train.config import MetaTrainConfig
from meta_train.data import distinct
from meta_train.fitting import assemble, meta_train
from meta_train.limits import limits
from meta_train.picture import picture
from meta_train.trainer import Settings
from meta_train.windows import Rule, Windows
from nowcast.forecasters import LEARNED, WNN, Introspection, WNNMulti, wnn

RULES = {
    "bias": lambda x: x[:, 4] + 0.5 * (x[:, 4] - x[:, 0]),
    "fc": lambda x: (x[:, 0] + x[:, 4]) / 2,
}
"""Two networks that have two different things to learn."""


class Fresh(Windows):
    """Random walks, with targets by rule."""

    def __init__(self):
        self.rule = Rule(5, 5)

    def handful(self, network, size, key, run=None):
        x = np.cumsum(np.random.default_rng((*key, len(network))).normal(size=(size, 5)), axis=1)
        return np.concatenate([x, RULES[network](x)[:, None]], axis=1).astype(np.float32)


HELD_OUT = {name: Fresh().handful(name, 1000, (99,)) for name in RULES}
SETTINGS = Settings(600, 128, 5e-3, 0, 100, evaluations=10, handful=64, pool_steps=60)


def begin(settings=SETTINGS):
    return trainer.start(WNN, sorted(RULES), 5, 5, settings)


def fit(settings=SETTINGS, progress=None):
    return list(
        trainer.fit(
            WNN,
            sorted(RULES),
            Fresh(),
            HELD_OUT,
            settings,
            begin(settings) if progress is None else progress,
        )
    )


@pytest.fixture(scope="module")
def fitted():
    return fit()


@pytest.fixture(scope="module")
def forecaster(fitted):
    config = MetaTrainConfig("corpus", "bundle")
    return assemble(config, sorted(RULES), fitted[-1])


def test_an_example_is_the_normalised_window_and_the_increment_in_its_unit():
    made = jnp.asarray([[2.0, 3.0, 4.0, 5.0, 6.0, 10.0], [0.0, 0.0, 0.0, 0.0, 1.0, 9.0]])
    inputs, target = objective.examples(WNN, made, 5)
    np.testing.assert_allclose(
        inputs, [[0, 1 / 8, 2 / 8, 3 / 8, 4 / 8], [0, 0, 0, 0, 1 / 2]], rtol=1e-4
    )
    np.testing.assert_allclose(target, [[4 / 8], [1]], rtol=1e-4)  # the second is clipped
    # It has no limit.
    np.testing.assert_allclose(objective.examples(WNNMulti, made, 5)[1], [[4 / 8], [4]], rtol=1e-4)


def test_introspections_examples_are_four_values_and_the_target_times_1000():
    made = jnp.arange(12.0)[None]
    inputs, target = objective.examples(Introspection, made, 11)
    np.testing.assert_allclose(inputs, [[10_000, 7_000, 4_000, 0]])
    np.testing.assert_allclose(target, [[11_000]])


def test_the_penalty_is_l1_on_the_main_layers_only():
    params = jax.tree.map(jnp.ones_like, wnn.init_network(jax.random.key(0)))
    kernels, biases = 5 * 64 + 4 * 64 + 2 * 64 * 32, 2 * 64 + 2 * 32
    assert float(wnn.penalty(params)) == pytest.approx(1e-6 * kernels + 0.1 * biases)
    assert float(wnn.penalty(jax.tree.map(lambda x: -2 * x, params))) == pytest.approx(
        2 * float(wnn.penalty(params))
    )


def test_losses_are_mean_absolute_errors_over_the_targets_that_there_are_and_penalties():
    params = [wnn.init_network(jax.random.key(i), 5, 3) for i in range(2)]
    windows = np.random.default_rng(0).normal(size=(2, 40, 8)).astype(np.float32)
    windows[1, ::2, 6:] = np.nan
    expected = []
    for own, some in zip(params, windows, strict=True):
        inputs, base, scale = wnn.normalise(jnp.asarray(some[:, :5]))
        wrong = np.abs(
            np.asarray(jax.jit(wnn.features)(own, inputs))
            - (some[:, 5:] - base[:, None]) / scale[:, None]
        )
        expected.append(np.nanmean(wrong) + float(wnn.penalty(own)))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)

    def losses(params):
        each = objective.losses(WNNMulti, params, jnp.asarray(windows), 5)
        return jnp.sum(each), each

    (_, got), grads = jax.jit(jax.value_and_grad(losses, has_aux=True))(stacked)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_fitting_learns_each_networks_own_rule(forecaster):
    scores = validate.scores(
        forecaster, {name: [windows[:500], windows[500:]] for name, windows in HELD_OUT.items()}
    )
    for name in RULES:
        rows = scores[name]["5"]
        assert rows["wnn"]["normalised"] < 0.15 * rows["last_value"]["normalised"]
        assert rows["wnn"]["weight"] < 0.15 * rows["last_value"]["weight"]
        last = np.abs(HELD_OUT[name][:, 5] - HELD_OUT[name][:, 4])
        assert rows["last_value"]["weight"] == pytest.approx(last.mean(), rel=1e-5)
        assert 0.8 < rows["skill"]["low"] <= rows["skill"]["value"] <= rows["skill"]["high"] < 1
        assert rows["skill"]["runs"] == 2


def test_scores_are_means_over_runs_and_the_skill_is_over_the_linear_fit():
    drawn = [
        np.cumsum(np.random.default_rng(i).normal(size=(300, 6)), axis=1).astype(np.float32)
        for i in range(3)
    ]
    forecaster = random_wnn()
    rows = validate.scores(forecaster, {"fc": drawn})["fc"]["5"]
    errors = {name: [] for name in ("wnn", "linear", "quadratic")}
    for some in drawn:
        scale = 2 * (np.ptp(some[:, :5], axis=1) + 1.001e-5)
        slope = np.polyfit(np.arange(5), some[:, :5].T, 1)
        curve = np.polyfit(np.arange(5), some[:, :5].T, 2)
        forecasts = {
            "linear": slope[1] + 9 * slope[0],
            "quadratic": curve[2] + 9 * curve[1] + 81 * curve[0],
            "wnn": np.asarray(
                nowcast.forecast(forecaster, {"kernel": some[:, :5].T}, labels={"kernel": "fc"})[
                    "kernel"
                ]
            ),
        }
        for name, forecast in forecasts.items():
            errors[name].append(np.minimum(np.abs(forecast - some[:, 5]) / scale, 1).mean())
    for name, each in errors.items():
        assert rows[name]["normalised"] == pytest.approx(np.mean(each), rel=1e-4)
    skill = 1 - np.array(errors["wnn"]) / np.array(errors["linear"])
    assert rows["skill"]["value"] == pytest.approx(skill.mean(), abs=1e-4)
    assert skill.min() - 1e-4 <= rows["skill"]["low"] < rows["skill"]["high"] <= skill.max() + 1e-4


def test_scores_are_of_the_forecaster_that_is_given():
    first, second = random_wnn(0), random_wnn(1)
    # Nothing may take one for the other, such as a cache of compiled functions.
    assert first != second
    drawn = {"fc": [HELD_OUT["fc"]]}
    one, two, again = (
        validate.scores(each, drawn)["fc"]["5"]["wnn"] for each in (first, second, first)
    )
    assert one == again != two


def test_one_run_has_no_interval():
    skill = validate.scores(random_wnn(), {"fc": [HELD_OUT["fc"]]})["fc"]["5"]["skill"]
    assert (skill["low"], skill["high"], skill["runs"]) == (None, None, 1)


def test_a_forecaster_with_many_horizons_is_scored_at_several_where_there_are_targets():
    like = jax.eval_shape(lambda: wnn.init_network(jax.random.key(0), 5, 12))
    multi = WNNMulti(params={"fc": jax.tree.map(lambda x: jnp.zeros(x.shape), like)}, horizon=12)
    windows = np.cumsum(np.random.default_rng(0).normal(size=(200, 17)), axis=1).astype(np.float32)
    windows[:, 12:] = np.nan  # no run goes on for longer than 7 snapshots
    scores = validate.scores(multi, {"fc": [windows, windows]})["fc"]
    assert list(scores) == ["1", "2", "5"]
    for horizon in scores:
        # Its outputs are all 0.
        assert scores[horizon]["wnn_multi"] == scores[horizon]["last_value"]
        moved = np.abs(windows[:, 4 + int(horizon)] - windows[:, 4]).mean()
        assert scores[horizon]["last_value"]["weight"] == pytest.approx(moved, rel=1e-5)


def test_the_parameters_with_the_lowest_validation_error_are_kept(fitted, forecaster):
    last = fitted[-1]
    assert last.curves["step"] == [progress.step for progress in fitted] == [*range(60, 601, 60)]
    for k, name in enumerate(sorted(RULES)):
        curve = last.curves[f"validation/{name}"]
        assert last.lowest[k] == min(curve)
        best = fitted[int(np.argmin(curve))].params
        jax.tree.map(
            lambda a, b, k=k: np.testing.assert_array_equal(a, b[k]), forecaster.params[name], best
        )
        assert last.curves[f"loss/{name}"][-1] < 0.5 * last.curves[f"loss/{name}"][0]


def test_the_same_seed_fits_the_same_parameters_and_another_seed_others():
    few = SETTINGS._replace(steps=60)
    first, again, other = (fit(few._replace(seed=seed))[-1] for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert first.curves == again.curves
    assert np.abs(first.params["head"]["kernel"] - other.params["head"]["kernel"]).max() > 1e-3


def test_a_fit_goes_on_from_any_evaluation_bit_for_bit(fitted):
    for at in (2, 7):
        goes_on = fit(progress=fitted[at])
        jax.tree.map(np.testing.assert_array_equal, goes_on[-1].best, fitted[-1].best)
        assert goes_on[-1].curves == fitted[-1].curves


def test_a_fit_ends_when_no_network_becomes_better_for_long_enough():
    ended = fit(SETTINGS._replace(learning_rate=1e-12, patience=3))
    better = np.flatnonzero(
        np.diff([np.inf, *np.minimum.accumulate(ended[-1].curves["validation/fc"])]) < 0
    )
    assert len(ended) < 10
    assert ended[-1].waited == 3
    assert len(ended) >= better[-1] + 4


def test_a_loss_that_is_not_finite_stops_at_its_step():
    with pytest.raises(trainer.NotFinite, match=r"the loss of .* is not finite at step \d+"):
        fit(SETTINGS._replace(learning_rate=1e30))


TWINS = {"gram", "introspection_linear", "nino", "wnn_multi", "wnn_plus"}
"""Forecasters whose fit is that of another one, or has a test of its own."""


@pytest.mark.parametrize(
    "forecaster",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in TWINS)) for name in LEARNED],
)
def test_every_forecaster_is_fitted_saved_and_loaded(
    tmp_path, corpus_config, forecaster, unchecked
):
    recorded = corpus_config(tmp_path / "corpus", epochs=24, runs=2)
    collect_population(recorded)
    settings = {"steps": 6, "batch_size": 64, "horizon": 8 if LEARNED[forecaster].many else None}
    card = meta_train(
        MetaTrainConfig(recorded.corpus, str(tmp_path / "bundle"), forecaster, **settings)
    ).card
    loaded = nowcast.load(tmp_path / "bundle")
    assert (loaded.name, card["forecaster"]) == (forecaster, forecaster)
    history = {
        "kernel": jnp.asarray(
            np.random.default_rng(0).normal(size=(loaded.window, 3, 2)), jnp.float32
        )
    }
    for horizon in (None, 1, 3, 8) if loaded.many else (None,):
        assert nowcast.forecast(loaded, history, horizon=horizon)["kernel"].shape == (3, 2)
    assert set(card["validation"]) == {"bias", "fc"}  # by operation, whatever the networks


def test_leaves_are_learned_from_their_inner_products(tmp_path, corpus_path):
    config = MetaTrainConfig(
        str(corpus_path), str(tmp_path / "b"), "gram", horizon=4, steps=300, batch_size=256
    )
    card = meta_train(config).card
    loaded = nowcast.load(tmp_path / "b")
    assert (loaded.horizon, loaded.longest, loaded.elementwise) == (4, 4, False)
    for rows in card["validation"]["fc"].values():
        assert rows["gram"]["normalised"] < 0.8 * min(
            rows["last_value"]["normalised"], rows["linear"]["normalised"]
        )
    with pytest.raises(nowcast.UserError, match="sampling=movement: gram takes leaves as a whole"):
        MetaTrainConfig(str(corpus_path), str(tmp_path / "b"), "gram", sampling="movement")


@pytest.mark.slow
def test_a_mapping_of_ones_own_gives_networks_to_other_operations(tmp_path, corpus_config):
    recorded = corpus_config(tmp_path / "corpus", batch_size=200, runs=2)
    recorded.model.name, recorded.model.depth, recorded.data.train_size = "resnet", 8, 200
    collect_population(recorded)
    given = {"steps": 2, "batch_size": 64, "networks": {"norm": "scales", "bias": None}}
    meta_train(MetaTrainConfig(recorded.corpus, str(tmp_path / "bundle"), **given))
    loaded = nowcast.load(tmp_path / "bundle")
    assert set(loaded.params) == {"conv", "fc", "scales"}
    assert [op for op in ("conv", "fc", "norm", "bias") if loaded.can_forecast(op)] == [
        "conv",
        "fc",
        "norm",
    ]


def test_the_bundle_says_where_it_comes_from(bundle_path, corpus_path):
    card, opened = json.loads((bundle_path / "card.json").read_text()), corpus.open(corpus_path)
    assert card["corpus"]["hash"] == opened.hash
    assert (card["corpus"]["runs"], card["corpus"]["tasks"]) == (3, ["mlp-digits"])
    [validated] = card["corpus"]["validation_runs"]
    assert validated.startswith(f"{corpus_path}: mlp-digits")
    assert card["corpus"]["held_out_runs"] == []
    assert card["configuration"]["steps"] == 40
    assert set(card["validation"]) == {"bias", "fc"}
    assert set(card["validation"]["fc"]["5"]) == {
        "last_value",
        "linear",
        "quadratic",
        "wnn",
        "skill",
    }
    drawn = picture(card)
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles == [
        "network: bias",
        "network: fc",
        *(f"{name}, 5 ahead" for name in card["validation"]),
    ]
    assert png(drawn).startswith(b"\x89PNG")
    assert (bundle_path / "loss.png").exists()
    assert not bundle_path.with_name("bundle.checkpoint").exists()
    forecaster = nowcast.load(bundle_path)
    assert forecaster.can_forecast("fc")
    assert not forecaster.can_forecast("conv")  # an MLP has none


def test_the_card_says_what_it_was_not_fitted_to_and_where_it_is_of_no_use(
    bundle_path, corpus_path
):
    card = json.loads((bundle_path / "card.json").read_text())
    kept_out = {identity.split(": ")[1] for identity in card["corpus"]["validation_runs"]}
    one, other = sorted(
        run.config["optimizer"]["learning_rate"]
        for run in corpus.open(corpus_path)
        if run.id not in kept_out
    )
    said = card["limits"]
    assert said[0].startswith("fitted to 2 runs of mlp-digits;")
    rates = f"rate {one:g}" if one == other else f"rates {one:g} to {other:g}"
    assert said[1].startswith(f"fitted to adam, learning {rates}, constant, batches of ")
    assert (
        "weights of these operations never jump: conv, depthwise_conv, norm, embedding, other"
        in said
    )
    scored = card["validation"]
    useless = {
        f"{op}, 5 ahead"
        for op in scored
        if scored[op]["5"]["wnn"]["normalised"] >= scored[op]["5"]["last_value"]["normalised"]
    }
    assert {one.split(":")[0] for one in said if "standing still" in one} == useless


def test_a_forecast_that_is_worse_than_none_is_a_limit():
    optimizer = {"name": "adam", "learning_rate": 0.01, "schedule": "cosine"}
    config = {"task": "t", "optimizer": optimizer, "batch_size": 8, "record_every": 2}
    other = {
        **config,
        "task": "a",
        "batch_size": 16,
        "optimizer": {**optimizer, "learning_rate": 0.001},
    }

    def rows(last, ours):
        return {
            "last_value": {"normalised": last},
            "gram": {"normalised": ours},
            "skill": {"value": 1.0},
        }

    scores = {
        "runs for validation": {"conv": {"5": rows(0.4, 0.5)}},
        "others": {
            "conv": {"5": rows(0.4, 0.3), "40": rows(0.5, 0.6)},
            "fc": {"5": rows(0.1, 0.1)},
        },
    }
    said = limits("gram", [], [config, other], 20, scores)
    assert said[0].startswith("fitted to 2 runs of a and t;")
    assert said[1].startswith(
        "fitted to adam, learning rates 0.001 to 0.01, cosine, batches of 8 and 16;"
    )
    assert said[2].startswith("fitted to snapshots 2 steps apart, runs of 20 at most")
    assert said[3:-1] == [
        "conv, 5 ahead: on runs for validation no better than standing still, 0.5 beside 0.4",
        "conv, 40 ahead: on others no better than standing still, 0.6 beside 0.5",
        "fc, 5 ahead: on others no better than standing still, 0.1 beside 0.1",
    ]


@pytest.mark.parametrize(
    "other",
    [{}, {"optimizer": "adam", "batch_size": 8}, {"optimizer": {"lr": 0.1}, "batch_size": 8}],
)
def test_a_run_that_does_not_say_how_it_was_trained_leaves_the_card_saying_so(other):
    told = {
        "optimizer": {"name": "adam", "learning_rate": 0.01, "schedule": "cosine"},
        "batch_size": 8,
    }
    least = {"task": "t", "record_every": 2}
    said = limits("wnn", [], [{**least, **told}, {**least, **other}], 20, {})
    assert said[1].startswith("not every run says its optimizer, learning rate and batch size")
    assert said[2].startswith("fitted to snapshots 2 steps apart")


def test_corpora_join_and_a_run_that_lies_in_two_is_taken_once(
    tmp_path, corpus_config, corpus_path
):
    other = corpus_config(tmp_path / "other", seed=2, runs=2)  # seed 2 is recorded in both
    collect_population(other)
    opened = [corpus.open(corpus_path), corpus.open(other.corpus)]
    assert [len(each) for each in opened] == [3, 2]
    assert sorted(run.config["seed"] for run in distinct(opened)) == [0, 1, 2, 3]
    given = {"steps": 2, "batch_size": 64}
    card = meta_train(
        MetaTrainConfig([str(corpus_path), other.corpus], str(tmp_path / "bundle"), **given)
    ).card
    assert card["corpus"]["runs"] == 4
    assert [part["hash"] for part in card["corpus"]["parts"]] == [each.hash for each in opened]


@pytest.mark.slow
def test_architectures_kept_out_are_scored_and_neither_fitted_to_nor_chosen_by(
    tmp_path, corpus_config, corpus_path
):
    other = corpus_config(tmp_path / "other", runs=2)
    other.model.name = "lenet"
    collect_population(other)
    given = {"steps": 4, "batch_size": 64, "keep_out": ["lenet"]}
    card = meta_train(
        MetaTrainConfig([str(corpus_path), other.corpus], str(tmp_path / "with"), **given)
    ).card
    assert len(card["corpus"]["held_out_runs"]) == 2
    assert card["corpus"]["tasks"] == ["mlp-digits"]
    assert card["held_out"]["fc"]["5"]["skill"]["runs"] == 2
    without = meta_train(MetaTrainConfig(str(corpus_path), str(tmp_path / "without"), **given)).card
    assert without["held_out"] == {}
    assert (without["params_sha256"], without["curves"]) == (card["params_sha256"], card["curves"])


@pytest.mark.slow
def test_the_order_of_corpora_does_not_matter(tmp_path, corpus_config, corpus_path):
    other = corpus_config(tmp_path / "other", runs=2)
    other.model.name = "lenet"
    collect_population(other)
    paths, cards = [str(corpus_path), other.corpus], []
    for i, order in enumerate((paths, paths[::-1])):
        config = MetaTrainConfig(order, str(tmp_path / str(i)), steps=4, batch_size=64)
        cards.append(meta_train(config).card)
    for key in ("params_sha256", "curves", "validation"):
        assert cards[0][key] == cards[1][key]


def test_a_horizon_that_no_run_reaches_is_refused(tmp_path, corpus_path):
    with pytest.raises(
        nowcast.UserError, match=r"horizon=10: .* with 9 snapshots after them; give horizon=9"
    ):
        meta_train(MetaTrainConfig(str(corpus_path), str(tmp_path / "b"), "wnn_multi", horizon=10))


@pytest.mark.slow
def test_the_longest_horizon_that_runs_reach_is_fitted_and_scored(tmp_path, corpus_path):
    card = meta_train(
        MetaTrainConfig(str(corpus_path), str(tmp_path / "b"), "wnn_multi", horizon=9, steps=2)
    ).card
    assert list(card["validation"]["fc"]) == ["1", "2", "5", "9"]


def test_logs_are_refused_where_a_file_lies_and_leave_others_files_alone(tmp_path, corpus_path):
    (tmp_path / "b.log").mkdir()
    (tmp_path / "b.log" / "letter.txt").write_text("dear")
    meta_train(
        MetaTrainConfig(str(corpus_path), str(tmp_path / "b"), steps=2, batch_size=64, log="csv")
    )
    assert (tmp_path / "b.log" / "letter.txt").read_text() == "dear"
    (tmp_path / "c.log").write_text("dear")
    with pytest.raises(nowcast.UserError, match=r"log=csv.*is a file"):
        meta_train(
            MetaTrainConfig(
                str(corpus_path), str(tmp_path / "c"), steps=2, batch_size=64, log="csv"
            )
        )


@pytest.mark.parametrize("log", ["csv", pytest.param("tensorboard", marks=pytest.mark.slow)])
def test_logs_hold_every_point_of_the_curves(tmp_path, corpus_path, log):
    card = meta_train(
        MetaTrainConfig(str(corpus_path), str(tmp_path / "b"), steps=6, batch_size=64, log=log)
    ).card
    curves, folder = card["curves"], tmp_path / "b.log"
    if log == "csv":
        header, *rows = csv.reader((folder / "loss.csv").read_text().splitlines())
        assert header == list(curves)
        np.testing.assert_allclose(np.array(rows, float).T, list(curves.values()))
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    for name in curves.keys() - {"step"}:
        points = [(e.step, e.tensor_proto.float_val[0]) for e in events.Tensors(name)]
        np.testing.assert_allclose(
            points, list(zip(curves["step"], curves[name], strict=True)), rtol=1e-5
        )


def test_a_corpus_without_a_finished_run_is_refused(tmp_path, corpus_path):
    path = shutil.copytree(corpus_path, tmp_path / "corpus")
    shutil.rmtree(path / "runs")
    with pytest.raises(nowcast.UserError, match="no finished run"):
        meta_train(MetaTrainConfig(str(path), str(tmp_path / "bundle")))
    assert not (tmp_path / "bundle").exists()


def test_a_corpus_of_one_run_or_of_short_ones_is_refused(tmp_path, corpus_config):
    config = corpus_config(tmp_path / "corpus", runs=1, epochs=3)
    for runs, said in ((1, "collect 2 or more"), (2, "4 snapshots")):
        config.runs = runs
        collect_population(config)
        with pytest.raises(nowcast.UserError, match=said):
            meta_train(MetaTrainConfig(config.corpus, str(tmp_path / "bundle")))
    assert not (tmp_path / "bundle").exists()


def test_an_operation_that_is_asked_for_and_has_no_windows_is_refused(tmp_path, corpus_path):
    config = MetaTrainConfig(
        str(corpus_path), str(tmp_path / "bundle"), networks={"embedding": "embedding"}, steps=2
    )
    with pytest.raises(nowcast.UserError, match="embedding"):
        meta_train(config)
