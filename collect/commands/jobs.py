"""Run the jobs of one command (``-m``), and end the command once.

Jobs run side by side or one after another, here or elsewhere.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

from nowcast.types import UserError

ROOT = str(Path(__file__).resolve().parents[2])
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a job that stopped as asked."""
EXTRAS = {
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "slurm",
    "hydra_ray_launcher": "ray",
}


class Failed(NamedTuple):
    """A job's failure: a reason, which may have been printed already, and an exit code."""

    reason: str
    code: int


def are_here(launcher: Any) -> bool:
    """Whether jobs run in this process, one after another."""
    return launcher._target_.endswith(".BasicLauncher")


def require_extra(launcher: Any) -> None:
    """Check that the launcher's plugin is installed.

    Raises:
        UserError: It is not installed, or there is no Slurm for it.
    """
    plugin = launcher._target_.split(".")[1]
    if plugin in EXTRAS and find_spec(f"hydra_plugins.{plugin}") is None:
        extra = EXTRAS[plugin]
        raise UserError(
            f"hydra/launcher: {plugin} is not installed; pip install 'weight-nowcaster[{extra}]'"
        )
    if launcher._target_.endswith(".SlurmLauncher") and not which("srun"):
        raise UserError(
            "hydra/launcher: this machine has no Slurm (no srun); here joblib and submitit_local"
            " work"
        )


@contextmanager
def elsewhere() -> Iterator[None]:
    """Set what the processes of jobs inherit, and let SIGTERM end a command that waits for them."""
    before = os.environ.copy()
    path = [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    ignored = [
        *filter(None, [os.environ.get("PYTHONWARNINGS")]),
        "ignore::UserWarning:multiprocessing.resource_tracker",
    ]
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(path),
        "TQDM_DISABLE": "1",  # bars of several processes would overwrite each other
        "PYTHONWARNINGS": ",".join(ignored),  # of semaphores left by jobs that were ended
    }
    handler = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        os.environ.clear()
        os.environ.update(before)


def share_cores() -> None:
    """Use only the cores that the launcher gives this job.

    The launcher says so for OpenMP only; this tells XLA too.
    """
    if "OMP_NUM_THREADS" in os.environ:
        os.environ.setdefault("NPROC", os.environ["OMP_NUM_THREADS"])


def end(returned: Sequence[Any], conclude: Callable[[list[Any]], None] | None) -> None:
    """Conclude what all jobs returned; where some failed, say why and exit.

    Each reason is said once.
    """
    failed = [one for one in returned if isinstance(one, Failed)]
    for reason in dict.fromkeys(one.reason for one in failed):
        print(reason, file=sys.stderr)
    if failed:
        sys.exit(min(one.code for one in failed))  # wrong input before a signal
    if conclude:
        conclude(list(returned))


def _terminate(*_: object) -> None:
    print("stopped; give the same command again", file=sys.stderr)
    sys.exit(128 + signal.SIGTERM)
