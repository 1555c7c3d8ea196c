"""The Keras callback: real fits, against forecasts of what another callback recorded."""

import importlib
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import keras
import numpy as np
import pytest
from networks import constant_wnn
from sklearn.datasets import load_digits

import nowcast
import nowcast.integrations.keras as integration
from nowcast.integrations.keras import WeightNowcasting, label_ops

PAGE = Path(__file__).resolve().parent.parent / "docs" / "keras.md"
L = keras.layers
pytestmark = pytest.mark.usefixtures("keras_as_users_have_it")


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(return_X_y=True)
    return x[:256] / 16, y[:256]


def network():
    model = keras.Sequential(
        [L.Input((64,)), L.Dense(8, "relu"), L.BatchNormalization(), L.Dense(10)]
    )
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


class Recorder(keras.callbacks.Callback):
    """What the weights are at each epoch's end, or at the end of every second batch."""

    def __init__(self, by_batch=False):
        super().__init__()
        self.by_batch, self.snapshots = by_batch, []

    def on_epoch_end(self, epoch, logs=None):
        if not self.by_batch:
            self.snapshots.append(values(self.model))

    def on_train_batch_end(self, batch, logs=None):
        if self.by_batch and batch % 2:
            self.snapshots.append(values(self.model))


def values(model):
    return {
        name: np.array(v.value)
        for name, v in zip(label_ops(model), model.trainable_variables, strict=True)
    }


def fit(model, data, *callbacks, epochs, **more):
    """Without shuffling: one fit or two, the batches are the same."""
    model.fit(
        *data,
        batch_size=64,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **more,
    )
    return values(model)


def forecast(forecaster, snapshots, model):
    window = {name: np.stack([snapshot[name] for snapshot in snapshots]) for name in snapshots[0]}
    there = nowcast.forecast(forecaster, window, labels=label_ops(model))
    # Those of pixels that are never lit.
    unmoved = {name: np.ptp(values, axis=0) == 0 for name, values in window.items()}
    return {name: np.where(unmoved[name], window[name][-1], there[name]) for name in window}


def same(got, wanted, **tolerance):
    assert got.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(
            got[name], wanted[name], **(tolerance or {"rtol": 0, "atol": 0}), err_msg=name
        )


@dataclass(frozen=True, kw_only=True)
class Ruinous(nowcast.Forecaster):
    name: ClassVar[str] = "ruinous"

    def leaf(self, history, operation, horizon):
        return history[-1] + 1.0


@pytest.mark.parametrize(
    ("forecaster", "options"),
    [
        (nowcast.load("linear"), {}),
        (nowcast.load("linear"), {"every": 2}),
        (constant_wnn(0.3), {"every": 2}),
    ],
    ids=["linear, epochs", "linear, batches", "wnn, batches"],
)
def test_after_five_snapshots_the_weights_are_their_forecast(data, forecaster, options):
    model, recorder = network(), Recorder(by_batch=bool(options))
    callback = WeightNowcasting(forecaster, **options)
    if options:
        # One epoch of ten batches.
        data = (
            np.concatenate([data[0]] * 3)[:640],
            np.concatenate([data[1]] * 3)[:640],
        )
    got = fit(model, data, recorder, callback, epochs=1 if options else 5)
    wanted = forecast(forecaster, recorder.snapshots, model)
    assert len(recorder.snapshots) == 5
    same(got, wanted, rtol=1e-5, atol=1e-6)
    moved = {name for name in got if np.any(got[name] != recorder.snapshots[-1][name])}
    assert moved == {name for name, op in label_ops(model).items() if forecaster.can_forecast(op)}
    assert (callback.accepted, callback.refused) == (1, 0)


def test_the_jump_lasts_and_one_follows_each_full_window(data):
    model, recorder, callback = (
        network(),
        Recorder(),
        WeightNowcasting(nowcast.load("linear"), start_after=1),
    )
    fit(model, data, recorder, callback, epochs=7)
    after_jump = forecast(nowcast.load("linear"), recorder.snapshots[1:6], model)
    after = recorder.snapshots[6]
    # Four batches of Adam at 3e-3 go no further than this from where the jump ended.
    for name in after_jump:
        assert np.abs(after[name] - after_jump[name]).max() < 0.02, name
    fit(model, data, callback, epochs=4)
    assert (callback.accepted, int(callback.state.clock.filled)) == (2, 0)


