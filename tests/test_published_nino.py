"""The weights of NiNo's authors, against what the authors' program made of them; and files that
only look like them.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from torch_files import random_wnn_plus, theirs, torch_bytes

import nowcast
from nowcast import published_nino

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "reference" / "nino"
needs_authors = pytest.mark.skipif(
    not FOLDER.exists(), reason="the authors' files lie outside the project, in ../shared"
)
OPERATIONS = {2: "bias", 3: "fc", 5: "conv"}
"""Of a window's number of axes, in the authors' networks."""


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "golden.npz") as arrays:
        return dict(arrays)


def of(golden, prefix):
    """The arrays whose names begin so, by the rest of their names."""
    return {
        key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)
    }


@needs_authors
@pytest.mark.parametrize("net", ["FM-16", "C10-16"])
def test_forecasts_of_wnn_plus_are_the_authors(golden, net):
    forecaster = nowcast.import_published_nino(FOLDER / "nino_mlp.pt")
    history = jax.tree.map(jnp.asarray, of(golden, f"states/{net}/"))
    labels = {name: OPERATIONS[window.ndim] for name, window in history.items()}
    for horizon in (1, 20, 40):
        got = nowcast.forecast(forecaster, history, labels=labels, horizon=horizon)
        for name, expected in of(golden, f"nino_mlp/{net}/k{horizon}/").items():
            error = np.linalg.norm(got[name] - expected) / np.linalg.norm(expected)
            assert error < 1e-4, (horizon, name)
            moved = np.linalg.norm(expected - history[name][-1])
            assert np.linalg.norm(got[name] - expected) < 1e-3 * moved, (horizon, name)


@needs_authors
@pytest.mark.parametrize(
    ("file", "units", "count"), [("nino_mlp", 128, 57_384), ("nino_mlp_h32", 32, 5_160)]
)
def test_both_sizes_of_wnn_plus_are_read_and_kept_in_bundles(tmp_path, file, units, count):
    forecaster = nowcast.import_published_nino(FOLDER / f"{file}.pt")
    assert (forecaster.units, forecaster.window, forecaster.horizon) == (units, 5, 40)
    assert sum(leaf.size for leaf in jax.tree.leaves(forecaster.params)) == count
    nowcast.save(forecaster, tmp_path / "bundle")
    loaded = nowcast.load(tmp_path / "bundle")
    history = {"kernel": jax.random.normal(jax.random.key(0), (5, 7, 3))}
    got, expected = (nowcast.forecast(each, history)["kernel"] for each in (loaded, forecaster))
    np.testing.assert_array_equal(got, expected)
    assert loaded.units == units


def write(path, monkeypatch, tensors, **around):
    path.write_bytes(torch_bytes({"state_dict": tensors, **around}, patch=monkeypatch))


def test_a_file_is_read_layer_by_layer(tmp_path, monkeypatch):
    forecaster = random_wnn_plus()
    tensors = theirs(published_nino.WNN_PLUS, forecaster.params["all"])
    write(tmp_path / "a.pt", monkeypatch, tensors)
    read = nowcast.import_published_nino(tmp_path / "a.pt")
    jax.tree.map(np.testing.assert_array_equal, dict(read.params), dict(forecaster.params))
    assert (read.units, read.longest) == (16, 3)


def in_numpy(params, history, kind):
    """The paper's network once more, in float64; (W, N) -> (N, H)."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    x = np.asarray(history, np.float64)
    d = x.std(ddof=1)
    h = ((x - x.mean()) / (d + 1e-6)).T @ params["in"]["kernel"] + params["in"]["bias"]
    h = h + params["types"]["kernel"][kind]
    for name in ("hidden1", "hidden2", "hidden3"):
        h = h @ params[name]["kernel"] + params[name]["bias"]
        h = h / (1 + np.exp(-h))
    return x[-1][:, None] + d * (h @ params["out"]["kernel"] + params["out"]["bias"])


@pytest.mark.parametrize(("operation", "kind"), [("fc", 1), ("bias", 2), ("conv", 3), ("norm", 4)])
def test_wnn_plus_is_the_network_of_the_paper(operation, kind):
    forecaster = random_wnn_plus()
    x = np.random.default_rng(1).normal(size=(5, 24)).cumsum(axis=0).astype(np.float32)
    expected = in_numpy(forecaster.params["all"], x, kind)
    history = {"w": jnp.asarray(x.reshape(5, 2, 3, 4))}
    for horizon in (1, 3):
        got = nowcast.forecast(forecaster, history, labels={"w": operation}, horizon=horizon)["w"]
        np.testing.assert_allclose(got.ravel(), expected[:, horizon - 1], rtol=1e-4, atol=1e-4)


def test_a_large_leaf_is_forecast_in_pieces_with_the_scale_of_the_whole():
    forecaster = random_wnn_plus()
    x = np.random.default_rng(1).normal(size=(5, 40_000)).astype(np.float32)
    x[:, :100] *= 30
    got = nowcast.forecast(forecaster, {"kernel": x.reshape(5, 200, 200)}, horizon=2)["kernel"]
    expected = in_numpy(forecaster.params["all"], x, 1)[:, 1]
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-3, atol=1e-3)


def test_a_run_jumps_by_wnn_plus_and_its_horizon_decays():
    horizon = nowcast.decaying_horizon(2, first=3)
    tx = nowcast.periodic(
        optax.sgd(0.1), random_wnn_plus(), every=1, horizon=horizon, min_drift=None
    )
    params = {"kernel": jnp.arange(6.0).reshape(2, 3), "scale": jnp.ones(3)}
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(10):
        updates, state = update(params, state, params)
        params = optax.apply_updates(params, updates)
    assert (int(state.accepted), int(state.refused)) == (2, 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_what_stands_still_stays_bit_for_bit():
    history = {"bias": jnp.full((5, 4), 0.3), "kernel": jnp.zeros((5, 2, 2))}
    got = nowcast.forecast(random_wnn_plus(), history)
    jax.tree.map(lambda g, h: np.testing.assert_array_equal(g, h[-1]), got, history)


@pytest.mark.parametrize("what", ["other names", "no dict", "one layer less", "another shape"])
def test_a_file_of_another_network_is_refused_in_one_line(tmp_path, monkeypatch, what):
    tensors = theirs(published_nino.WNN_PLUS, random_wnn_plus().params["all"])
    said = "not the network of WNN.*give the authors' nino_mlp.pt"
    if what == "other names":
        tensors = {"fc.weight": np.zeros((2, 3), np.float32)}
    elif what == "no dict":
        tensors = [1, 2]
    elif what == "one layer less":
        del tensors["edge_mlp.fc.6.bias"]
    else:
        tensors["edge_mlp.fc.2.bias"] = np.zeros(5, np.float32)
        said = r"layer hidden2/bias has shape \(5,\), not \(16,\); give the authors' file"
    write(tmp_path / "a.pt", monkeypatch, tensors)
    with pytest.raises(nowcast.UserError, match=said) as caught:
        nowcast.import_published_nino(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
