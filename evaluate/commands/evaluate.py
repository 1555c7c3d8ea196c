"""Compare ways to train, paired by seed, with tuned bases: bundle → report."""

import hashlib
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from collect.commands.cli import command, command_line
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from evaluate.protocol import WARMUPS
from nowcast.types import UserError

ROBUST_ARMS = (
    "cosine",
    "cosine_auto",
    "prodigy",
    "dadapt_adamw",
    "mechanize",
    "schedule_free",
    "cosine_gram_guarded",
)
"""The arms of protocol=robust where the command names none."""
SETS = {
    "tuned_bases": ("continuous_mlp", "continuous_cnn", "continuous_resnet20", "continuous_gpt"),
}
"""Experiments that are run together under one name, and reported jointly."""
NOT_IN_NAME = (
    "report",
    "dry_run",
    "arm",
    "seeds",
    "robust",
    "budget",
    "max_minutes",
    "workers",
    "beside",
    "beside_title",
)
"""Keys that do not change the name of a job's folder, such as those that let its report grow."""


def with_jobs(typed: list[str]) -> list[str]:
    """Put the experiments of a set in the place of its name; each of them is a job of ``-m``.

    Examples:
        >>> from evaluate.commands.evaluate import with_jobs
        >>> with_jobs(["experiment=tuned_bases", "seeds=3"])[0]
        'experiment=continuous_mlp,continuous_cnn,continuous_resnet20,continuous_gpt'
    """
    if any(one.startswith("-") and one != "-m" for one in typed):  # --help, --cfg job, …
        return typed
    named = {f"experiment={name}": f"experiment={','.join(each)}" for name, each in SETS.items()}
    jobs = [named.get(one, one) for one in typed]
    return jobs if jobs == typed or "-m" in jobs else [*jobs, "-m"]


def with_arms(typed: list[str]) -> list[str]:
    """Add :data:`ROBUST_ARMS` to a command's arguments, if it needs them.

    It needs them where it asks for ``protocol=robust`` and names no arms.
    """
    named = any(re.match(r"(arm|experiment)=", one) for one in typed)
    return (
        typed
        if named or "protocol=robust" not in typed
        else [*typed, f"arm=[{','.join(ROBUST_ARMS)}]"]
    )


def main(config: EvaluateConfig) -> dict[str, Any]:
    """Run one job: make one comparison, write its report, and print it; or estimate it."""
    from collect.tasks import build
    from collect.training.stop import Stop
    from evaluate import joining, report  # here: --help needs none of what these import
    from evaluate.comparison import write
    from evaluate.configured import dry_run, evaluate
    from evaluate.trials import Stopped

    folder = Path(config.report)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        joining.check(folder)
        folder /= name(config)
    if config.dry_run:
        with build.failures_in_one_line(config):
            would = dry_run(config, folder)
        print(f"{would.task}: {would}", flush=True)
        return {"dry_run": would}
    with Stop(config.max_minutes) as stop:
        try:
            with build.failures_in_one_line(config):
                results = evaluate(config, folder, stop)
        except Stopped as stopped:
            print(
                f"stopped: {stopped}\nreport: not finished\nnext: the same command goes on where"
                " this one stopped"
            )
            sys.exit(stop.exit_code)
    results = write(folder, results, [command_line("evaluate")])
    print(
        f"\n{results['about']['task']}\n{report.text(results)}\n\nreport: {folder / 'report.html'}",
        flush=True,
    )
    return {"report": config.report, "folder": str(folder), "command": results["commands"][-1]}


def name(config: EvaluateConfig) -> str:
    """The name of the folder of one job of ``-m``.

    The name stays the same when the command is given again, also with more arms or more seeds.
    """
    from collect.tasks import build

    skipped = (*NOT_IN_NAME, "task") if build.is_classification(config) else NOT_IN_NAME
    described = {key: value for key, value in asdict(config).items() if key not in skipped}
    # The names of older folders hash the target's metric and value as one key, and no warm-ups.
    target = described.pop("target_metric")
    described[f"target_{target}"] = described.pop("target_value")
    if config.tuned.warmups == list(WARMUPS):
        del described["tuned"]["warmups"]
    data = described["data"]
    for part, later in (
        (described, "introspection_linear"),
        (described, "introspection_further"),
        (described, "nino"),
        (described, "wnn_plus"),
        (described, "celo"),
        (data, "classes"),
        (data, "center"),
    ):
        if not part[later]:  # older folders lack the key
            del part[later]
    told_apart = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:6]
    trained = re.sub(r"[^\w.]+", "-", build.in_words(config).replace(" on ", "-"))
    return f"{trained}-{told_apart}"


def conclude(jobs: list[dict[str, Any]]) -> None:
    """Join the reports of all jobs into one, and print where the results lie.

    After a dry run, print the time of all jobs.
    """
    from evaluate import joining

    if would := [job["dry_run"] for job in jobs if "dry_run" in job]:
        if len(would) > 1:
            hours = sum(one.hours for one in would)
            print(f"{len(would)} jobs: {sum(one.runs for one in would):,} runs, {hours:,.2f} hours")
        print(
            "the time is this machine's, as if no run were finished: training and evaluating count,"
            " compiling and jumps do not"
        )
        print("next: the same command without dry_run=true")
        return
    last = Path(jobs[-1]["folder"])
    if len(jobs) > 1:
        if len({job["folder"] for job in jobs}) < len(jobs):
            raise UserError(
                f"-m: several jobs wrote their reports to {str(last)!r}, and only the last one is"
                " left; give each job its own report="
            )
        last = Path(jobs[0]["report"])
        joining.write(last, [Path(job["folder"]) for job in jobs], jobs[-1]["command"])
        print(f"report of all {len(jobs)}: {last / 'report.html'}")
    print(f"numbers: {last / 'results.json'}   tables: {last / 'report.md'}")
    print(f"next: open {last / 'report.html'} in a browser")


def start() -> None:
    """Run the command."""
    sys.argv[1:] = with_jobs(with_arms(sys.argv[1:]))
    products.store()
    command("evaluate", EvaluateConfig, main, conclude)
