"""`scripts/bench/hindsight.py`: the bound that no mix of a leaf's increments can pass."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collect.weight_samples import Samples

COMMAND = [sys.executable, str(Path(__file__).resolve().parent.parent / "scripts" / "bench" / "hindsight.py")]


def bench(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of 31 snapshots: a drift, a decaying wave of its own for every weight, and noise."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for seed in range(2):
        samples = Samples({"conv": "conv", "bias": "bias", "still": "fc", "dense": "fc"})
        drift, size = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(6, 5))
        for t in range(31):
            noise = rng.normal(size=drift.shape)
            samples.add(
                {
                    "conv": drift * (1 - 0.9**t) + 0.02 * noise,
                    "bias": np.full(4, 0.1 * t),
                    "still": np.ones((2, 2)),
                    "dense": size * t**0.5,
                }
            )
        samples.write(folder / f"seed{seed}.npz")
    return folder


def by_projection(folder: Path, operation: str, horizon: int, every: int = 1) -> float:
    """The same number by the projection onto the increments' span, from what NumPy reads of the files."""
    logs = []
    for seed in range(2):
        with np.load(folder / f"seed{seed}.npz") as arrays:
            for name in arrays.files:
                if name.startswith(operation):
                    leaf = arrays[name].astype(np.float64)[::every]
                    for end in range(5, len(leaf) - horizon, 5):
                        movement = leaf[end + horizon] - leaf[end]
                        if np.any(movement):
                            basis, scale, _ = np.linalg.svd(
                                np.diff(leaf[end - 4 : end + 1], axis=0).T, full_matrices=False
                            )
                            basis = basis[:, scale > 1e-9 * scale[0]]
                            rest = movement - basis @ (basis.T @ movement)
                            logs.append(np.log(np.linalg.norm(rest) / np.linalg.norm(movement)))
    return np.exp(np.mean(logs))


@pytest.mark.parametrize("every", [1, 2])
def test_hindsight_is_the_projection_and_no_mix_of_increments_is_below_it(folder, every):
    shown = bench(folder, "--horizons", 3, 5, "--every", every)
    assert shown.returncode == 0, shown.stderr
    rows = {line[:16].strip(): line[16:].split() for line in shown.stdout.splitlines()[2:]}
    assert list(rows) == ["in hindsight", "gram", "wnn", "linear"]
    best = [float(value) for value in rows["in hindsight"]]
    assert best[:2] == pytest.approx([by_projection(folder, "conv", horizon, every) for horizon in (3, 5)], abs=6e-4)
    for name in ("gram", "linear"):  # both mix increments
        assert all(float(own) >= bound for own, bound in zip(rows[name], best, strict=True))
    assert len(rows["wnn"]) == 2  # five ahead and nothing else


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "holds no weights of runs"),
        ([".", "--every", 0], "must be at least 1"),
        ([".", "--forecasters", "nobody"], "nobody"),
    ],
)
def test_wrong_input_is_one_line_with_the_cure(args, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = bench(*args)
    assert shown.returncode == 2
    assert said in shown.stderr.splitlines()[-1]
    assert "Traceback" not in shown.stderr
