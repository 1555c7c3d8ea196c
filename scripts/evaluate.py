"""Compare runs with and without a forecaster, paired and on a tuned base too: bundle → report."""

import math
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its `collect.py` would hide the package

from scripts.memory import large_pages

if __name__ == "__main__":
    large_pages()

import nowcast
from collect.comparison import Stopped, Trials, claim, write_json
from collect.config import EvaluateConfig
from collect.optimizers import GRIDS
from collect.population import make_task
from collect.stop import Stop
from nowcast import bundle
from nowcast.evaluation import Plan, calibration_arms, choose, comparison_arms, pictures, report, summarise
from nowcast.paths import replace
from scripts.cli import command, command_line


def main(config: EvaluateConfig) -> None:
    learned = nowcast.load(config.forecaster)
    forecasters = {"linear": nowcast.load("linear"), learned.name: learned}
    task = make_task(config.model, config.data, config.batch_size, config.augment)
    plan = Plan(
        learning_rate=config.optimizer.learning_rate,
        tuned_rates=tuple(config.tuned.learning_rates or GRIDS[config.optimizer.name]),
        forecasters=tuple(forecasters),
        seeds=tuple(range(config.seed, config.seed + config.seeds)),
        calibration_seeds=tuple(range(config.tuned.seed, config.tuned.seed + config.tuned.seeds)),
        target_share=config.target_share,
    )
    folder = Path(config.report)
    about = {
        "task": task.name, "model": asdict(config.model), "data": config.data.identity, "augment": config.augment.name,
        "optimizer": config.optimizer.name, "batch_size": config.batch_size, "epochs": config.epochs, "record_every": config.record_every,
        "forecaster": _identity(config.forecaster), "seen": _seen(config.forecaster, task.name),
    }  # fmt: skip
    with Stop(config.max_minutes) as stop:
        trials = Trials(
            task, optimizer=config.optimizer.name, epochs=config.epochs, record_every=config.record_every,
            forecasters=forecasters, folder=folder / "runs", stop=stop,
        )  # fmt: skip
        claim(folder, {**about, "plan": asdict(plan)})
        try:
            trials.train(calibration_arms(plan), plan.calibration_seeds, "calibrate")
            choice = choose(plan, trials.curve)
            if not all(math.isfinite(target) for target in choice["targets"].values()):
                raise nowcast.UserError(
                    f"epochs={config.epochs}: the base runs reach no finite loss; lower optimizer.learning_rate"
                )
            write_json(folder / "targets.json", choice)
            arms = comparison_arms(plan, choice)
            trials.train(arms, plan.seeds, "compare")
        except Stopped as stopped:
            print(f"stopped: {stopped}\nreport: not finished\nnext: the same command goes on where this one stopped")
            sys.exit(stop.exit_code)
    results = {"about": about, **summarise(plan, choice, arms, trials.curve)}
    every = config.record_every or task.steps_per_epoch
    jump_every = learned.window * every / task.steps_per_epoch
    packages = ("weight-nowcaster", "jax", "flax", "optax", "numpy")
    versions = {name: metadata.version(name) for name in packages}
    write_json(folder / "results.json", {**results, "versions": versions})
    commands = [*_how_made(config.forecaster), command_line("evaluate")]
    page = report.page(results, jump_every=jump_every, commands=commands, versions=versions)
    replace(folder / "curves.png", pictures.png(pictures.curves(results, jump_every=jump_every)))
    replace(folder / "report.html", page)
    print(report.text(results))
    print(f"\nreport: {folder / 'report.html'}   numbers: {folder / 'results.json'}")
    print(f"next: open {folder / 'report.html'} in a browser")


def _identity(name_or_path: str) -> str:
    return bundle.read_card(name_or_path)["params_sha256"] if Path(name_or_path).is_dir() else name_or_path


def _seen(name_or_path: str, task: str) -> str:
    """Whether the forecaster was fitted to this task, in words."""
    if not Path(name_or_path).is_dir():
        return "The forecaster is not learned."
    tasks = bundle.read_card(name_or_path).get("corpus", {}).get("tasks", [])
    known = (
        f"The forecaster was meta-trained on {', '.join(tasks)}"
        if tasks
        else "What the forecaster was meta-trained on is not known"
    )
    return f"{known}; it has {'ALREADY' if task in tasks else 'never'} seen {task}."


def _how_made(name_or_path: str) -> list[str]:
    """The commands behind a bundle: those of its corpus, then its own."""
    card = bundle.read_card(name_or_path) if Path(name_or_path).is_dir() else {}
    made = [*card.get("corpus", {}).get("commands", []), card.get("command")]
    return [line for line in made if line]


if __name__ == "__main__":
    command("evaluate", EvaluateConfig, main)