def test_a_run_that_does_not_drift_keeps_still_unless_told_otherwise(data):
    class ToAndFro(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.begun = [np.asarray(variable.value) for variable in self.model.trainable_variables]

        def on_train_batch_end(self, batch, logs=None):
            for variable, begin in zip(self.model.trainable_variables, self.begun, strict=True):
                variable.assign(begin + 0.01 * (0, 1, 0, -1, 0)[batch])

    for options, expected in (({}, (0, 1)), ({"min_drift": None}, (1, 0))):
        model, shake = network(), ToAndFro()
        callback = WeightNowcasting(nowcast.load("linear"), every=1, **options)
        rows = (np.concatenate([data[0]] * 2)[:320], np.concatenate([data[1]] * 2)[:320])
        fit(model, rows, shake, callback, epochs=1)
        assert (callback.accepted, callback.refused) == expected, options


def test_every_layer_kind_has_its_operation():
    shared = L.Dense(8, name="shared")
    inner = keras.Sequential(
        [L.Dense(8, name="dense"), L.BatchNormalization(), shared], name="inner"
    )
    image, words = L.Input((8, 8, 2)), L.Input((6,))
    x = L.Conv2D(4, 3, padding="same", name="conv")(image)
    x = L.Conv2DTranspose(4, 3, padding="same", name="transpose")(x)
    x = L.Conv2D(4, 3, groups=4, name="grouped")(L.LayerNormalization(name="ln")(x))
    x = L.DepthwiseConv2D(3, name="dw")(L.GroupNormalization(2, name="gn")(x))
    x = L.SeparableConv2D(4, 3, padding="same", name="sep")(L.PReLU(name="prelu")(x))
    x = L.RMSNormalization(name="rms")(L.Flatten()(x))
    w = L.Embedding(10, 8, name="embedding")(words)
    w = L.TimeDistributed(inner, name="each")(
        L.Bidirectional(L.LSTM(4, return_sequences=True), name="both")(w)
    )
    w = L.MultiHeadAttention(2, 4, name="attention")(w, w)
    w = shared(L.GRU(8, name="gru")(L.Conv1D(8, 3, name="conv1d")(w)))
    model = keras.Model([image, words], [x, w])
    labels = label_ops(model)
    assert len(labels) == len(model.trainable_variables)

    def of(name, leaf):
        found = {
            op
            for path, op in labels.items()
            if re.search(rf"(^|/){name}/(.*/)?{leaf}(~\d)?$", path)
        }
        assert len(found) == 1, (name, leaf, labels)
        return found.pop()

    for name in ("conv", "transpose", "conv1d"):
        assert (of(name, "kernel"), of(name, "bias")) == ("conv", "bias")
    for name in ("dw", "grouped"):
        assert (of(name, "kernel"), of(name, "bias")) == ("depthwise_conv", "bias")
    assert (of("sep", "depthwise_kernel"), of("sep", "pointwise_kernel")) == (
        "depthwise_conv",
        "conv",
    )
    for name in ("inner/dense", "shared", "both", "gru", "attention"):
        assert (of(name, "kernel"), of(name, "bias")) == ("fc", "bias")
    assert of("both", "recurrent_kernel") == "fc"
    for name in ("ln", "gn", "batch_normalization"):
        assert (of(name, "gamma"), of(name, "beta")) == ("norm", "norm")
    assert of("rms", "scale") == "norm"
    assert (of("embedding", "embeddings"), of("prelu", "alpha")) == ("embedding", "other")


def test_variables_of_one_name_are_kept_apart():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.gain = (
                L.Dense(3, name="same"),
                L.Dense(2, name="same"),
                self.add_weight(name="gain"),
            )

        def call(self, x):
            return self.two(self.one(x)) * self.gain

    model = Two()
    model(np.zeros((1, 4)))
    named = {
        name: variable.shape
        for name, variable in zip(label_ops(model), model.trainable_variables, strict=True)
    }
    assert named == {
        "gain": (),
        "same/kernel": (4, 3),
        "same/bias": (3,),
        "same/kernel~2": (3, 2),
        "same/bias~2": (2,),
    }
    assert list(label_ops(model).values()) == ["other", "fc", "bias", "fc", "bias"]


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras's own, in model.save
@pytest.mark.parametrize(
    "when", [{}, {"every": 3}, {"at": [20]}], ids=["epochs", "batches", "named batches"]
)
def test_a_second_fit_and_a_restart_in_the_middle_of_a_window_go_on(data, tmp_path, when):
    def callback():
        return WeightNowcasting(nowcast.load("linear"), min_drift=None, **when)

    whole = fit(network(), data, callback(), epochs=7)

    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    model, first = network(), callback()
    fit(model, data, first, epochs=3)
    model.save(tmp_path / "model.keras")
    (tmp_path / "state").write_bytes(pickle.dumps(jax.device_get(first.state)))
    same(fit(model, data, first, epochs=7, initial_epoch=3), whole)

    again, second = keras.models.load_model(tmp_path / "model.keras"), callback()
    second.state = pickle.loads((tmp_path / "state").read_bytes())
    same(fit(again, data, second, epochs=7, initial_epoch=3), whole)
    jax.tree.map(np.testing.assert_array_equal, second.state, first.state)
    assert second.accepted == first.accepted == 1


def test_another_model_or_other_trainable_variables_begin_anew(data):
    model, callback = network(), WeightNowcasting(constant_wnn(0.3))
    fit(model, data, callback, epochs=2)
    assert int(callback.state.clock.filled) == 2
    model.layers[1].trainable = False  # the normalisation, which does not jump anyway
    model.compile("adam", "mse")
    fit(model, (data[0], np.eye(10)[data[1]]), callback, epochs=1)
    assert int(callback.state.clock.filled) == 1
    keras.utils.clear_session(free_memory=False)
    fit(network(), data, callback, epochs=1)  # the same names
    assert int(callback.state.clock.filled) == 1


@pytest.mark.parametrize("after", [0, 2])
def test_the_guard_refuses_what_ruins(data, after):
    def run(**options):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model, recorder, callback = network(), Recorder(), WeightNowcasting(Ruinous(), **options)
        return fit(model, data, recorder, callback, epochs=5 + after), recorder.snapshots, callback

    unguarded, _, callback = run()
    assert callback.accepted == 1
    guard = nowcast.WaitingGuard(after=after) if after else nowcast.Guard()
    got, snapshots, callback = run(guard=guard, guard_data=data)
    same(got, snapshots[4])
    assert (callback.accepted, callback.refused) == (0, 1)
    assert np.abs(unguarded["dense/kernel"] - got["dense/kernel"]).mean() > 0.5


def test_the_guard_sees_the_loss_that_evaluate_sees(data, monkeypatch):
    def seen(self, params, state, *, value_fn):
        return params, state._replace(damping=value_fn(params))

    monkeypatch.setattr(nowcast.Jumps, "step", seen)
    x, y = data
    weights = np.linspace(0.1, 2, len(x))
    model = keras.Sequential(
        [
            L.Input((64,)),
            L.Dense(8, "relu", kernel_regularizer="l2"),
            L.BatchNormalization(),
            L.Dropout(0.5),
            L.Dense(10),
        ]
    )
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    callback = WeightNowcasting(Ruinous(), guard=nowcast.Guard(), guard_data=(x, y, weights))
    fit(model, data, callback, epochs=1)
    loss, _ = model.evaluate(x, y, sample_weight=weights, batch_size=len(x), verbose=0)
    assert float(callback.state.damping) == pytest.approx(loss, rel=1e-4)


def test_the_model_is_compiled_for_once(data, monkeypatch):
    """Fits in a loop do not compile anew each time; a new compile() does, for the guard's loss may
    be another.
    """
    made = []
    compiled = integration._compiled
    monkeypatch.setattr(integration, "_compiled", lambda *given: made.append(1) or compiled(*given))
    model, callback = network(), WeightNowcasting(Ruinous(), guard=nowcast.Guard(), guard_data=data)
    for _ in range(3):
        fit(model, data, callback, epochs=1)
    assert len(made) == 1
    assert int(callback.state.clock.filled) == 3
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, data, callback, epochs=1)
    assert len(made) == 2
    assert int(callback.state.clock.filled) == 4


