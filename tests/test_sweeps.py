"""Sweeps of learning rates: labels by hand, windows by NumPy, and a fit that finds what tells the
rate.
"""

import json

import numpy as np
import pytest

import nowcast
from collect.corpus.leaf import Leaf
from meta_train import rates, sweeps
from meta_train.commands.meta_train import show_rates
from meta_train.config import MetaTrainConfig
from meta_train.rates_picture import picture
from meta_train.sweeps import best_rate, examples, groups
from nowcast.types import UserError

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
BEST = 1e-2
SNAPSHOTS = 12
SIZES = (20, 5)


class Made:
    """A run of ten steps a snapshot, whose increments all have the cosine that its rate gives."""

    def __init__(
        self, rate, *, task="one", best=BEST, drift=None, status="complete", band=4, **own
    ):
        self.id = self.path = f"{task}-{rate}"
        self.config = {
            "task": task, "seed": 0, "record_every": 10, "batch_size": 8,
            "optimizer": {"name": "adam", "learning_rate": rate, "schedule": "cosine"}, **own,
        }  # fmt: skip
        self.info, self.status, self.band, self.snapshots = (
            {"seconds": 1.0},
            status,
            band,
            SNAPSHOTS,
        )
        starts = np.cumsum([0, *SIZES]).tolist()
        self.leaves = [
            Leaf(f"leaf{i}", (size,), "fc", at)
            for i, (size, at) in enumerate(zip(SIZES, starts, strict=False))
        ]
        loss = np.full(SNAPSHOTS, np.exp(0.1 * np.log(rate / best) ** 2))
        self.metrics = {"step": np.arange(0, 10 * SNAPSHOTS, 10), "loss": loss}
        cosine = 0.05 * np.sinh(np.log(best / rate) / 4) if drift is None else drift
        self.weights = walk(len(json.dumps(self.config)), cosine)
        if band is not None:
            self.gram = np.stack([self._row(s) for s in range(SNAPSHOTS)])

    def _row(self, snapshot):
        """As the recorder has it: inner products leaf by leaf."""
        moved, found = np.diff(np.float64(self.weights), axis=0), []
        for leaf in self.leaves:
            for back in range(self.band):
                now, then = snapshot - 1, snapshot - 1 - back
                some = moved[:, leaf.scalars]
                found.append(some[now] @ some[then] if then >= 0 else np.nan)
        return np.array(found)


def walk(seed, cosine):
    """Weights whose increments have length 1, and this cosine to all others."""
    count = SNAPSHOTS - 1
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(sum(SIZES), count)))[0].T
    products = np.full((count, count), cosine) + (1 - cosine) * np.eye(count)
    return np.cumsum([np.zeros(sum(SIZES)), *(np.linalg.cholesky(products) @ basis)], axis=0)


def sweep(**settings):
    return [Made(rate, **settings) for rate in RATES]


def config(path="bundle", **settings):
    return MetaTrainConfig(
        corpus="corpora/made", bundle=str(path), forecaster="rate", keep_out=[], **settings
    )


@pytest.mark.parametrize(("bottom", "best"), [(-1.0, -1.0), (-7 / 6, -7 / 6), (-1.4, -1.4)])
def test_the_best_rate_is_the_lowest_place_of_a_parabola(bottom, best):
    place = np.array([-4.0, -3, -2, -1, 0])
    rate, loss = np.exp(place), np.exp(0.5 + 0.3 * (place - bottom) ** 2)
    np.testing.assert_allclose(best_rate(rate.tolist(), loss.tolist()), np.exp(best))
    order = [2, 0, 3, 1, 4]
    np.testing.assert_allclose(best_rate(rate[order].tolist(), loss[order].tolist()), np.exp(best))


def test_the_parabola_is_of_least_squares_over_two_losses_on_either_side():
    # Logarithms 9 2 1 0 1 2 9: those next to the lowest give (2 1 0 1 2), by symmetry lowest at 0;
    # one more on the right, ½ higher: Σx³ = 0 and so the slope is Σxy / Σx² = 2 · ½ / 10 = 0.1,
    # the curvature (5 Σx²y − Σx² Σy) / (5 Σx⁴ − (Σx²)²) = (5 · 20 − 10 · 6.5) / 70 = ½.
    loss = np.exp([9, 2, 1, 0, 1, 2.5, 9])
    rate = np.exp(np.arange(-3.0, 4))
    np.testing.assert_allclose(best_rate(rate.tolist(), loss.tolist()), np.exp(-0.1))


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([1, 2, 3, 4], None),
        ([4, 3, 2, 1], None),
        ([2, 1, float("nan"), float("inf")], None),
        ([4, 3, 2, float("inf")], 1e-2),
        ([8, 1, 8], 1e-3),
    ],
)
def test_a_best_rate_at_an_end_is_none_and_what_diverged_ends_at_infinity(losses, best):
    found = best_rate([1e-4, 1e-3, 1e-2, 1e-1][: len(losses)], losses)
    assert found == (None if best is None else pytest.approx(best))


