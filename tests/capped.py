# ruff: noqa: E402
"""Meta-trains on a corpus larger than the memory it may have: python capped.py FOLDER > {"corpus":
bytes, "cap": bytes, …}.
"""

import json
import os
import resource
import shutil
import sys
from pathlib import Path

os.environ["JAX_NUM_CPU_DEVICES"] = "1"
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from collect.corpus.recorder import Recorder
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train

CAP, RUNS, SNAPSHOTS, SCALARS = 512 << 20, 20, 28, 1_000_000
"""The cap is on memory beyond what the program has after a first, small fit: that is its code,
compiled, and buffers.
"""


def record(corpus: Path, number: int, scalars: int) -> None:
    rng = np.random.default_rng(number)
    # Of few values: much compressed, quick to write.
    weights = rng.integers(0, 4, scalars).astype(np.float32)
    leaves = [
        {"path": "kernel", "shape": [scalars - 1000], "op": "fc"},
        {"path": "bias", "shape": [1000], "op": "bias"},
    ]
    config = {"task": "made-up", "seed": number, "record_every": 1}
    with Recorder(
        corpus, f"run{number}", config=config, leaves=leaves, snapshots=SNAPSHOTS
    ) as recorder:
        for snapshot in range(SNAPSHOTS):
            row = weights * (1 + snapshot)
            params = {"0": row[:-1000], "1": row[-1000:]}
            recorder.append(snapshot, params, {"step": snapshot}, params, checkpoint=False)
        recorder.finish("complete")


def data_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmData:")[1].split()[0]) << 10


def repeat(runs: Path, number: int) -> None:
    """One more run with the arrays of the first: read as any other, and quick to make."""
    shutil.copytree(runs / "run0", runs / f"run{number}", copy_function=os.link)
    info = json.loads((runs / "run0" / "run.json").read_text())
    info["config"]["seed"] = number
    (runs / f"run{number}" / "run.json").unlink()
    (runs / f"run{number}" / "run.json").write_text(json.dumps(info))


def fit(folder: Path, corpus: str) -> dict:
    given = {"steps": 3000, "batch_size": 64}
    return meta_train(
        MetaTrainConfig(str(folder / corpus), str(folder / f"{corpus}-bundle"), **given)
    ).card


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for number in range(2):
        record(folder / "small", number, 10_000)
        record(folder / "large", number, SCALARS)
    for number in range(2, RUNS):
        repeat(folder / "large" / "runs", number)
    fit(folder, "small")
    resource.setrlimit(resource.RLIMIT_DATA, (data_memory() + CAP,) * 2)
    card = fit(folder, "large")
    try:
        bites = bool(np.ones(CAP // 4, np.float32).sum() < 0)
    except MemoryError:
        bites = True
    said = {
        "corpus": RUNS * SNAPSHOTS * SCALARS * 4,
        "cap": CAP,
        "cap_bites": bites,
        "runs": RUNS,
        "card": card,
    }
    json.dump(said, sys.stdout)