@pytest.mark.parametrize("together", [1, 2, 4, 8])
def test_named_batches_jump_whatever_the_steps_of_an_execution(data, together):
    # With 8, the snapshots of batches 4 and 7 and the jump at 10 are of executions 8 and 16.
    model, recorder = network(), Recorder(by_batch=True)
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=together,
    )
    callback = WeightNowcasting(nowcast.load("introspection"), at=[10, 20, 70], min_drift=None)
    model.fit(*data, batch_size=16, epochs=3, verbose=0, callbacks=[recorder, callback])
    assert callback.accepted == 2
    assert callback.state.clock.total == 48
    model.fit(*data, batch_size=16, epochs=2, verbose=0, callbacks=[callback])
    assert callback.accepted == 3


def test_a_named_batch_is_followed_by_the_forecast_of_the_four_weights(data):
    model, recorder = network(), Recorder(by_batch=True)
    linear = nowcast.load("linear")
    callback = WeightNowcasting(linear, at=[20], min_drift=None, history_dtype="float32")
    begin = values(model)
    model.fit(
        *data,
        batch_size=64,
        epochs=5,
        shuffle=False,
        verbose=0,
        callbacks=[recorder, callback],
    )
    read = [begin, *(recorder.snapshots[batch // 2 - 1] for batch in (8, 14, 20))]
    for name, got in values(model).items():
        window = np.stack([one[name] for one in read]).astype(np.float64)
        slope, start = np.polyfit([0, 0.4, 0.7, 1], window.reshape(4, -1), 1)
        there = (start + 2 * slope).reshape(got.shape)
        np.testing.assert_allclose(got, there, rtol=1e-4, atol=1e-5, err_msg=name)


def test_options_that_do_not_go_together_are_refused(data):
    for options, words in (
        ({"guard": nowcast.Guard()}, "guard_data=(x, y)"),
        ({"guard_data": data}, "guard=None"),
        ({"every": 0}, "every=0"),
        ({"every": 5, "at": [6]}, "at and every=5 exclude each other"),
        ({"at": [6, 5]}, "at: step 5 comes after step 6"),
        ({"operations": ("convolution",)}, "'convolution'"),
    ):
        with pytest.raises(nowcast.UserError, match=re.escape(words)) as caught:
            WeightNowcasting(nowcast.load("linear"), **options)
        assert "\n" not in str(caught.value)


def test_a_state_of_another_model_is_refused(data):
    model, callback = network(), WeightNowcasting(nowcast.load("linear"))
    fit(model, data, callback, epochs=1)
    other = WeightNowcasting(nowcast.load("linear"))
    other.state = callback.state
    with pytest.raises(nowcast.UserError, match="batch_normalization_1/beta") as caught:
        fit(network(), data, other, epochs=1)
    assert "load_model" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (other.accepted, other.refused) == (0, 0)


def test_without_keras_or_with_another_back_end_the_cure_is_said(monkeypatch):
    def imported(words):
        for name in ("keras", "keras_ops", "keras_rate"):
            monkeypatch.delitem(sys.modules, f"nowcast.integrations.{name}", raising=False)
        with pytest.raises(nowcast.UserError, match=re.escape(words)) as caught:
            importlib.import_module("nowcast.integrations.keras")
        assert "\n" not in str(caught.value)

    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "torch")
        imported("runs on torch, and nowcasting needs JAX: set KERAS_BACKEND=jax")
    monkeypatch.setitem(sys.modules, "keras", None)
    imported("pip install 'weight-nowcaster[keras]'")
    monkeypatch.delitem(sys.modules, "keras")

    class NoBackEnd:
        def find_spec(self, name, path=None, target=None):
            if name == "keras":
                raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(sys, "meta_path", [NoBackEnd(), *sys.meta_path])
    imported("No module named 'tensorflow'")


def test_nowcast_imports_no_keras():
    code = "import sys, nowcast; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_example_of_the_page_runs(capsys):
    [example] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    exec(example, {})
    assert re.search(r"^[01] jumps taken, [01] refused$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("together", [1, 2, 4, 8])
def test_batches_are_counted_whatever_the_steps_of_an_execution(data, together):
    model = network()
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=together,
    )
    callback = WeightNowcasting(nowcast.load("linear"), every=4, min_drift=None)
    # 80 batches: a jump each 20, or at the next end.
    model.fit(*data, batch_size=16, epochs=5, verbose=0, callbacks=[callback])
    assert callback.accepted == {1: 4, 2: 4, 4: 4, 8: 2}[together]


def test_after_stop_after_the_weights_are_left_alone(data, monkeypatch):
    model, asked = network(), []
    callback = WeightNowcasting(nowcast.load("linear"), every=1, min_drift=None, stop_after=12)
    advance = callback._advance
    monkeypatch.setattr(callback, "_advance", lambda due: (asked.append(1), advance(due)))
    fit(model, data, callback, epochs=10)  # 40 batches
    assert callback.accepted == 2
    assert len(asked) == 12
    assert int(callback.state.clock.total) == 40


def test_a_state_of_a_larger_every_or_an_earlier_stop_after_goes_on(data):
    model, first = network(), WeightNowcasting(nowcast.load("linear"), every=10, min_drift=None)
    fit(model, data, first, epochs=7, steps_per_epoch=1)
    assert int(first.state.clock.step) == 7
    second = WeightNowcasting(nowcast.load("linear"), every=4, min_drift=None)
    second.state = first.state
    fit(model, data, second, epochs=10)  # 40 batches: a snapshot at once, then each 4
    assert (second.accepted, second.refused, int(second.state.clock.filled)) == (2, 0, 0)
    model, first = (
        network(),
        WeightNowcasting(nowcast.load("linear"), every=1, min_drift=None, stop_after=6),
    )
    fit(model, data, first, epochs=5)  # 20 batches
    assert (first.accepted, int(first.state.clock.total)) == (1, 20)
    second = WeightNowcasting(nowcast.load("linear"), every=1, min_drift=None, stop_after=26)
    second.state = first.state
    fit(model, data, second, epochs=2)
    assert second.accepted == 2


def test_a_state_that_jumped_past_stop_after_is_refused(data):
    """A later ``stop_after`` goes on, and the one that it was made with."""
    made, linear = (
        WeightNowcasting(nowcast.load("linear"), every=1, min_drift=None),
        nowcast.load("linear"),
    )
    model = network()
    fit(model, data, made, epochs=3)
    total = int(made.state.clock.total)
    assert made.accepted == total // 5 > 1
    for stop_after, said in (
        (total - 1, f"a snapshot of step {total}"),
        (5, f"stop_after={total} to end the jumps now"),
    ):
        callback = WeightNowcasting(linear, every=1, min_drift=None, stop_after=stop_after)
        callback.state = made.state
        with pytest.raises(nowcast.UserError, match=said):
            fit(model, data, callback, epochs=1)
    for stop_after, more in ((total, 0), (total + 100, 1)):
        callback = WeightNowcasting(linear, every=1, min_drift=None, stop_after=stop_after)
        callback.state = made.state
        fit(model, data, callback, epochs=2)
        assert (callback.accepted > made.accepted) == bool(more)


def test_stop_after_counts_batches_whatever_the_steps_of_an_execution(data):
    model = network()
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), steps_per_execution=8
    )
    callback = WeightNowcasting(nowcast.load("linear"), every=4, min_drift=None, stop_after=40)
    # A snapshot each 8 batches, 5 until then.
    model.fit(*data, batch_size=16, epochs=10, verbose=0, callbacks=[callback])
    assert callback.accepted == 1
    assert int(callback.state.clock.total) == 160


