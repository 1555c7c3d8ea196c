"""Make the table of ``nowcast.advise`` from runs at known rates.

Tasks are trained at rates from 1/64 to 8 times their best.
Every run has Adam at a constant rate after a warm-up of 5 %, and a snapshot every 20 steps. One
task at a time is left out, and the table of the others tells its runs apart from their first fifth.
About ten minutes on one core; ``--records`` keeps what was measured, and a second call with the
same file makes the table without training.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder

import jax
import numpy as np

import nowcast
from collect.commands.output import print_anything
from collect.config import CollectConfig, DataConfig, ModelConfig
from collect.tasks import build
from collect.training import optimizers
from collect.training.loop import Loop
from nowcast import advice_rules as rules
from nowcast import advice_table
from nowcast.movement import WINDOW

STEPS, EVERY, WARMUP = 1000, 20, 0.05
FACTORS = [2.0**power for power in range(-6, 4)]
"""The rate over the best."""
SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
FIRST = 0.2
"""The share of a run by which it should be told apart."""
AVERAGED = (0.2, 0.5, 0.8)
"""Where an advised average is compared with the last snapshot."""
DRIFTS = (
    -0.05,
    -0.02,
    0,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.13,
    0.16,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1,
)
WIDTH, SHARE_WIDTH = 0.35, 0.3
"""Of the kernels that smooth runs over drifts, on the table's scale, and over log shares."""
TABLE_POINTS = (0.1, 0.5, 0.9)


class Calibrated(NamedTuple):
    """A task and its best rate, of a grid of factors 2, with cosine decay and 5 % warm-up."""

    config: CollectConfig
    best: float


def tasks() -> dict[str, Calibrated]:
    """What is trained."""
    mnist = DataConfig("mnist", train_size=10_000)
    mlp, lenet = ModelConfig("mlp", width=0.5), ModelConfig("lenet")
    gpt = {"_target_": "collect.tasks.Language", "width": 48}
    text = CollectConfig("-", task=gpt, data=DataConfig("tiny_shakespeare"), batch_size=16)
    return {
        "mlp-mnist": Calibrated(CollectConfig("-", model=mlp, data=mnist), 4e-3),
        "lenet-mnist": Calibrated(CollectConfig("-", model=lenet, data=mnist), 4e-3),
        "mlp-digits": Calibrated(CollectConfig("-", model=mlp), 1.6e-2),
        "gpt": Calibrated(text, 8e-3),
    }


def runs(name: str, calibrated: Calibrated, seeds: int) -> Iterator[dict[str, Any]]:
    """What was measured in each run of a task."""
    task = build.make(calibrated.config)
    loop = Loop(task, optimizers.make("adam", task))
    for factor in FACTORS:
        rates = optimizers.rates("constant", factor * calibrated.best, STEPS, WARMUP)
        for seed in range(seeds):
            found = measured(loop, seed, rates)
            drifts = [round(row["drift"], 2) for row in found["rows"]]
            print(f"{name}, {factor:g} times the best, seed {seed}: drift {drifts}", flush=True)
            yield {"task": name, "factor": factor, "seed": seed, **found}


def measured(loop: Loop, seed: int, rates: np.ndarray) -> dict[str, Any]:
    """Drifts of a run at :data:`SHARES`, and the losses of advised averages over the last one's."""
    snapshots: list[list[np.ndarray]] = []
    rows, averages = [], []
    for snapshot in loop.run(seed, rates, record_every=EVERY):
        leaves, tree = jax.tree.flatten(snapshot.state.params)
        snapshots.append([np.array(leaf) for leaf in leaves])
        share = next((share for share in SHARES if first_after(share) == snapshot.step), None)
        if share is None:
            continue
        history = [np.stack(leaf) for leaf in zip(*snapshots, strict=True)]
        found = nowcast.advise(history)
        drift = rules.turning(found.drift, found.neighbours)
        rows.append({"share": share, "drift": drift, "length": found.length})
        if share in AVERAGED and found.average > 1:
            means = [leaf[-found.average :].mean(axis=0) for leaf in history]
            losses = [
                loop.task.evaluate(params, snapshot.state.extra, "validation")["loss"]
                for params in (jax.tree.unflatten(tree, means), snapshot.state.params)
            ]
            averages.append(losses[0] / losses[1])
        if share == SHARES[-1]:
            break
    return {"rows": rows, "averages": averages}


