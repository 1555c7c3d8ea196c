"""WNN's network in Keras 3, fitted in a process of its own: the peer of our fits."""

import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from nowcast.forecasters.wnn import HIDDEN, NARROW, SLOPE, UNITS

PARAMETERS = 9_425


def rate(work: Callable[[], int], seconds: float) -> float:
    """Windows/s of work that tells how many it has done, again and again for so long."""
    begun, windows = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        windows += work()
    return windows / passed


def keras_fit(
    backend: str, steps: int, examples: tuple[np.ndarray, ...], batch: int
) -> Callable[[float], float]:
    """Windows/s of one network, which is that of three one after another, given seconds."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    context.Process(
        target=serve_keras, args=(theirs, backend, steps, *examples, batch), daemon=True
    ).start()
    theirs.close()
    pipe.recv()

    def ask(seconds: float) -> float:
        pipe.send(seconds)
        return pipe.recv()

    return ask


def serve_keras(
    pipe: Connection, backend: str, steps: int, x: np.ndarray, y: np.ndarray, batch: int
) -> None:
    """Answer each number of seconds with a rate."""
    os.environ["KERAS_BACKEND"] = backend
    # As many steps as ours between two looks at the clock, about.
    epochs = -(-1000 * batch // len(x))
    model = keras_network(x.shape[1], steps)

    def work() -> int:
        model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)
        return epochs * len(x)

    work()  # compiles
    pipe.send("ready")
    with suppress(EOFError):  # nobody asks any more
        while True:
            pipe.send(rate(work, pipe.recv()))


def keras_network(window: int, steps_per_execution: int) -> Any:
    import keras
    from keras import layers

    def main(units: int) -> Any:
        small, l1 = (
            keras.initializers.VarianceScaling(0.1, "fan_in", "uniform"),
            keras.regularizers.L1,
        )
        return layers.Dense(
            units, kernel_initializer=small, kernel_regularizer=l1(1e-6), bias_regularizer=l1(0.1)
        )

    def stream(x: Any) -> Any:
        u = main(UNITS)(x)
        h = layers.Dense(HIDDEN, activation="relu")(u)
        a, b, c = (layers.Dense(UNITS)(h) for _ in range(3))
        return layers.LeakyReLU(SLOPE)(main(NARROW)(a * keras.ops.exp(b * u) + c))

    x = keras.Input((window,))
    both = layers.Concatenate()([stream(x), stream(x[:, 1:] - x[:, :-1])])
    model = keras.Model(x, layers.Dense(1, activation="tanh")(both))
    assert model.count_params() == PARAMETERS, f"{model.count_params()} parameters"
    model.compile(
        "adam", "mean_absolute_error", jit_compile="auto", steps_per_execution=steps_per_execution
    )
    return model
