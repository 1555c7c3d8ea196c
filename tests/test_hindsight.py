"""`scripts/bench/hindsight.py`: the bound that no mix of a leaf's increments can pass."""

from pathlib import Path

import numpy as np
import pytest

from evaluate.weight_samples import Samples


@pytest.fixture
def bench(script, tmp_path):
    """The command, in a folder of its own."""
    return lambda *args: script("bench/hindsight", *args, cwd=tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of 31 snapshots that drift, noise in both, and leaves that stand still or are too
    small to say anything.
    """
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for seed in range(2):
        samples = Samples(
            {"conv": "conv", "bias": "bias", "dense": "fc", "still": "fc", "tiny": "fc"}
        )
        drift, size = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(10, 8))
        for t in range(31):
            noise = rng.normal(size=drift.shape)
            samples.add(
                {
                    "conv": drift * (1 - 0.9**t) + 0.02 * noise,
                    "bias": np.full(4, 0.1 * t),
                    "dense": size * t**0.5 + 0.1 * rng.normal(size=size.shape),
                    "still": np.ones((8, 8)),
                    "tiny": rng.normal(size=4),
                }
            )
        samples.write(folder / f"seed{seed}.npz")
    return folder


def by_projection(folder: Path, operation: str, horizon: int, every: int = 1) -> float:
    """The same number by the projection onto the increments' span, from what NumPy reads of the
    files.
    """
    logs = []
    for seed in range(2):
        with np.load(folder / f"seed{seed}.npz") as arrays:
            for name in arrays.files:
                if name.startswith(operation):
                    leaf = arrays[name].astype(np.float64)[::every]
                    for end in range(5, len(leaf) - horizon, 5):
                        movement = leaf[end + horizon] - leaf[end]
                        if np.any(movement) and len(movement) >= 50:
                            basis, scale, _ = np.linalg.svd(
                                np.diff(leaf[end - 4 : end + 1], axis=0).T, full_matrices=False
                            )
                            basis = basis[:, scale > 1e-9 * scale[0]]
                            rest = movement - basis @ (basis.T @ movement)
                            logs.append(np.log(np.linalg.norm(rest) / np.linalg.norm(movement)))
    return np.exp(np.mean(logs))


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_hindsight_is_the_projection_and_no_mix_of_increments_is_below_it(bench, folder, every):
    shown = bench(folder, "--horizons", 3, 5, "--every", every)
    assert shown.returncode == 0, shown.stderr
    rows = {line[:16].strip(): line[16:].split() for line in shown.stdout.splitlines()[2:]}
    assert list(rows) == ["in hindsight", "gram", "wnn", "linear"]
    best = [float(value) for value in rows["in hindsight"]]
    own = [
        by_projection(folder, operation, horizon, every)
        for operation in ("conv", "fc")
        for horizon in (3, 5)
    ]
    assert best == pytest.approx(own, abs=6e-4)
    assert min(best) > 0.01
    for name in ("gram", "linear"):  # both mix increments
        assert all(float(own) >= bound for own, bound in zip(rows[name], best, strict=True))
    [wnn] = [line[16:] for line in shown.stdout.splitlines() if line[:16].strip() == "wnn"]
    # Five ahead alone.
    assert [bool(wnn[at : at + 12].strip()) for at in (0, 12, 24, 36)] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "holds no weights of runs"),
        ([".", "--every", 0], "must be at least 1"),
        ([".", "--forecasters", "nobody"], "nobody"),
        (
            [".", "--forecasters", "gram", "introspection"],
            "windows of 5 and 11 snapshots do not compare",
        ),
    ],
)
def test_wrong_input_is_one_line_with_the_cure(bench, args, said):
    shown = bench(*args)
    assert shown.returncode == 2
    assert said in shown.stderr.splitlines()[-1]
    assert "Traceback" not in shown.stderr


def test_runs_that_say_nothing_are_named(bench, folder, tmp_path):
    for file in folder.glob("*.npz"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert "hold no window with a truth" in bench(tmp_path, "--every", 6).stderr
    lost = Samples({"conv": "conv"})
    for t in range(31):
        lost.add({"conv": np.full((8, 8), np.nan if t == 30 else t)})
    lost.write(tmp_path / "seed2.npz")
    shown = bench(tmp_path)
    assert shown.returncode == 2
    assert "seed2.npz" in shown.stderr
    assert "diverged" in shown.stderr
    (tmp_path / "seed0.npz").write_bytes(b"no archive")
    shown = bench(tmp_path)
    assert shown.returncode == 2
    assert "seed0.npz" in shown.stderr
    assert "damaged" in shown.stderr
