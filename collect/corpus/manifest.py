"""The manifest, an index of a corpus's runs; and whether a folder can become a corpus."""

import fcntl
import json
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from collect.corpus.json_files import read_json
from collect.corpus.layout import FINISHED, SCHEMA
from collect.corpus.leaf import scalars
from collect.corpus.opening import open as open_corpus
from collect.corpus.run import read_run, read_runs
from collect.files import replace
from nowcast.paths import check_writable
from nowcast.types import UserError

INDEX_PACE = 1e-5
"""Seconds to wait, per byte of the manifest, before it is written anew.

That is some 50 times what writing it takes.
"""


def is_finished(corpus: Path, run_id: str) -> bool:
    """Whether a corpus holds this run whole."""
    info = corpus / "runs" / run_id / "run.json"
    return info.exists() and read_run(info.parent).status in FINISHED


def check_destination(corpus: Path) -> None:
    """Refuse a path where no corpus can be written.

    It may be a file, another program's folder, or a corpus of another schema.
    """
    check_writable(f"corpus={str(corpus)!r}", corpus)
    if (corpus / "manifest.json").exists():
        open_corpus(corpus)
    elif corpus.exists() and any(
        item.name != "runs" and item.name[0] != "." for item in corpus.iterdir()
    ):
        raise UserError(f"corpus={str(corpus)!r} exists and is not a corpus; choose another path")


def index(corpus: Path, *, wait: bool = False) -> None:
    """Update the manifest to what every ``run.json`` says; one process at a time.

    Args:
        corpus: The corpus's folder.
        wait: Leave a manifest as it is that was written a short while ago, measured by its length:
            with many runs, reading them all at the end of each would take longer than training
            them.
    """
    manifest = corpus / "manifest.json"
    if wait and manifest.exists():
        stat = manifest.stat()
        if time.time() - stat.st_mtime < INDEX_PACE * stat.st_size:
            return
    with (corpus / "runs" / ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs = {run.id: entry(run.info) for run in read_runs(corpus)}
        if not manifest.exists() or read_json(manifest).get("runs") != runs:
            replace(manifest, manifest_text(runs))


def entry(info: dict[str, Any]) -> dict[str, Any]:
    """The manifest's entry for a run."""
    config = info["config"]
    return {
        "task": config["task"],
        "seed": config.get("seed"),
        "status": info["status"],
        "snapshots": info["snapshots"],
        "scalars": scalars(info["leaves"]),
        "config": config,
    }


def manifest_text(runs: dict[str, Any]) -> str:
    """A manifest that lists these runs."""
    versions = {
        name: metadata.version(name)
        for name in ("weight-nowcaster", "jax", "flax", "optax", "tensorstore")
    }
    return json.dumps({"schema": SCHEMA, "versions": versions, "runs": runs}, indent=1) + "\n"