def first_after(share: float) -> int:
    """The step of the first snapshot after a share of a run at which there is a window."""
    return max(-(-round(share * STEPS) // EVERY), WINDOW - 1) * EVERY


def table(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table of some runs, each task with the same weight; what has faded is left out."""
    many = Counter(record["task"] for record in records)
    rows = [
        (row["share"], row["drift"], -np.log2(record["factor"]), 1 / many[record["task"]])
        for record in records
        for row in record["rows"]
        if row["length"] >= rules.FADED
    ]
    share, drift, log, weight = np.array(rows).T
    near = [weight * np.exp(-0.5 * (np.log(share / one) / SHARE_WIDTH) ** 2) for one in SHARES]
    points = [[spread(drift, log, there, at) for at in DRIFTS] for there in near]
    overall = [spread(drift, log, weight, at) for at in DRIFTS]
    return {"shares": SHARES, "drifts": DRIFTS, "points": points, "overall": overall}


def spread(drift: np.ndarray, log: np.ndarray, weight: np.ndarray, at: float) -> list[float]:
    """Points of logarithms of runs whose drift is near; a run stands for √½ to √2 of its rate."""
    apart = (advice_table.scaled(drift) - advice_table.scaled(at)) / WIDTH
    nearest = np.min(apart[weight > 0.05 * np.max(weight)] ** 2)
    near = weight * np.exp(-0.5 * np.maximum(apart**2 - nearest, 0))
    edges = -np.log2([*FACTORS, 2 * FACTORS[-1]])[::-1] + 0.5
    mass = np.histogram(log, bins=edges, weights=near)[0]
    return np.round(np.interp(TABLE_POINTS, np.cumsum([0, *mass]) / mass.sum(), edges), 2).tolist()


def confusion(records: Sequence[dict[str, Any]]) -> list[str]:
    """How the table of the other tasks tells a task's runs apart from their first fifth."""
    lines, held = [], []
    right = total = 0
    for left_out in dict.fromkeys(record["task"] for record in records):
        others = advice_table.read(table([r for r in records if r["task"] != left_out]))
        for record in records:
            rows = [row for row in record["rows"] if row["length"] >= rules.FADED]
            for row in rows if record["task"] == left_out else []:
                factor = others.factor(row["drift"], row["share"])
                held.append(factor.low <= 1 / record["factor"] <= factor.high)
        for what, least, most in (("a quarter of the best or less", 0, 0.25), ("the best", 1, 1)):
            said = Counter(
                rules.rate_of(others.factor(row["drift"], FIRST), row["length"])
                for record in records
                if record["task"] == left_out and least <= record["factor"] <= most
                for row in record["rows"]
                if row["share"] == FIRST
            )
            below = said["far below"] + said["below"]
            right += below if most < 1 else said["near"] + said["above"]
            total += said.total()
            lines.append(f"{left_out}, at {what}: {below} of {said.total()} runs are called below")
    averages = np.array([each for record in records for each in record["averages"]])
    better = f"{np.sum(averages < 1)} of {len(averages)}, at the median {np.median(averages):.3f}"
    return [
        *lines,
        f"told apart: {right} of {total}",
        f"readings whose interval holds the factor: {np.mean(held):.0%} of {len(held)}",
        f"advised averages whose validation loss is below the last snapshot's: {better} of it",
    ]


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--records",
        type=Path,
        help="a JSON file for what was measured; tasks that are in it are not trained again",
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each task at each rate: 1")
    given = parser.parse_args()
    known = given.records is not None and given.records.exists()
    records = json.loads(given.records.read_text(encoding="utf-8")) if known else []
    for name, calibrated in tasks().items():
        if not any(record["task"] == name for record in records):
            records += runs(name, calibrated, given.seeds)
            if given.records:
                given.records.write_text(json.dumps(records), encoding="utf-8")
    made = {"runs": Counter(record["task"] for record in records), **table(records)}
    lines = json.dumps(made).replace("]], ", "]],\n")
    advice_table.FILE.write_text(lines + "\n", encoding="utf-8")
    print(*confusion(records), f"table: {advice_table.FILE}", sep="\n")


if __name__ == "__main__":
    main()
