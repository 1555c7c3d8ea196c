"""The authors' weights, against what the authors' program made of them; and files that only look
like them.
"""

from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import constant_wnn, random_wnn, write_published

import nowcast
from nowcast import published
from nowcast.forecasters import wnn

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "reference" / "wnn"
needs_authors = pytest.mark.skipif(
    not FOLDER.exists(), reason="the authors' files lie outside the project, in ../shared"
)


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "golden.npz") as arrays:
        return dict(arrays)


@needs_authors
@pytest.mark.parametrize("op", ["conv", "fc", "bias"])
def test_the_networks_give_the_authors_outputs(golden, op):
    window = jnp.asarray(golden[f"{op}_window"])
    inputs = wnn.normalise(window).inputs
    np.testing.assert_allclose(inputs, golden[f"{op}_network_input"], atol=2e-6)
    params = nowcast.import_published_wnn(FOLDER).params[op]
    output = wnn.network(params, jnp.asarray(golden[f"{op}_network_input"]))[:, 0]
    np.testing.assert_allclose(output, golden[f"{op}_network_output"], atol=1e-5)


@needs_authors
@pytest.mark.parametrize(
    ("op", "bias", "expected"),
    [
        ("conv", "consistent", "conv_forecast"),
        ("fc", "published", "fc_forecast"),
        ("bias", "published", "bias_forecast_as_published"),
    ],
)
def test_the_forecasts_are_the_authors(golden, op, bias, expected):
    forecaster = nowcast.import_published_wnn(FOLDER, bias=bias)
    history = {"leaf": jnp.asarray(golden[f"{op}_window"]).T}
    got = nowcast.forecast(forecaster, history, labels={"leaf": op})["leaf"]
    error = np.abs(np.asarray(got) - golden[expected]).max() / np.abs(golden[expected]).max()
    assert error < 1e-5
    np.testing.assert_allclose(got, golden[expected], rtol=1e-4, atol=1e-5)


def test_a_zero_increment_keeps_a_bias_unless_the_published_rule_is_asked_for():
    history = {"bias": jnp.linspace(1.0, 1.04, 5)[:, None]}
    params = constant_wnn(0.0).params
    kept, published_rule = (
        nowcast.forecast(wnn.WNN(params=params, bias=bias), history) for bias in published.BIAS
    )
    assert float(kept["bias"][0]) == float(history["bias"][-1, 0])
    assert float(published_rule["bias"][0]) == pytest.approx(1 + 0.08 * 1.04, abs=1e-4)


def test_files_are_read_layer_by_layer_and_the_bundle_keeps_the_rule(tmp_path):
    params = random_wnn().params
    write_published(tmp_path, params)
    read = nowcast.import_published_wnn(tmp_path, bias="published")
    jax.tree.map(np.testing.assert_array_equal, dict(read.params), dict(params))
    nowcast.save(read, tmp_path / "bundle")
    assert nowcast.load(tmp_path / "bundle").bias == "published"


@pytest.mark.parametrize("what", ["missing", "no hdf5", "other layers", "rule"])
def test_what_is_not_the_authors_is_refused_in_one_line(tmp_path, what):
    write_published(tmp_path, random_wnn().params)
    file = tmp_path / "NWNN_FC_13.h5"
    if what == "missing":
        file.unlink()
    elif what == "no hdf5":
        file.write_text("no")
    elif what == "other layers":
        with h5py.File(file, "a") as content:
            del content["dense_7"]
    with pytest.raises(nowcast.UserError) as caught:
        nowcast.import_published_wnn(tmp_path, bias="raw" if what == "rule" else "consistent")
    assert ("bias='raw'" if what == "rule" else "NWNN_FC_13.h5") in str(caught.value)
    assert "\n" not in str(caught.value)