@pytest.mark.parametrize("frozen", ["model", "layers"])
def test_a_model_of_which_nothing_trains_is_refused(data, frozen):
    model = network()
    for part in [model] if frozen == "model" else model.layers:
        part.trainable = False
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = WeightNowcasting(nowcast.load("linear"))
    with pytest.raises(
        nowcast.UserError,
        match=r"no weight of this model is trainable.* set trainable=True on a layer",
    ) as caught:
        fit(model, data, callback, epochs=6)
    assert "\n" not in str(caught.value)
    assert "labels" not in str(caught.value)
    assert callback.accepted == 0


def test_refusals_name_options_that_the_callback_has(data):
    model = keras.Sequential([L.Input((64,)), L.LayerNormalization()])
    model.compile("adam", "mse")
    cases = [
        (
            constant_wnn(0.3),
            {},
            "with this wnn: 'layer_normalization/.*' is 'norm'; pass another forecaster",
        ),
        (
            nowcast.load("linear"),
            {"operations": ("conv",)},
            r"operations=\('conv',\).*; leave operations out, or name others",
        ),
    ]
    for forecaster, options, said in cases:
        with pytest.raises(nowcast.UserError, match=said) as caught:
            fit(model, (data[0], data[0]), WeightNowcasting(forecaster, **options), epochs=1)
        assert "labels" not in str(caught.value)
    for option, near in {"labels": "", "moments": "", "evry": "the nearest is every; "}.items():
        with pytest.raises(
            nowcast.UserError,
            match=f"{option}: .* has no option of this name; {near}there are guard_data, ",
        ) as caught:
            WeightNowcasting(nowcast.load("linear"), **{option: None})
        named = str(caught.value).rpartition("there are ")[2].split(", ")
        assert set(named) - {"forecaster", "every", "guard", "guard_data"} == {
            "at",
            "aim",
            "operations",
            "skip",
            "horizon",
            "damping",
            "start_after",
            "stop_after",
            "history_dtype",
            "min_drift",
        }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda x, y: (x[:, :10], y),
            "guard_data does not fit the model: .*incompatible with the layer.*64",
        ),
        (lambda x, y: (x[:, None], y), "guard_data does not fit the model: .*incompatible"),
        (lambda x, y: (x, np.eye(3)[y % 3]), "guard_data does not fit the model: .*same shape"),
        (
            lambda x, y: (x, y.astype(str)),
            "guard_data: y holds text, such as '0', and must hold numbers",
        ),
        (lambda x, y: (x, y.astype(str).astype(object)), "guard_data: y holds text, such as '0'"),
        (lambda x, y: (x.astype("datetime64[s]"), y), "guard_data: x holds datetime64"),
        (lambda x, y: (x, np.array([None] * len(y))), "guard_data: y holds object, such as None"),
        (
            lambda x, y: (x, y[:10]),
            "guard_data needs as many examples in each part, one at least: x has 256, y has 10",
        ),
        (lambda x, y: (x[:0], y[:0]), "guard_data needs .*: x has 0"),
        (lambda x, y: (x, y, np.ones(3)), "sample_weight has 3"),
        (lambda x, y: {"x": x, "y": y}, "guard_data must be .* and is a dict"),
        (lambda x, y: (np.where(x > 0.9, np.nan, x), y), "guard_data: x holds NaN or infinity"),
        (lambda x, y: (x, np.where(y == 3, np.inf, y)), "guard_data: y holds NaN or infinity"),
        (
            lambda x, y: (x, np.where(y == 3, 10, y)),
            "guard_data: y holds 10, and the classes of this model are 0 to 9",
        ),
        (lambda x, y: (x, np.where(y == 3, -1, y)), "guard_data: y holds -1, and the classes"),
        (lambda x, y: (x, y + 0.5), "guard_data: y holds 0.5, and the classes"),
    ],
    ids=[
        "width",
        "rank",
        "one-hot",
        "text",
        "text objects",
        "dates",
        "nothing",
        "few labels",
        "empty",
        "weights",
        "dict",
        "NaN",
        "infinity",
        "label beyond",
        "label below",
        "label between",
    ],
)
def test_guard_data_that_the_model_cannot_take_is_refused_before_the_first_batch(
    data, change, said, unchecked
):
    class Count(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.batches += 1

    count, model = Count(), network()
    with pytest.raises(nowcast.UserError, match=said) as caught:
        fit(
            model,
            data,
            count,
            WeightNowcasting(Ruinous(), guard=nowcast.Guard(), guard_data=change(*data)),
            epochs=1,
        )
    assert "\n" not in str(caught.value)
    assert count.batches == 0
