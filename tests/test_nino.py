"""NiNo: its rounds of messages, edge by edge in NumPy; the authors' numbers; and jumps by it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from torch_files import theirs, torch_bytes

import nowcast
from collect.models.gpt import GPT
from nowcast import published_nino
from nowcast.forecasters import NiNo, nino
from nowcast.neurons import messages, neuron_graph

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "reference" / "nino"


def random_nino(units=nino.UNITS, outputs=3, seed=0):
    shapes = jax.eval_shape(lambda: nino.init_network(jax.random.key(0), 5, outputs, units))
    rng = np.random.default_rng(seed)

    def draw(leaf):
        spread = leaf.shape[0] ** -0.5 if len(leaf.shape) == 2 else 0.1
        return jnp.asarray(rng.normal(size=leaf.shape) * spread, jnp.float32)

    return NiNo(params={"all": jax.tree.map(draw, shapes)}, horizon=outputs)


def silu(x):
    return x / (1 + np.exp(-x))


def in_numpy(forecaster, graph, leaves, horizon):
    """The published network once more, in float64, one edge after another.

    ``leaves`` are windows (W, *shape); the result has the forecasts of all leaves.
    """
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), forecaster.params["all"])

    def layer(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"]

    edges, homes, scaled, scale = [], [], [], []
    for leaf in leaves:
        x = np.asarray(leaf, np.float64)
        scale.append(x.std(ddof=1))
        scaled.append(jnp.asarray((x - x.mean()) / (scale[-1] + 1e-6), jnp.float32))
    for number, block in enumerate(graph.blocks):
        weights = None if block.view is None else np.asarray(block.view.of(scaled[block.view.leaf]))
        for r in range(block.rows):
            for c, target in enumerate(block.targets):
                features = np.zeros(45)
                own = np.ones(5) if weights is None else weights[:, r, c].T.ravel()
                features[: own.size] = own
                rows, columns = block.sources.shape
                source = block.sources[r if rows > 1 else 0, c if columns > 1 else 0]
                edges.append((source, target, block.kind, features))
                homes.append((number, r, c))
    for node in range(graph.nodes):
        features = np.zeros(45)
        features[:5] = 2
        edges.append((node, node, 13, features))
    sources, targets, kinds = (np.array([edge[i] for edge in edges]) for i in range(3))
    e = layer("edges", np.array([edge[3] for edge in edges])) + p["types"]["kernel"][kinds]
    x = layer("nodes", graph.positions.astype(np.float64))
    units = x.shape[1]
    for place in "01":
        made = layer(f"message{place}", e)
        pair = layer(f"pair{place}", np.concatenate([x[targets], x[sources]], axis=1))
        message = made[:, :units] * pair + made[:, units:]
        total, count = np.zeros_like(x), np.zeros((len(x), 1))
        np.add.at(total, targets, message)
        np.add.at(count, targets, 1)
        x = silu(layer(f"out{place}", layer(f"node{place}", np.concatenate([x, total / count], 1))))
        both = layer(f"source{place}", x)[sources] + layer(f"target{place}", x)[targets]
        e = layer(f"last{place}", silu(layer(f"edge{place}", e) + both))
    out = layer("out", silu(layer("hidden", e))).reshape(len(e), 9, -1)[:, :, horizon - 1]
    there = [np.array(leaf[-1], np.float64) for leaf in leaves]
    for (number, r, c), residual in zip(homes, out, strict=False):
        block = graph.blocks[number]
        if block.view is not None:
            leaf, axes = block.view.leaf, block.view.axes
            where = [part.start or 0 for part in block.view.part]
            for f in range(block.features):
                at = list(where)
                for axis, index in zip(axes, (r, c, f), strict=True):
                    at[axis] += index
                there[leaf].reshape(block.view.shape)[tuple(at)] += scale[leaf] * residual[f]
    return there


def history_of(params, seed=0):
    """Windows of random walks, each leaf in a unit of its own."""
    rng = np.random.default_rng(seed)
    units = iter(np.logspace(-1, 1, 100))

    def walk(leaf):
        steps = rng.normal(size=(5, *leaf.shape))
        return jnp.asarray(next(units) * np.cumsum(steps, axis=0), jnp.float32)

    return jax.tree.map(walk, params)


def cnn():
    shapes = {
        "conv1": {"kernel": (4, 4, 2, 3), "bias": (3,)},  # 16 weights an edge
        "bn1": {"scale": (3,), "bias": (3,)},
        "conv2": {"kernel": (3, 3, 1, 3)},
        "fc1": {"kernel": (12, 4), "bias": (4,)},
    }
    return jax.tree.map(np.zeros, shapes, is_leaf=lambda node: isinstance(node, tuple))


CNN_LABELS = {
    "conv1": {"kernel": "conv", "bias": "bias"},
    "bn1": {"scale": "norm", "bias": "norm"},
    "conv2": {"kernel": "depthwise_conv"},
    "fc1": {"kernel": "fc", "bias": "bias"},
}


@pytest.mark.parametrize("net", ["cnn", "gpt"])
@pytest.mark.parametrize("at_once", [messages.AT_ONCE, 8])
def test_nino_is_the_published_network_edge_by_edge(monkeypatch, net, at_once):
    monkeypatch.setattr(messages, "AT_ONCE", at_once)
    forecaster = random_nino()
    if net == "cnn":
        params, labels = cnn(), CNN_LABELS
        own = forecaster.on(params, labels=labels)
    else:
        model = GPT(11, layers=1, heads=2, width=4, context=6, rngs=nnx.Rngs(0))
        params, labels = nnx.to_pure_dict(nnx.state(model, nnx.Param)), nowcast.label_ops(model)
        own = forecaster.on(model)
    own = nino.replace(own, graph=nino.replace(own.graph))  # compiled anew
    history = history_of(params)
    leaves = jax.tree.leaves(history)
    for horizon in (1, 3):
        got = jax.tree.leaves(nowcast.forecast(own, history, labels=labels, horizon=horizon))
        expected = in_numpy(own, own.graph, leaves, horizon)
        for ours, theirs_, window in zip(got, expected, leaves, strict=True):
            moved = np.abs(theirs_ - window[-1]).max()
            assert moved > 0
            np.testing.assert_allclose(ours, theirs_, atol=1e-3 * moved + 1e-6, rtol=1e-5)


def jaxs(value, leading):
    """A leaf of PyTorch's in JAX's order of axes."""
    if value.ndim == 4 + leading:
        return np.moveaxis(value, (leading, leading + 1), (-1, -2))
    return np.swapaxes(value, leading, leading + 1) if value.ndim == 2 + leading else value


@pytest.mark.skipif(
    not FOLDER.exists(), reason="the authors' files lie outside the project, in ../shared"
)
@pytest.mark.parametrize("net", ["FM-16", "C10-16"])
def test_graph_and_forecasts_are_the_authors(net):
    with np.load(FOLDER / "golden.npz") as arrays:
        golden = dict(arrays)
    states = {
        key.split("/")[-1]: jnp.asarray(jaxs(value, 1))
        for key, value in golden.items()
        if key.startswith(f"states/{net}/")
    }
    graph = neuron_graph({name: window[0] for name, window in states.items()})
    found = {(node, node, 13) for node in range(graph.nodes)}
    for block in graph.blocks:
        shape = (block.rows, len(block.targets))
        both = (np.broadcast_to(x, shape).ravel() for x in (block.sources, block.targets))
        found |= {(int(s), int(t), block.kind) for s, t in zip(*both, strict=True)}
    index, kinds = (golden[f"graph/{net}/{what}"] for what in ("edge_index", "edge_type"))
    assert found == {(int(s), int(t), int(k)) for s, t, k in zip(*index, kinds, strict=True)}
    positions = golden[f"graph/{net}/pos"]
    # The other eigenvectors are of the eigenvalue 1, whose basis is arbitrary.
    same = np.abs(np.sum(positions * graph.positions, axis=0))
    np.testing.assert_allclose(same[:3], 1, atol=1e-5)
    forecaster = nowcast.import_published_nino(FOLDER / "nino_no_posw.pt")
    given = nino.replace(graph, given=positions)
    for horizon in (1, 20, 40):
        exact, ours = (
            nowcast.forecast(each, states, horizon=horizon)
            for each in (nino.replace(forecaster, graph=given), forecaster)
        )
        for name, window in states.items():
            expected = jaxs(golden[f"nino_no_posw/{net}/k{horizon}/{name}"], 0)
            size, moved = (np.linalg.norm(x) for x in (expected, expected - window[-1]))
            assert np.linalg.norm(exact[name] - expected) < 1e-4 * size, (horizon, name)
            assert np.linalg.norm(exact[name] - expected) < 1e-3 * moved, (horizon, name)
            assert np.linalg.norm(ours[name] - expected) < 1e-2 * moved, (horizon, name)


def test_a_file_of_nino_is_read_and_the_bundle_keeps_all_but_the_graph(tmp_path, monkeypatch):
    forecaster = random_nino()
    tensors = theirs(published_nino.NINO, forecaster.params["all"])
    tensors["gnn.convs.2.lin.bias"] = np.zeros(128, np.float32)  # nothing reads it
    (tmp_path / "a.pt").write_bytes(torch_bytes({"state_dict": tensors}, patch=monkeypatch))
    read = nowcast.import_published_nino(tmp_path / "a.pt")
    jax.tree.map(np.testing.assert_array_equal, dict(read.params), dict(forecaster.params))
    card = nowcast.save(read.on(cnn(), labels=CNN_LABELS), tmp_path / "bundle")
    assert "graph" not in card
    assert nowcast.load(tmp_path / "bundle").graph is None


@pytest.mark.parametrize("options", [{}, {"operations": ("conv", "fc")}], ids=str)
def test_a_run_jumps_by_nino(options):
    params = jax.tree.map(
        lambda x: jnp.asarray(np.random.default_rng(0).normal(size=x.shape)), cnn()
    )
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    tx = nowcast.periodic(
        optax.sgd(0.1),
        random_nino(),
        every=1,
        labels=CNN_LABELS,
        min_drift=None,
        horizon=nowcast.decaying_horizon(2, first=3),
        **options,
    )
    state, update, path = tx.init(params), jax.jit(tx.update), [params]
    for _ in range(5):
        updates, state = update(path[-1], state, path[-1])
        path.append(optax.apply_updates(path[-1], updates))
    assert (int(state.accepted), int(state.refused)) == (1, 0)
    window = [*path[1:5], jax.tree.map(lambda x: 0.9 * x, path[4])]
    history = jax.tree.map(lambda *leaves: jnp.stack(leaves), *window)
    if options:  # leaves that never jump have no history: they count as standing still
        still = jax.tree.map(lambda x: jnp.stack([x[-1]] * 5), history)
        history |= {name: still[name] for name in ("bn1", "conv2")}
        for name in ("conv1", "fc1"):
            history[name] = history[name] | {"bias": still[name]["bias"]}
    expected = nowcast.forecast(random_nino(), history, labels=CNN_LABELS, horizon=3)
    np.testing.assert_allclose(path[5]["fc1"]["kernel"], expected["fc1"]["kernel"], atol=1e-3)
    if not options:
        np.testing.assert_allclose(path[5]["bn1"]["scale"], expected["bn1"]["scale"], atol=1e-3)
    else:
        np.testing.assert_allclose(path[5]["bn1"]["scale"], window[-1]["bn1"]["scale"], atol=1e-6)


def test_what_nino_cannot_forecast_is_refused_before_the_run():
    lstm = {
        "cell": {"dense_h": {"kernel": jnp.zeros((3, 12))}, "x": {"kernel": jnp.zeros((2, 12))}}
    }
    tx = nowcast.periodic(optax.sgd(0.1), random_nino(), every=1)
    with pytest.raises(nowcast.UserError, match="no place for leaf 'cell/x/kernel'"):
        tx.init(lstm)
    other = random_nino().on(cnn(), labels=CNN_LABELS)
    history = history_of({"fc1": {"kernel": np.zeros((3, 4))}})
    with pytest.raises(nowcast.UserError, match=r"make the graph of this network: forecaster.on"):
        nowcast.forecast(other, history)
    with pytest.raises(nowcast.UserError, match="nino forecasts a whole network"):
        other.leaf(jnp.zeros((5, 3)), "fc", 1)
    with pytest.raises(nowcast.UserError, match="it has one network, 'all'"):
        NiNo(params={"conv": other.params["all"]}, networks={"conv": "conv"}, horizon=3)


def test_scalars_and_weights_without_a_network_keep_their_last_value():
    params = {"fc1": {"kernel": np.zeros((3, 4)), "bias": np.zeros(4)}, "scale": np.zeros(())}
    history = history_of(params)
    forecaster = random_nino()
    mapping = dict(forecaster.networks) | {"bias": None}
    got = nowcast.forecast(nino.replace(forecaster, networks=mapping), history)
    assert float(got["scale"]) == float(history["scale"][-1])
    np.testing.assert_array_equal(got["fc1"]["bias"], history["fc1"]["bias"][-1])
    assert np.abs(got["fc1"]["kernel"] - history["fc1"]["kernel"][-1]).max() > 0
