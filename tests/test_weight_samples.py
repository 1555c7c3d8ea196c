"""Weights kept along a run, and how well forecasters would have forecast it: by hand, in NumPy."""

import dataclasses
import zipfile
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

import nowcast
from evaluate.weight_samples import MOST, Samples, errors, read
from nowcast.forecasters import Forecaster

LINEAR = nowcast.forecasters.Linear(window=3, horizon=2)
LABELS = {"conv": {"bias": "bias", "kernel": "conv"}, "head": {"bias": "bias", "kernel": "fc"}}


def snapshot(seed):
    rng = np.random.default_rng(seed)
    shapes = {
        "conv": {"bias": (3,), "kernel": (2, 2, 1, 3)},
        "head": {"bias": (4,), "kernel": (3, 4)},
    }
    return {
        k: {n: jnp.asarray(rng.normal(size=s), jnp.float32) for n, s in v.items()}
        for k, v in shapes.items()
    }


def gathered(file, snapshots, labels=LABELS):
    kept = Samples(labels)
    for one in snapshots:
        kept.add(one)
    kept.write(file)
    return read(file)


def line(values, horizon):
    """Where NumPy's least-squares line through each column goes."""
    slope, height = np.polyfit(np.arange(len(values)), values, 1)
    return height + slope * (len(values) - 1 + horizon)


def test_all_weights_of_a_small_model_come_back_by_operation(tmp_path):
    runs = [snapshot(seed) for seed in range(4)]
    back = gathered(tmp_path / "seed0.npz", runs)
    assert list(tmp_path.iterdir()) == [tmp_path / "seed0.npz"]
    assert sorted(back) == ["bias", "conv", "fc"]
    for time, run in enumerate(runs):
        [conv], [fc], biases = back["conv"], back["fc"], back["bias"]
        np.testing.assert_array_equal(conv[time], run["conv"]["kernel"].ravel())
        np.testing.assert_array_equal(fc[time], run["head"]["kernel"].ravel())
        for name, bias in zip(("conv", "head"), biases, strict=True):
            np.testing.assert_array_equal(bias[time], run[name]["bias"])


def test_of_many_weights_the_same_ones_are_kept_at_every_snapshot(tmp_path):
    numbers = np.arange(MOST + 5000, dtype=np.float32)  # each one exact in float32
    runs = [
        {"a": jnp.asarray(numbers[:300] + 1e5 * t), "b": jnp.asarray(numbers[300:] + 1e5 * t)}
        for t in range(3)
    ]
    each = gathered(tmp_path / "seed0.npz", runs, {"a": "fc", "b": "fc"})["fc"]
    assert 150 < each[0].shape[1] < 300  # of 300 of 25,000
    kept = np.concatenate(each, axis=1)
    assert kept.shape == (3, MOST)
    assert (np.diff(kept[0]) > 0).all()
    np.testing.assert_array_equal(kept - kept[0], np.repeat([[0], [1e5], [2e5]], MOST, axis=1))
    again = gathered(tmp_path / "seed1.npz", runs, {"a": "fc", "b": "fc"})["fc"]
    np.testing.assert_array_equal(np.concatenate(again, axis=1), kept)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"no archive at all"])
def test_a_damaged_file_is_none(tmp_path, content):
    (tmp_path / "seed0.npz").write_bytes(content)
    assert read(tmp_path / "seed0.npz") is None


def test_no_file_and_half_a_file_are_none(tmp_path):
    assert read(tmp_path / "seed0.npz") is None
    gathered(tmp_path / "whole.npz", [snapshot(0)])
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    assert read(tmp_path / "half.npz") is None
    with zipfile.ZipFile(tmp_path / "whole.npz") as archive:
        place = archive.infolist()[1]
    damaged = bytearray(whole)
    for byte in range(place.header_offset + 60, place.header_offset + 90):
        damaged[byte] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(damaged)
    assert read(tmp_path / "damaged.npz") is None


