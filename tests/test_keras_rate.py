"""The Keras callback that follows the drift: real fits, beside the rule by NumPy."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import nowcast
from nowcast.integrations.keras import AutoRate

L = keras.layers
pytestmark = pytest.mark.usefixtures("keras_as_users_have_it")


@pytest.fixture(scope="module")
def data():
    x, y = load_digits(return_X_y=True)
    return x[:512] / 16, y[:512]


def network(rate=1e-4, optimizer=keras.optimizers.Adam):
    model = keras.Sequential([L.Input((64,)), L.Dense(8, "relu"), L.Dense(10)])
    model.compile(optimizer(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class Recorder(keras.callbacks.Callback):
    """All weights and the loss after every so many batches, and the rates that batches were taken
    at.
    """

    def __init__(self, every):
        super().__init__()
        self.every, self.snapshots, self.losses, self.rates, self.count = every, [], [], [], 0

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate.value))

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count % self.every == 0:
            flat = [np.ravel(variable.value) for variable in self.model.trainable_variables]
            self.snapshots.append(np.concatenate(flat).astype(np.float64))
            self.losses.append(float(logs["loss"]))


def fit(model, data, *callbacks, epochs=10):
    model.fit(
        *data, batch_size=64, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def by_hand(snapshots, losses, target=0.02):
    """The multiplier after each look, by NumPy; no loss of these runs runs away."""
    logarithm, found, mean = np.log(1 / 8), [], None
    for look in range(len(snapshots)):
        mean = losses[look] if mean is None else 0.5 * losses[look] + 0.5 * mean
        if look >= 4:
            moved = np.diff(snapshots[look - 4 : look + 1], axis=0)
            unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
            apart = [unit[i] @ unit[j] for i in range(4) for j in range(4) if j - i >= 2]
            change = np.clip(np.mean(apart) - target, -np.log(2), np.log(2))
            change = np.log(4) if np.mean(apart) > 0.8 else change
            logarithm += change * min(1, mean / losses[0] / 0.15) if change > 0 else change
        found.append(np.exp(logarithm))
    return found


def test_the_rate_is_that_of_the_rule(data):
    model, recorder, callback = network(), Recorder(5), AutoRate(every=5)
    fit(model, data, recorder, callback)
    multipliers = [1 / 8, *by_hand(recorder.snapshots, recorder.losses)]
    assert multipliers[-1] > 8  # 1e-4 is far too low
    expected = [1e-4 * multipliers[batch // 5] for batch in range(80)]
    np.testing.assert_allclose(recorder.rates, expected, rtol=2e-3)
    assert callback.multiplier == pytest.approx(multipliers[-1], rel=2e-3)


def test_a_second_fit_goes_on_and_another_model_begins_anew(data):
    model, callback, recorder = network(), AutoRate(every=5), Recorder(5)
    fit(model, data, callback, epochs=4)
    half = callback.multiplier
    fit(model, data, recorder, callback, epochs=6)
    assert recorder.rates[0] == pytest.approx(1e-4 * half)
    whole = AutoRate(every=5)
    keras.utils.set_random_seed(0)
    fit(network(), data, whole, epochs=4)
    assert whole.multiplier == pytest.approx(half, rel=1e-5)
    other = keras.Sequential([L.Input((64,)), L.Dense(10)])
    other.compile(
        keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    fit(other, data, begun := Recorder(5), callback, epochs=1)
    assert begun.rates[0] == pytest.approx(0.5 / 8)


def test_a_schedule_is_set_at_each_look_and_the_memory_of_the_optimizer_says_when(data):
    schedule = keras.optimizers.schedules.CosineDecay(1e-4, 160)
    recorder = Recorder(20)
    callback = AutoRate(schedule=schedule, stop_after=1)
    fit(network(0.1), data, recorder, callback, epochs=5)
    np.testing.assert_allclose(
        recorder.rates[::20], [float(schedule(step)) / 8 for step in (0, 20)], rtol=1e-5
    )
    assert recorder.rates[19] == recorder.rates[0]  # β₁ = 0.9
    assert callback.multiplier == pytest.approx(1 / 8)


def test_wrong_options_are_refused_in_a_line(data):
    with pytest.raises(nowcast.UserError, match=r"target=2 must be a drift, above -1 and below 1"):
        AutoRate(target=2)
    with pytest.raises(nowcast.UserError, match=r"every=0"):
        AutoRate(every=0)
    scheduled = network(keras.optimizers.schedules.CosineDecay(1e-3, 100))
    with pytest.raises(
        nowcast.UserError, match=r"compile it with a number, and give AutoRate\(schedule=…\)"
    ):
        fit(scheduled, data, AutoRate())
