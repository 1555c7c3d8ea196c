"""What a jump does to the moments of optimizers: as asked, part by part."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import LINEAR, PERIOD, WINDOW, close, start, train, without_jumps

import nowcast


@pytest.mark.parametrize(
    "inner",
    [
        optax.adam(optax.linear_schedule(0.1, 0.01, 50)),
        optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9)),
    ],
)
@pytest.mark.parametrize("moments", ["keep", "reset"])
def test_moments(inner, moments):
    _, before = without_jumps(PERIOD, start(), inner)
    path, state = train(PERIOD, inner=inner, moments=moments)
    fresh = inner.init(path[-1])
    get = optax.tree_utils.tree_get
    for name in ("mu", "nu", "trace"):
        if get(fresh, name) is None:
            continue
        # There is something to reset.
        assert np.abs(get(before, name)["conv"]["kernel"]).min() > 1e-4
        close(get(state.inner, name), get(fresh if moments == "reset" else before, name))
    if get(fresh, "nu") is not None:
        # Or its bias correction would be wrong.
        assert state.inner[0].count == (0 if moments == "reset" else PERIOD)
        assert state.inner[1].count == PERIOD  # the schedule goes on
    close(path[:-1], without_jumps(PERIOD - 1, start(), inner)[0])


class Means(NamedTuple):
    """Parameters with a field that is called like a moment."""

    mu: jax.Array
    sigma: jax.Array


OPTIMIZERS = {  # what each resets
    "adam": (lambda: optax.adam(0.1), {"mu", "nu", "count"}),
    "momentum": (lambda: optax.sgd(0.1, momentum=0.9), {"trace"}),
    "adam, scheduled": (
        lambda: optax.adam(optax.linear_schedule(0.1, 0.0, 99)),
        {"mu", "nu", "count"},
    ),
    "adafactor": (
        lambda: optax.adafactor(0.1, momentum=0.9),
        {"v", "v_row", "v_col", "ema", "count"},
    ),
    "ademamix": (lambda: optax.contrib.ademamix(0.1), {"m1", "m2", "nu", "count", "count_m2"}),
    "partition": (
        lambda: optax.partition({"a": optax.adam(0.1)}, lambda p: jax.tree.map(lambda _: "a", p)),
        {"mu", "nu", "count"},
    ),
    "schedule_free": (
        lambda: optax.contrib.schedule_free_adamw(0.1, warmup_steps=3),
        {"z", "nu", "count", "weight_sum", "step_count", "max_lr"},
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_of_optaxs_optimizers(name):
    make, allowed = OPTIMIZERS[name]
    params = Means(jnp.ones((2, 2)), jnp.arange(1.0, 4.0))
    states = []
    for how in ("keep", "reset"):
        tx, p = nowcast.periodic(make(), LINEAR, every=1, min_drift=None, moments=how), params
        state = tx.init(p)
        for _ in range(WINDOW):
            updates, state = tx.update(jax.tree.map(jnp.cos, p), state, p)
            p = optax.apply_updates(p, updates)
        states.append(state.inner)
    kept, begun = (jax.tree.flatten_with_path(state)[0] for state in states)
    changed = set()
    for (path, before), (_, after) in zip(kept, begun, strict=True):
        names = [key.name for key in path if hasattr(key, "name")]
        field = names[-2] if names[-1] in Means._fields and len(names) > 1 else names[-1]
        if not np.array_equal(before, after):
            changed.add(field)
            if field not in ("z", "params0"):
                assert "sigma" not in names or np.abs(after).max() <= 1e-6 or field == "estim_lr"
    assert changed
    assert changed <= allowed


def test_a_schedule_inside_a_part_with_moments_goes_on():
    inner = optax.MultiSteps(
        optax.chain(optax.trace(0.0), optax.scale_by_schedule(lambda c: -(1 - 0.01 * c))), 1
    )
    for moments in ("keep", "reset"):
        tx = nowcast.periodic(
            inner.gradient_transformation(),
            nowcast.forecasters.LastValue(window=4),
            every=1,
            moments=moments,
        )
        params, got = {"w": jnp.zeros(2)}, []
        state = tx.init(params)
        for _ in range(6):
            updates, state = tx.update({"w": jnp.ones(2)}, state, params)
            params = optax.apply_updates(params, updates)
            got.append(float(updates["w"][0]))
        np.testing.assert_allclose(got, [-1, -0.99, -0.98, -0.97, -0.96, -0.95], rtol=1e-5)


@pytest.mark.parametrize(
    "inner",
    [optax.sgd(0.1), optax.flatten(optax.adam(0.1)), optax.lbfgs()],
    ids=["sgd", "flatten", "lbfgs"],
)
def test_moments_that_cannot_be_reset_are_refused(inner):
    with pytest.raises(nowcast.UserError, match=r"moments='reset': .* use 'keep'"):
        nowcast.periodic(inner, LINEAR, every=1, min_drift=None, moments="reset").init(start())