def test_runs_alike_in_all_but_rate_and_seed_are_a_group(unchecked):
    runs = [*sweep(), *sweep(batch_size=64), *sweep(task="two"), *sweep(best=1.0, epochs=9)]
    runs[0].config["seed"] = 7
    found = groups(runs)
    assert [len(group.runs) for group in found] == [5] * 4
    np.testing.assert_allclose([group.best for group in found[:3]], BEST)
    assert found[3].best is None
    assert found[1].name == "one, adam, cosine, warm-up 0, batches of 64"


@pytest.mark.parametrize("band", [None, 4, 6])
def test_examples_are_windows_with_the_logarithm_of_best_over_rate(unchecked, band):
    runs = sweep(band=band)
    found = examples(groups(runs))
    many = SNAPSHOTS - 5  # of a run; the first snapshot is in none
    assert found.gram.shape == (5 * many, 4, 4)
    np.testing.assert_allclose(
        found.label, np.repeat(np.log(BEST / np.array(RATES)), many), atol=1e-5
    )
    np.testing.assert_allclose(found.share[:many], np.arange(50, 120, 10) / 110, rtol=1e-6)
    np.testing.assert_allclose(found.each, 10 / 110, rtol=1e-6)
    near = np.exp(-0.5 * (np.log2(BEST / np.array(RATES)) / 2) ** 2)
    expected = np.repeat(near / near.sum() / many, many)
    np.testing.assert_allclose(found.weight, expected, rtol=1e-3)
    for run, grams in zip(runs, found.gram.reshape(5, many, 4, 4), strict=True):
        for first, gram in enumerate(grams, start=1):
            moved = np.diff(np.float64(run.weights[first : first + 5]), axis=0)
            np.testing.assert_allclose(gram, moved @ moved.T, atol=1e-5)


def test_tasks_weigh_alike_and_a_run_that_diverged_counts_to_where_it_was_finite(unchecked):
    lost = Made(1.0, status="diverged")
    lost.gram[8:] = np.inf
    found = examples(groups([*sweep(), lost, *sweep(task="two")]))
    assert found.tasks == ["one", "two"]
    np.testing.assert_allclose(found.weight[found.task == 1].sum(), 0.5)
    assert (found.label == np.float32(np.log(BEST))).sum() == 7 - 4
    part = found.of(["two"])
    np.testing.assert_allclose(part.weight.sum(), 1)
    assert len(part.label) == 5 * 7


def test_where_the_drift_tells_the_rate_the_fit_finds_it_and_so_does_the_line(unchecked):
    both = examples(groups([*sweep(), *sweep(task="two", best=3e-2)]))
    settings = config(steps=1500, batch_size=64, learning_rate=1e-2)
    rate, losses = rates.fit(both.of(["one"]), settings)
    found = rates.scores(rate, rates.line(both.of(["one"])), both.of(["two"]))["whole run"]
    assert losses[-1] < -1
    assert found["control"] < 0.1
    assert found["error"] < 0.3 < found["constant"]


def test_where_lengths_tell_the_rate_the_fit_finds_it_and_the_line_does_not(unchecked):
    def growing(task):
        runs = sweep(task=task, drift=0.3)
        for run in runs:  # increments that grow the faster the lower the rate is
            grows = np.exp(0.1 * np.log(BEST / run.config["optimizer"]["learning_rate"]))
            sizes = np.cumprod(np.full(SNAPSHOTS - 1, grows))[:, None]
            moved = np.diff(run.weights, axis=0) * sizes
            run.weights = np.cumsum([run.weights[0], *moved], axis=0)
            run.gram = np.stack([run._row(s) for s in range(SNAPSHOTS)])
        return runs

    both = examples(groups([*growing("one"), *growing("two")]))
    rate, _ = rates.fit(both.of(["one"]), config(steps=1000, batch_size=64, learning_rate=1e-2))
    found = rates.scores(rate, rates.line(both.of(["one"])), both.of(["two"]))["first half"]
    assert found["error"] < 0.3
    assert found["control"] > 1


def test_of_normal_labels_with_the_readers_own_deviation_80_percent_are_inside():
    rng = np.random.default_rng(0)
    many = 4000
    label = rng.normal(size=many).astype(np.float32)
    gram = np.broadcast_to(np.eye(4, dtype=np.float32), (many, 4, 4))
    even = np.full(many, 1 / many), np.zeros(many, int), ["one"]
    some = sweeps.Examples(gram, *np.full((2, many), 0.2, np.float32), label, *even)
    params = rates.rate_forecaster.init_network(rates.jax.random.key(0))  # says 0, deviation 1
    found = rates.scores(rates.Rate(params=params), rates.Line(0.0, 0.0), some)["whole run"]
    np.testing.assert_allclose(found["inside"], 0.8, atol=0.02)
    np.testing.assert_allclose(found["error"], np.sqrt(2 / np.pi) / np.log(2), atol=0.03)


