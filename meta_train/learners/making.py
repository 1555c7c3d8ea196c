"""Make a learned optimizer's bundle: the task, the rounds with a progress bar, the card."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from collect.figures import PLAIN, Figure, matplotlib, png
from collect.files import replace
from collect.tasks import build
from collect.training.learned import KINDS, LearnedOptimizer, save
from collect.training.stop import Stop
from meta_train.fitting import describe_fit
from meta_train.learners import fit
from meta_train.learners.config import LearnerConfig
from meta_train.learners.fit import Progress
from meta_train.learners.problem import Problem
from meta_train.learners.store import Store
from meta_train.learners.unroll import Learner
from nowcast.bundle import check_destination
from nowcast.types import UserError

NOT_OF_THE_FIT = ("bundle", "max_minutes")


def meta_train(config: LearnerConfig, command: str) -> tuple[dict[str, Any] | None, Stop]:
    """Meta-train from the checkpoint on, to the end or until stopped, and write the bundle.

    Returns:
        The bundle's card, or None if it was stopped; and what may have stopped it.

    Raises:
        UserError: No round gave anything finite.
    """
    check_destination(config.bundle)
    kind, recipe = KINDS[config.kind], config.recipe
    task = build.make(config)
    problem = Problem(task, kind)
    learner = Learner(problem, kind, config.settings)
    identity = {key: value for key, value in asdict(config).items() if key not in NOT_OF_THE_FIT}
    identity |= {"data": config.data.identity}
    with Store(config.bundle, identity) as store, Stop(config.max_minutes) as stop:
        fresh = fit.start(kind, problem.networks, recipe, config.seed)
        progress = store.load(fresh) or fresh
        begun = time.perf_counter() - _spent(progress)
        each = recipe.episodes
        going: dict[str, Any] = {"desc": f"meta-train {config.kind}", "unit": "episode"}
        with tqdm(total=recipe.total * each, initial=progress.round * each, **going) as bar:
            for now in fit.fit(learner, recipe, config.seed, progress, bar.update):
                progress = _timed(now, time.perf_counter() - begun)
                bar.update(progress.round * each - bar.n)  # back, where the round was taken back
                bar.set_postfix_str(f"judged {progress.history[-1]['judged']:.4g}")
                store.save(progress)
                if stop.reason and progress.round < recipe.total:
                    return None, stop
        if not np.isfinite(progress.lowest):
            raise UserError(
                f"meta-training: no round of the last stage ended with a finite value; lower"
                f" learning_rate={config.learning_rate:g}, or give another seed="
            )
        optimizer = LearnedOptimizer(kind.name, jax.tree.map(jnp.asarray, progress.best))
        card = save(optimizer, config.bundle, _card(config, command, task.name, progress))
        replace(Path(config.bundle) / "loss.png", png(picture(card)))
        store.remove()
    return card, stop


def picture(card: dict[str, Any]) -> Figure:
    """What each round was judged by; a cross where it was taken back, a ring at the best."""
    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        ended = [one for one in card["history"] if np.isfinite(one["judged"])]
        kept = [one for one in ended if one["kept"]]
        axes.plot(
            [one["round"] for one in kept], [one["judged"] for one in kept], "o-", label="kept"
        )
        back = [one for one in ended if not one["kept"]]
        if back:
            axes.plot(
                [one["round"] for one in back], [one["judged"] for one in back], "x",
                label="taken back",
            )  # fmt: skip
        best = [one for one in kept if one["judged"] == card["judged"]]
        axes.plot([one["round"] for one in best], [one["judged"] for one in best], "o", ms=12,
                  mfc="none", label="the bundle")  # fmt: skip
        axes.set(xlabel="round", ylabel="judged (lower is better)", title=card["optimizer"])
        axes.legend(fontsize=8)
    return figure


def _card(config: LearnerConfig, command: str, task: str, progress: Progress) -> dict[str, Any]:
    return {
        **describe_fit(config, command),
        "task": task,
        "rounds": progress.round,
        "hours": round(_spent(progress) / 3600, 3),
        "judged": progress.lowest,
        "history": progress.history,
    }


def _timed(progress: Progress, seconds: float) -> Progress:
    """Note at the last round how many seconds all rounds have taken."""
    *before, last = progress.history
    return progress._replace(history=[*before, last | {"seconds": round(seconds, 1)}])


def _spent(progress: Progress) -> float:
    return progress.history[-1]["seconds"] if progress.history else 0.0
