"""The place of a corpus: a folder, or a store that tensorstore opens by its URL.

A :class:`Remote` has the methods of :class:`pathlib.Path` that reading a corpus needs, so that
readers need not know which of the two they have. Every refusal of a store is a :class:`UserError`
of one line.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tensorstore as ts

from nowcast.paths import check_utf8, expanded
from nowcast.types import UserError, first_line

SCHEMES = "gs://, s3://, http://, https:// or file://"
RIGHTS = {
    "gs://": "gcloud auth application-default login",
    "s3://": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
AT_ONCE = 64
"""Objects that are written at a time, so that memory stays bounded."""
_RETRIES = {"max_retries": 4, "initial_delay": "0.5s", "max_delay": "4s"}
CONTEXT = ts.Context({f"{kind}_request_retries": _RETRIES for kind in ("gcs", "http", "s3")})
"""Connections, shared by this whole process; it also holds what lies at memory://."""
CACHED = ts.Context({"cache_pool": {"total_bytes_limit": 1 << 28}}, parent=CONTEXT)
"""The same for arrays in a store: up to 256 MiB of their chunks are kept, decoded."""
_ERRORS = (ValueError, NotImplementedError, TimeoutError, OSError)
_UNREACHABLE = (
    "ABORTED",
    "UNAVAILABLE",
    "DEADLINE",
    "UNAUTHENTICATED",
    "PERMISSION",
    "INTERNAL",
    "RESOURCE",
)


@dataclass(frozen=True)
class Remote:
    """A place in a store: the corpus's URL, and the path below it."""

    root: str
    key: str = ""

    def __truediv__(self, part: str) -> "Remote":
        return Remote(self.root, f"{self.key}/{part}".lstrip("/"))

    def __str__(self) -> str:
        return f"{self.root}/{self.key}".rstrip("/")

    @property
    def folder(self) -> Path | None:
        """The folder that a ``file://`` URL names."""
        spec = _spec(self.root)
        return Path(spec["path"]) / self.key if spec["driver"] == "file" else None

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.key.rsplit("/", 1)[-1]

    def is_file(self) -> bool:
        """Whether there is an object at this place."""
        return self.read()[0] is not None

    def read_bytes(self) -> bytes:
        """The object's content; FileNotFoundError where there is none."""
        content, _ = self.read()
        if content is None:
            raise FileNotFoundError(f"no {self}")
        return content

    def read(self) -> tuple[bytes | None, bytes]:
        """The object's content, or None where there is none, and its generation.

        :meth:`replace` takes the generation.
        """
        found = ask(self, _store(self).read(self.key))
        return (found.value if found.state == "value" else None), found.stamp.generation

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The content of the objects of these names below this place; None where there is none.

        They are read side by side.
        """
        store = _store(self)
        reads = [ask(self, read) for read in [store.read((self / name).key) for name in names]]
        return [read.value if read.state == "value" else None for read in reads]

    def replace(self, content: str, generation: bytes) -> None:
        """Write the object if it is still of this generation.

        Read it again to know whether it was.
        """
        done = ask(self, _store(self).write(self.key, content.encode(), if_equal=generation))
        # This is what S3 answers where there is no such bucket.
        if not done.generation and self.read()[1] == generation:
            raise UserError(
                f"corpus: {self} cannot be written; check that the bucket exists, and your rights"
            )

    def write_all(self, files: Mapping[str, Path]) -> None:
        """Copy files to the objects of these names below this place, side by side."""
        store, names = _store(self), list(files)
        for some in (names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)):
            for write in [
                store.write((self / name).key, files[name].read_bytes()) for name in some
            ]:
                ask(self, write)

    def remove(self) -> None:
        """Remove everything below this place."""
        # The range ends before "0", the character after "/".
        ask(self, _store(self).delete_range(ts.KvStore.KeyRange(f"{self.key}/", f"{self.key}0")))


Place = Path | Remote


def at(place: str | Place) -> Place:
    """The place that a path or a URL names; a leading ``~`` is the home folder."""
    if not isinstance(place, str) or "://" not in place:
        if isinstance(place, Remote):
            return place
        check_utf8(f"corpus={str(place)!r}", path := expanded(place))
        return path
    scheme, _, rest = place.partition("://")
    remote = Remote(f"{scheme}://{rest.rstrip('/')}")
    _spec(remote.root)
    return remote


def kvstore(place: Place) -> Any:
    """Tensorstore's view of a folder."""
    if isinstance(place, Remote):
        return _store(place) / f"{place.key}/"
    return ask(
        place, ts.KvStore.open({"driver": "file", "path": f"{place.resolve()}/"}, context=CONTEXT)
    )


def ask(place: Place, future: Any) -> Any:
    """Wait for a store's answer, and turn its refusal into a :class:`UserError` of one line."""
    try:
        return future.result()
    except NotImplementedError:
        raise UserError(
            f"corpus: {place} can be read but not written; collect into a folder, gs:// or s3://"
        ) from None
    except _ERRORS as error:
        raise unreachable(place, error) from None


def is_unreachable(error: Exception) -> bool:
    """Whether an error of tensorstore's is about the connection, not about the content."""
    return str(error).startswith(_UNREACHABLE)


def unreachable(place: Place, error: Exception) -> UserError:
    """The error that says that a store cannot be reached."""
    rights = next(
        (f" ({how})" for scheme, how in RIGHTS.items() if str(place).startswith(scheme)), ""
    )
    return UserError(
        f"corpus: {place} cannot be reached ({first_line(error)}); check the address, the network"
        f" and your rights{rights}"
    )


def _store(place: Remote) -> Any:
    return ask(place, _connect(json.dumps(_spec(place.root))))


@cache
def _connect(spec: str) -> Any:
    return ts.KvStore.open(json.loads(spec), context=CONTEXT)


def _spec(root: str) -> dict[str, Any]:
    """Tensorstore's description of a corpus's URL.

    AWS_ENDPOINT_URL names an S3 of one's own, as in other programs.
    """
    try:
        spec = ts.KvStore.Spec(f"{root}/").to_json()
    except ValueError as error:
        reason = first_line(error).rsplit('": ', 1)[-1]
        raise UserError(
            f"corpus={root!r}: {reason}; give a folder's path, or a URL with {SCHEMES}"
        ) from None
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return spec | ({"endpoint": endpoint} if spec["driver"] == "s3" and endpoint else {})