def test_deviations_are_widened_so_that_80_percent_are_inside():
    rng = np.random.default_rng(1)
    many = 4000
    gram = np.broadcast_to(np.eye(4, dtype=np.float32), (many, 4, 4))
    even = np.full(many, 1 / many), np.zeros(many, int), ["one"]
    label = (3 * rng.normal(size=many)).astype(np.float32)
    some = sweeps.Examples(gram, *np.full((2, many), 0.2, np.float32), label, *even)
    rate = rates.Rate(params=rates.rate_forecaster.init_network(rates.jax.random.key(0)))
    factor = rates.widening([(rate, some)])
    np.testing.assert_allclose(factor, 3, rtol=0.05)
    wide = rates.widened(rate, factor)
    found = rates.scores(wide, rates.Line(0.0, 0.0), some)["whole run"]
    np.testing.assert_allclose(found["inside"], 0.8, atol=0.001)
    assert rates.widening([(rates.widened(rate, 9.0), some)]) == 1


@pytest.fixture
def made_corpus(monkeypatch):
    """Sets what opening a corpus gives."""

    def put(runs):
        opened = type("Opened", (list,), {"hash": "abc"})(runs)
        monkeypatch.setattr(rates.corpus, "open", lambda path: opened)
        monkeypatch.setattr(rates, "png", lambda figure: b"a picture")

    return put


def test_a_bundle_says_how_it_was_made_and_scores_each_task_by_the_others(
    unchecked, made_corpus, tmp_path, capsys
):
    tasks = {name: sweep(task=name) for name in ("one", "two", "out")}
    ends = sweep(task="two", best=1.0, batch_size=64)
    made_corpus([*tasks["one"], *tasks["two"], *tasks["out"], *ends])
    settings = config(tmp_path / "mine", steps=20, batch_size=8)
    settings.keep_out = ["out"]
    card = rates.meta_train(settings, "the command")
    assert nowcast.bundle.read_card(tmp_path / "mine") == json.loads(json.dumps(card))
    assert card["validation"].keys() == {"one", "two"}
    assert card["held_out"].keys() == {"out"}
    assert card["groups_not_used"] == ["two, adam, cosine, warm-up 0, batches of 64"]
    assert (card["corpus"]["training_runs"], card["corpus"]["hash"]) == (10, "abc")
    assert len(card["corpus"]["held_out_runs"]) == 5
    assert card["command"] == "the command"
    assert (tmp_path / "mine" / "loss.png").read_bytes() == b"a picture"
    assert isinstance(nowcast.load(tmp_path / "mine"), rates.Rate)
    assert len(rates.table(card["validation"]).splitlines()) == 5
    _, bars = picture(card).axes
    assert sorted(bar.get_height() for bar in bars.patches) == sorted(
        one["whole run"][key]
        for one in (*card["validation"].values(), *card["held_out"].values())
        for key in ("error", "control", "constant")
    )
    show_rates(settings, card)
    said = capsys.readouterr().out
    assert "not used, as its lowest loss is at an end of its rates: two, adam" in said
    assert f"arm.cosine_auto_learned.auto.forecaster={settings.bundle}" in said
    again = rates.meta_train(settings, "the command")
    assert again["params_sha256"] == card["params_sha256"]


@pytest.mark.parametrize(
    ("runs", "line"),
    [
        ([], "corpus=corpora/made holds no finished run"),
        (sweep(), "sweeps of one alone, .* collect sweeps of another task too"),
        (sweep(best=1.0), "no group of runs .* collect sweeps over more rates"),
        (sweep(band=3), "was recorded with band=3, .* collect it with band=4 or more"),
        ([Made(0.1, optimizer={"name": "adam"})], "does not record its learning rate"),
    ],
)  # fmt: skip
def test_corpora_of_no_use_are_refused(unchecked, made_corpus, tmp_path, runs, line):
    made_corpus(runs)
    with pytest.raises(UserError, match=line):
        rates.meta_train(config(tmp_path / "mine"))


@pytest.mark.parametrize(
    ("key", "value"), [("window", 7), ("horizon", 5), ("log", "csv"), ("processes", 2)]
)
def test_keys_of_forecasts_of_weights_are_refused(key, value):
    with pytest.raises(UserError, match=f"{key}={value}: forecaster=rate has no use for it; leave"):
        config(**{key: value})
