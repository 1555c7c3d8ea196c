"""Split the runs of corpora: those for fitting, for validation, and of architectures kept out."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from collect.corpus import Run
from collect.corpus.run import trained
from collect.models import MODELS
from collect.tasks.names import is_architecture, names
from nowcast.types import UserError

RECORDED = ("epochs", "record_every", "sample", "record", "band", "batch_stats")
"""Keys of a run's configuration that say how long it is and what was recorded, and change nothing
of how it trains.
"""


class Parts(NamedTuple):
    """The runs for fitting, for validation, and of the architectures kept out."""

    training: list[Run]
    validation: list[Run]
    held_out: list[Run]


def split(runs: Sequence[Run], share: float, keep_out: Sequence[str], seed: int) -> Parts:
    """Choose the runs of the architectures to keep out, and a share of the others for validation.

    The share is taken of every other task. It is at least one run, of every task that has two
    complete ones or more that do not begin alike; a name without its depth, ``vgg``, keeps all
    depths out. Runs that diverged are neither for validation nor held out: those of an architecture
    to keep out are not used at all. Runs that differ only in their length or in what was recorded
    begin alike, and stay together.
    """

    def kept_out(run: Run) -> bool:
        return not names(run.config).isdisjoint(keep_out)

    held_out = [run for run in runs if kept_out(run) and run.status == "complete"]
    others = [run for run in runs if not kept_out(run)]
    by_task: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in others:
        alike = json.dumps(
            [value for key, value in sorted(run.config.items()) if key not in RECORDED]
        )
        named = run.config["task"], trained(run.config)
        by_task.setdefault(named, {}).setdefault(alike, []).append(run)
    kept: list[Run] = []
    for (task, _), groups in sorted(by_task.items()):
        whole = [
            group for group in groups.values() if all(run.status == "complete" for run in group)
        ]
        most = max(1, round(share * sum(len(group) for group in groups.values())))
        order = np.random.default_rng((seed, sum(task.encode()))).permutation(len(whole)).tolist()
        chosen: list[int] = []
        # One run stays for fitting.
        for i in sorted(order, key=lambda i: len(whole[i]) > most)[: len(whole) - 1]:
            if not chosen or sum(len(whole[j]) for j in [*chosen, i]) <= most:
                chosen.append(i)
        kept += [run for i in sorted(chosen) for run in whole[i]]
    apart = {id(run) for run in kept}
    return Parts([run for run in others if id(run) not in apart], kept, held_out)


def check_keep_out(runs: Sequence[Run], keep_out: Sequence[str]) -> None:
    """Refuse a name that keeps nothing out.

    It is neither an architecture of ours nor a name that a run of the corpora goes by.
    """
    of_runs = set().union(*(names(run.config) for run in runs))
    for name in keep_out:
        if not is_architecture(name) and name not in of_runs:
            raise UserError(
                f"keep_out={name}: no architecture, and no run of the corpus is of one; there are"
                f" {', '.join(MODELS)}, resnet32 and the like, and in the corpus"
                f" {', '.join(sorted(of_runs))}"
            )