def test_errors_are_those_of_numpys_line_over_those_of_staying():
    values = np.random.default_rng(0).normal(size=(9, 6)).cumsum(axis=0).astype(np.float32)
    missed = stayed = 0.0
    for end in (3, 6):  # windows are snapshots 1 2 3, and 4 5 6; 7 8 9 is not whole
        missed += np.abs(line(values[end - 2 : end + 1].astype(float), 2) - values[end + 2]).sum()
        stayed += np.abs(values[end] - values[end + 2]).sum()
    assert errors({"fc": [values]}, LINEAR, 2) == {"fc": pytest.approx(missed / stayed, rel=1e-5)}
    parts = [values[:, :1], values[:, 1:], values[:, :0]]
    assert errors({"fc": parts}, LINEAR, 2) == {"fc": pytest.approx(missed / stayed, rel=1e-5)}


def test_a_forecaster_of_whole_leaves_sees_each_leaf_for_itself():
    steady, shaking = (
        np.arange(9.0)[:, None] * np.ones((1, 50)),
        np.random.default_rng(0).normal(size=(9, 50)),
    )
    leaves = [steady.astype(np.float32), 0.01 * shaking.astype(np.float32)]
    forecaster = nowcast.forecasters.AutoRegressive(window=3, horizon=2)
    missed = stayed = 0.0
    for leaf in leaves:
        for end in (3, 6):
            window = {"w": leaf[end - 2 : end + 1]}
            missed += np.abs(nowcast.forecast(forecaster, window)["w"] - leaf[end + 2]).sum()
            stayed += np.abs(leaf[end] - leaf[end + 2]).sum()
    assert errors({"fc": leaves}, forecaster, 2)["fc"] == pytest.approx(missed / stayed, rel=1e-4)
    together = errors({"fc": [np.concatenate(leaves, axis=1)]}, forecaster, 2)["fc"]
    assert together != pytest.approx(missed / stayed, rel=1e-2)


def test_of_every_other_snapshot_windows_are_made_where_jumps_make_theirs_so():
    values = np.random.default_rng(1).normal(size=(13, 4)).cumsum(axis=0).astype(np.float32)
    got = errors({"fc": [values], "bias": [values[:, :2]]}, LINEAR, 2, every=2)
    for key, own in (("fc", values), ("bias", values[:, :2])):
        there = line(own[[2, 4, 6]].astype(float), 2)
        expected = np.abs(there - own[10]).sum() / np.abs(own[6] - own[10]).sum()
        assert got[key] == pytest.approx(expected, rel=1e-5)


def test_weights_on_a_line_are_forecast_without_error_and_staying_is_as_good_as_staying():
    values = np.arange(9, dtype=np.float32)[:, None] * np.array([[1, -2, 0.5]], np.float32)
    assert errors({"conv": [values]}, LINEAR, 2)["conv"] == pytest.approx(0, abs=1e-5)
    assert errors({"conv": [values]}, nowcast.forecasters.LastValue(window=3), 2) == {"conv": 1.0}


def test_a_window_needs_its_truth():
    values = np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32)
    assert errors({"fc": [values]}, LINEAR, 2).keys() == {"fc"}  # snapshots 1 2 3, and 5
    assert errors({"fc": [values[:5]]}, LINEAR, 2) == {}
    assert errors({"fc": [values]}, LINEAR, 3) == {}
    assert errors({"fc": [values]}, LINEAR, 2, every=2) == {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picky(Forecaster):
    name: ClassVar[str] = "picky"

    def can_forecast(self, operation):
        return operation != "bias"

    def leaf(self, history, operation, horizon):
        return history[-1] * (jnp.nan if operation == "conv" else 0.0)


def test_what_is_not_served_does_not_move_or_is_not_finite_has_no_error():
    values = np.random.default_rng(3).normal(size=(12, 4)).astype(np.float32)
    given = {
        "bias": [values],
        "conv": [values],
        "fc": [values],
        "norm": [np.ones((12, 4), np.float32)],
    }
    expected = np.abs(values[10]).sum() / np.abs(values[5] - values[10]).sum()
    assert errors(given, Picky(window=5, horizon=5), 5) == {"fc": pytest.approx(expected, rel=1e-5)}


def test_a_leaf_in_half_precision_is_kept_in_single(tmp_path):
    half = {"w": jnp.asarray([1.5, -0.25], jnp.bfloat16)}
    kept = gathered(tmp_path / "seed0.npz", [half], {"w": "other"})["other"][0]
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, [[1.5, -0.25]])
