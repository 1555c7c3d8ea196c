"""Train several networks and record every weight's trajectory: task → corpus."""

import sys
from typing import TYPE_CHECKING, NamedTuple

from collect.commands.cli import command, command_line
from collect.commands.typed import argument, fitting
from collect.config import CollectConfig
from nowcast import text
from nowcast.types import UserError

if TYPE_CHECKING:
    from collect.estimate import Estimate


class Collected(NamedTuple):
    """The result of one job."""

    corpus: str
    left: int


def main(config: CollectConfig) -> "Estimate | Collected":
    """Run one job: train the runs that the corpus lacks, or estimate what that takes."""
    from collect.estimate import estimate  # here: --help needs none of what these import
    from collect.population import collect_population
    from collect.tasks import build

    if config.corpus.startswith("memory://"):
        raise UserError(
            f"corpus={config.corpus}: what lies in memory is gone with this command; give a folder"
            " or a store"
        )
    if config.dry_run:
        would = estimate(config)
        print(f"{would.task}: {would}", flush=True)
        return would
    with build.failures_in_one_line(config):
        counts = collect_population(config, command_line("collect"))
    said = ", ".join(
        f"{counts[key]} {key}" for key in ("complete", "diverged", "already", "left") if counts[key]
    )
    stopped = f"; stopped: {counts['stopped']}" if counts["stopped"] else ""
    print(f"{counts['task']}: {said}{stopped}", flush=True)
    if counts["exit_code"]:  # a signal is meant for all jobs; max_minutes is each job's own
        conclude([Collected(config.corpus, counts["left"])])
        sys.exit(counts["exit_code"])
    return Collected(config.corpus, counts["left"])


def conclude(jobs: "list[Estimate | Collected]") -> None:
    """Print the result of all jobs."""
    from collect.corpus import open as open_corpus
    from collect.estimate import Estimate, total

    collected = [job for job in jobs if isinstance(job, Collected)]
    if not collected:
        if len(jobs) > 1:
            print(f"{len(jobs)} jobs: {total([job for job in jobs if isinstance(job, Estimate)])}")
        print(
            "the time is this machine's, for training alone: evaluating and writing are not counted"
        )
        print("next: the same command without dry_run=true")
        return
    for path in dict.fromkeys(job.corpus for job in collected):
        print(f"corpus: {path}")
    if any(job.left for job in collected):
        print("next: the same command goes on where this one stopped")
    else:
        corpus = argument("corpus", collected[0].corpus)
        bands = [run.band for run in open_corpus(collected[0].corpus).runs]
        print(f"next: {text.command('meta_train')} {corpus} {fitting(bands)} bundle=bundles/mine")


def start() -> None:
    """Run the command."""
    command("collect", CollectConfig, main, conclude)
