"""Made-up runs of a comparison, and the results that they come to."""

import json
import math
from importlib import resources

from jsonschema import Draft202012Validator

from evaluate import Arm, Plan, resolve, summarise
from evaluate.folder import write_json
from evaluate.metrics import OLDER

SCHEMAS = {
    name: json.loads((resources.files("evaluate") / f"{name}.schema.json").read_text())
    for name in ("results", "joint")
}
GRIDS = {"adam": (0.1, 0.2, 0.4), "muon": (0.01, 0.02)}
PER_EPOCH, TARGET = 10, 0.5
CHOSEN = {
    "learning_rate": 0.2,
    "warmup": 0.0,
    "final_loss": {"0.2, warm-up 0": 0.3},
    "rates": 1,
    "warmups": 1,
    "at_edge": False,
    "warmup_at_edge": False,
}


TIMES = ("seconds", "compile_seconds", "undisturbed")


def untimed(run):
    """A run without what a clock measured."""
    kept = {key: value for key, value in run.items() if key not in TIMES}
    return kept | {"jumps": {**run["jumps"], "seconds": None}}


def run(loss, *, seconds=2.0, accuracy=None, jumps=(), refused=0, **more):
    """A run with a snapshot an epoch; ``jumps`` as ``(step, before, after, damping)``, ``seconds``
    those of an epoch.
    """
    places = range(len(loss))
    keys = ("step", "before", "after", "damping")
    return {
        "step": [PER_EPOCH * place for place in places],
        "epoch": [float(place) for place in places],
        "train_loss": [math.nan, *loss[1:]],
        "seconds": [seconds * place for place in places],
        "loss": list(loss),
        "accuracy": list(accuracy or [0.1] * len(loss)),
        "test_loss": [2 * loss[-1]],
        "test_accuracy": [0.5],
        "jumps": {key: [jump[place] for jump in jumps] for place, key in enumerate(keys)},
        "accepted": len(jumps) - refused,
        "refused": refused,
        "history_bytes": 800 if jumps else 0,
        "parameters": 100,
        "undisturbed": True,
        "compile_seconds": 1.5,
    } | more


def reaching(when, length=41, **more):
    """A run whose mean of three losses crosses the target at this epoch, and not one before; None:
    never.
    """
    loss = [1.0 if when is None or epoch < when - 2 else 0.25 for epoch in range(length)]
    if when is not None:
        loss[when - 2] = 0.9  # (0.9 + 0.25 + 0.25) / 3 < 0.5 < (1 + 0.9 + 0.25) / 3
    return run(loss, **more)


def arms(**given):
    """Those of a comparison, settled."""
    return resolve(given, optimizer="adam", learning_rate=0.1)[0]


def plan(*, seeds=5, **given):
    """Of some arms; what is no arm is the plan's."""
    own = {key: given.pop(key) for key in list(given) if not isinstance(given[key], Arm)}
    return Plan(
        tuple(arms(**given)),
        **{
            "grids": GRIDS,
            "warmups": (0.0,),
            "seeds": tuple(range(seeds)),
            "calibration_seeds": (10, 11, 12),
            "metrics": OLDER,
        }
        | own,
    )


def results(plan, runs, targets=None, errors=None):
    """Of a plan and its runs, by arm and seed; every base has the one target."""
    rates = {arm.name: CHOSEN for arm in plan.arms if arm.rate_of == arm.name}
    value = TARGET if plan.target_value is None else plan.target_value
    targets = targets or {arm.name: {plan.headline: value} for arm in plan.arms}
    return summarise(
        plan, rates, targets, lambda arm, seed: runs[arm.name][plan.seeds.index(seed)], errors
    )


def told(results, task="mlp-digits", cost=None, **about):
    """Results with all that a report needs besides: what the command adds."""
    described = {
        "task": task,
        "content": f"sha256 of {task}",
        "epochs": 40,
        "steps_per_epoch": PER_EPOCH,
        "record_every": PER_EPOCH,
        "left_out": [],
        "seen": [],
        "more": {"model": {"name": "mlp", "width": 0.5, "depth": None}, "batch_size": 64},
    }
    return results | {
        "about": described | about,
        "beside_title": "",
        "beside": {},
        "cost": cost or {},
        "commands": [f"python scripts/evaluate.py report=reports/{task}"],
        "versions": {"jax": "1.2.3"},
    }


def read_back(results, folder):
    """Results as the files have them: null for what is not finite."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", results)
    return json.loads((folder / "results.json").read_text())


def validate(name, content):
    """Whether a file is as its schema says."""
    Draft202012Validator(SCHEMAS[name]).validate(content)
