"""The wrapper in the frameworks that people use: Flax NNX and Linen, modules that are pytrees, bare
dicts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState

import nowcast

LINEAR = nowcast.load("linear")
X = jnp.asarray(np.random.default_rng(0).normal(size=(32, 6)), jnp.float32)
Y = jnp.asarray(np.random.default_rng(1).normal(size=(32, 2)), jnp.float32)
STEPS = 11  # two jumps of windows of 5 snapshots, one each step, and a step more


def by_hand(params, apply):
    """The parameters after so many steps of SGD that jump with the linear fit, as plain NumPy."""
    loss = jax.jit(jax.grad(lambda p: jnp.mean((apply(p) - Y) ** 2)))
    leaves, treedef = jax.tree.flatten(params)
    leaves, window = [np.asarray(leaf) for leaf in leaves], []
    for _ in range(STEPS):
        grads = jax.tree.leaves(loss(jax.tree.unflatten(treedef, list(map(jnp.asarray, leaves)))))
        leaves = [leaf - 0.1 * np.asarray(g) for leaf, g in zip(leaves, grads, strict=True)]
        window.append(leaves)
        if len(window) == 5:
            leaves, window = (
                [np.asarray(_line(np.stack(each))) for each in zip(*window, strict=True)],
                [],
            )
    return leaves


def _line(snapshots):
    slope, start = np.polyfit(np.arange(5), snapshots.reshape(5, -1), 1)
    return (start + slope * 9).reshape(snapshots.shape[1:]).astype(np.float32)


def close(tree, expected):
    for got, want in zip(jax.tree.leaves(tree), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_flax_nnx_with_its_optimizer():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm, self.last = (
                nnx.Linear(6, 8, rngs=rngs),
                nnx.LayerNorm(8, rngs=rngs),
                nnx.Linear(8, 2, rngs=rngs),
            )

        def __call__(self, x):
            return self.last(nnx.tanh(self.norm(self.first(x))))

    model = Model(nnx.Rngs(0))
    graph, params = nnx.split(model, nnx.Param)
    expected = by_hand(params, lambda p: nnx.merge(graph, p)(X))
    tx = nowcast.periodic(
        optax.sgd(0.1),
        LINEAR,
        every=1,
        labels=nowcast.label_ops(model),
        guard=nowcast.Guard(tolerance=1e9),
    )
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss = lambda model: jnp.mean((model(X) - Y) ** 2)  # noqa: E731
        value_fn = lambda params: loss(nnx.merge(graph, params))  # noqa: E731
        optimizer.update(model, nnx.grad(loss)(model), value_fn=value_fn)

    for _ in range(STEPS):
        step(model, optimizer)
    close(nnx.state(model, nnx.Param), expected)
    assert optimizer.opt_state.accepted[...] == 2


def test_flax_linen_with_its_train_state():
    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(2)(linen.tanh(linen.LayerNorm()(linen.Dense(8)(x))))

    model = Model()
    params = model.init(jax.random.key(0), X)["params"]
    assert nowcast.label_ops(params)["LayerNorm_0"] == {"bias": "norm", "scale": "norm"}
    tx = nowcast.periodic(optax.sgd(0.1), LINEAR, every=1)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)

    @jax.jit
    def step(state):
        grads = jax.grad(lambda p: jnp.mean((state.apply_fn({"params": p}, X) - Y) ** 2))(
            state.params
        )
        return state.apply_gradients(grads=grads)

    for _ in range(STEPS):
        state = step(state)
    close(state.params, by_hand(params, lambda p: model.apply({"params": p}, X)))
    assert state.opt_state.clock.windows == 2


def _module(fields):
    """As Equinox makes them: a class that is a pytree, its fields attributes."""
    cls = type("Dense", (), {})
    jax.tree_util.register_pytree_with_keys(
        cls,
        lambda m: ([(jax.tree_util.GetAttrKey(k), getattr(m, k)) for k in fields], None),
        lambda _, leaves: _filled(cls, fields, leaves),
    )
    return cls


def _filled(cls, fields, leaves):
    made = object.__new__(cls)
    for field, leaf in zip(fields, leaves, strict=True):
        setattr(made, field, leaf)
    return made


class Pair(NamedTuple):
    first: object
    last: object
    nothing: None = None


def test_modules_that_are_pytrees_with_none_in_them():
    fields = ("weight", "bias")
    dense = _module(fields)
    rng = np.random.default_rng(2)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape) / 3, jnp.float32)  # noqa: E731
    params = Pair(
        _filled(dense, fields, (draw(6, 8), draw(8))), _filled(dense, fields, (draw(8, 2), None))
    )
    assert jax.tree.leaves(nowcast.label_ops(params)) == ["fc", "bias", "fc"]

    def apply(p):
        return jnp.tanh(X @ p.first.weight + p.first.bias[None, :]) @ p.last.weight

    tx = nowcast.periodic(optax.sgd(0.1), LINEAR, every=1)
    expected, state = by_hand(params, apply), tx.init(params)

    @jax.jit
    def step(params, state):
        updates, state = tx.update(
            jax.grad(lambda p: jnp.mean((apply(p) - Y) ** 2))(params), state, params
        )
        return optax.apply_updates(params, updates), state

    for _ in range(STEPS):
        params, state = step(params, state)
    close(params, expected)


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_bare_containers(kind):
    rng = np.random.default_rng(3)
    leaves = [jnp.asarray(rng.normal(size=s) / 3, jnp.float32) for s in ((6, 2), (2,))]
    params = {"w": leaves[0], "b": leaves[1]} if kind is dict else kind(leaves)

    def apply(p):
        weight, bias = (p["w"], p["b"]) if kind is dict else p
        return X @ weight + bias[None, :]

    jumps = nowcast.Jumps(forecaster=LINEAR, every=1)
    expected, state = by_hand(params, apply), jumps.init(params)
    for _ in range(STEPS):
        grads = jax.grad(lambda p: jnp.mean((apply(p) - Y) ** 2))(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        params, state = jumps.step(params, state)
    close(params, expected)


@pytest.mark.parametrize("jitted", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
def test_batch_norm_statistics_are_estimated_anew_whatever_their_average(momentum, jitted):
    images = jnp.asarray(np.random.default_rng(0).normal(3, 20, size=(256, 5)), jnp.float32)
    norm = nnx.BatchNorm(5, momentum=momentum, rngs=nnx.Rngs(0))
    graph, params, statistics = nnx.split(norm, nnx.Param, nnx.BatchStat)

    def forward(statistics, batch):
        module = nnx.merge(graph, params, statistics)
        module(batch)
        return nnx.state(module, nnx.BatchStat)

    forward = jax.jit(forward) if jitted else forward
    got = nowcast.reestimate(forward, statistics, images.reshape(8, 32, 5))
    np.testing.assert_allclose(got["mean"][...], images.mean(axis=0), rtol=2e-3)
    np.testing.assert_allclose(
        got["var"][...], images.reshape(8, 32, 5).var(axis=1).mean(axis=0), rtol=2e-3
    )
    with pytest.raises(nowcast.UserError, match="no batch was given"):
        nowcast.reestimate(forward, statistics, [])
    with pytest.raises(
        nowcast.UserError, match="'mean' does not move as an average does; forward must run"
    ):
        nowcast.reestimate(lambda old, batch: old, statistics, [images])


def test_explain_shows_what_jumps_and_what_it_costs(capsys):
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
            self.depthwise = nnx.Conv(4, 4, (3, 3), feature_group_count=4, rngs=rngs)
            self.norm, self.table = nnx.BatchNorm(4, rngs=rngs), nnx.Embed(7, 3, rngs=rngs)

    nowcast.explain(Model(nnx.Rngs(0)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["leaf", "shape", "operation", "network", "history"]
    assert {line[0]: line[1:] for line in lines[1:-1]} == {
        "conv/bias": ["4", "bias", "bias", "64", "B"],
        "conv/kernel": ["3×3×2×4", "conv", "conv", "1.125", "KiB"],
        "depthwise/bias": ["4", "bias", "bias", "64", "B"],
        "depthwise/kernel": ["3×3×1×4", "depthwise_conv", "conv", "576", "B"],
        "norm/bias": ["4", "norm", "—", "0", "B"],
        "norm/scale": ["4", "norm", "—", "0", "B"],
        "table/embedding": ["7×3", "embedding", "—", "0", "B"],
    }
    assert " ".join(lines[-1]).startswith("116 of 145 weights jump with a WNN")
    assert " ".join(lines[-1]).endswith("their history takes 1.812 KiB")
    tx = nowcast.periodic(optax.sgd(0.1), LINEAR, every=1)
    params = {"dense": {"kernel": jnp.zeros((4, 3)), "scale": jnp.zeros(3)}}
    nowcast.explain(params, LINEAR)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(tx.init(params).history))
    assert f"history takes {held} B" in capsys.readouterr().out
