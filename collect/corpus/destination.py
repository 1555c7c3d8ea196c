"""Write a collection into a folder or, run by run, into a store.

A store has no locks and cannot be appended to. So a run is recorded in a working folder and copied
when it is finished: its arrays and metrics into a folder of their own, named after their content,
then ``run.json``, then the manifest. Readers never see half a run, and a copy that was cut short is
made again. If collectors on several machines finish the same run, the first one wins. Replacing an
object only if nobody else has takes one step in Google's stores and two in S3's driver. Of two
manifests written to S3 in the same few milliseconds, one may lack the other's runs until either
collector writes it again, or is given its command again.
"""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collect.corpus.json_files import check_schema, parse, read_json, read_manifest
from collect.corpus.layout import DIGESTS, FINISHED, hashes
from collect.corpus.manifest import (
    INDEX_PACE,
    check_destination,
    entry,
    index,
    is_finished,
    manifest_text,
)
from collect.corpus.places import Place, Remote
from collect.corpus.recorder import Recorder
from collect.corpus.run import read_descriptions
from collect.data.cache import cache_root, check_cache

MOST_OFTEN = 1.0
"""Seconds between two writes of a store's manifest: stores refuse more frequent ones."""


def make(place: Place) -> "Folder":
    """The destination for a place."""
    return Store(place) if isinstance(place, Remote) else Folder(place)


class Folder:
    """A corpus in a folder: a context in which runs are recorded.

    At its end the manifest lists all of them.
    """

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_: object) -> None:
        if (self.path / "runs").is_dir():
            index(self.path)

    def check(self) -> None:
        """Refuse a place where no corpus can be written."""
        check_destination(self.path)

    def finished(self, runs: Sequence[str]) -> set[str]:
        """The named runs that the folder holds whole."""
        return {name for name in runs if is_finished(self.path, name)}

    def recorder(self, name: str, **about: Any) -> Recorder:
        """The recorder of the run of this name."""
        return Recorder(self.path, name, **about)


class Store(Folder):
    """A corpus in a store."""

    def __init__(self, place: Remote):
        self.corpus = place
        working = hashlib.sha256(str(place).encode()).hexdigest()[:16]
        super().__init__(cache_root() / "corpora" / working)
        self._entries: dict[str, dict[str, Any]] = {}
        self._lock, self._due = threading.Lock(), 0.0

    def __enter__(self) -> "Store":
        self._list()  # writes a manifest where there is none, which shows that we may write
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._list()

    def check(self) -> None:
        """Refuse an unreachable store, another schema, and a cache that cannot be written."""
        check_cache()
        super().check()
        if folder := self.corpus.folder:
            check_destination(folder)
        if (self.corpus / "manifest.json").is_file():
            read_manifest(self.corpus)

    def finished(self, runs: Sequence[str]) -> set[str]:
        """The named runs that the store holds."""
        found = {
            name: info
            for name, (_, info) in read_descriptions(self.corpus, runs).items()
            if info.get("status") in FINISHED
        }
        with self._lock:
            self._entries |= {name: entry(info) for name, info in found.items()}
        return set(found)

    def recorder(self, name: str, **about: Any) -> "Recorder":
        """A recorder that works in the working folder and copies a finished run."""
        return _Copying(self, name, **about)

    def publish(self, run: Path) -> None:
        """Copy a finished run, unless another machine was faster, and remove it here."""
        info = read_json(run / "run.json")
        folder = hashlib.sha256("".join(hashes(info)).encode()).hexdigest()[:16]
        there = self.corpus / "runs" / run.name
        files = [file for name in DIGESTS for file in (run / name).rglob("*") if file.is_file()]
        files.append(run / "metrics.jsonl")
        (there / folder).write_all({str(file.relative_to(run)): file for file in files})
        ours = info | {"folder": folder, "bytes": sum(file.stat().st_size for file in files)}
        if self._declare(there, ours).get("folder") != folder:
            (there / folder).remove()
        shutil.rmtree(run)
        if time.monotonic() >= self._due:
            self._list()

    def _declare(self, run: Remote, ours: dict[str, Any]) -> dict[str, Any]:
        """Write a run's ``run.json`` unless the store has a finished one; return the store's."""
        place = run / "run.json"
        while True:
            content, generation = place.read()
            there = {} if content is None else parse(place, content)
            if there.get("status") in FINISHED:
                with self._lock:
                    self._entries[run.name] = entry(there)
                return there
            place.replace(json.dumps(ours, indent=1) + "\n", generation)

    def _list(self) -> None:
        """Add the finished runs that we know of to the manifest.

        Other machines may write it too.
        """
        place = self.corpus / "manifest.json"
        with self._lock:
            while True:  # until we read what we wrote
                content, generation = place.read()
                runs = (
                    {}
                    if content is None
                    else check_schema(self.corpus, parse(place, content))["runs"]
                )
                text = manifest_text(runs | self._entries)
                if content is not None and runs | self._entries == runs:
                    break
                place.replace(text, generation)
            self._due = time.monotonic() + max(MOST_OFTEN, INDEX_PACE * len(text))


class _Copying(Recorder):
    """Records in a store's working folder.

    A run that is finished, here or by another machine, leaves that folder.
    """

    def __init__(self, store: Store, name: str, **about: Any):
        super().__init__(store.path, name, **about)
        self._store = store

    def _begin(self) -> None:
        super()._begin()
        if self._store.finished([self.path.name]):
            self._info["status"] = "complete"
            shutil.rmtree(self.path)
        elif self.finished:
            self._store.publish(self.path)

    def finish(self, status: str, seconds: float | None = None) -> None:
        """Declare the run ``complete`` or ``diverged``, and copy it."""
        super().finish(status, seconds)
        self._store.publish(self.path)
