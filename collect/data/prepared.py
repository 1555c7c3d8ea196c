"""Find and read sets that TensorFlow Datasets has prepared, without TensorFlow.

The files are array_record.
"""

import contextlib
import importlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from nowcast.paths import check_utf8, check_writable, expanded
from nowcast.types import UserError, first_line

NAME = re.compile(r"\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
"""A set's name in TFDS: ``mnist``, ``emnist/letters``, ``mnist:3.0.1``."""

T = TypeVar("T")


def located(directory: str | None) -> Path:
    """The folder of the prepared sets.

    It is the given one, ``$TFDS_DATA_DIR``, or ``~/tensorflow_datasets``.
    """
    given = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = expanded(
        given, "name the folder of the prepared sets: data.dir=… or TFDS_DATA_DIR=…"
    ).absolute()
    check_utf8(f"data.dir={str(folder)!r}", folder)
    return folder


def short(name: str) -> str:
    """A set's name as part of a task's name: ``-`` instead of ``/`` and ``:``."""
    return name.replace("/", "-").replace(":", "-")


def builder(name: str, folder: Path, kind: str) -> Any:
    """The reader of a prepared set.

    A missing set is prepared first, where TFDS can do so without TensorFlow.

    Args:
        name: The name of the set in TFDS.
        folder: The folder of all prepared sets.
        kind: What the caller reads, for the message that refuses a name: ``image classification
            sets``.
    """
    tfds = importlib.import_module("tensorflow_datasets")
    from tensorflow_datasets.core import read_only_builder

    try:
        return read_only_builder.builder_from_files(
            name, data_dir=str(folder), file_format="array_record"
        )
    # TFDS raises all sorts where files are damaged; or the set is not there, or in another format.
    except Exception as error:
        if lies := _newest_version(name, folder):
            raise damaged(name, lies, error) from None
    if re.split("[/:]", name)[0] not in tfds.list_builders(with_community_datasets=False):
        raise UserError(
            f"data.name={name!r} is unknown; give {kind} of TensorFlow Datasets;"
            f" of these {folder} holds {', '.join(_prepared(folder)) or 'none'}"
        )
    try:
        return _prepare(name, folder)
    except (
        Exception
    ) as error:  # whatever a missing network, manual download, or TensorFlow makes TFDS say
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:90]
        raise UserError(
            f"data.name={name!r}: not in {folder} (array_record files are wanted) and cannot be"
            f" downloaded ({reason}…); prepare it where there are a network and TensorFlow:"
            f" {_build(name, folder)}; or name another folder: data.dir=… or TFDS_DATA_DIR=…"
        ) from None


def _build(name: str, folder: Path) -> str:
    """The command that prepares a set."""
    return f"tfds build {name} --file_format=array_record --data_dir={shlex.quote(str(folder))}"


def _newest_version(name: str, folder: Path) -> Path | None:
    """The folder of a set's newest version, if it has ``array_record`` files or only descriptions.

    Without a configuration in the name, the set's default one counts.
    """
    base, _, version = name.partition(":")
    metadata = folder / base / ".config" / "metadata.json"
    if "/" not in base and metadata.exists():
        try:
            base = (
                f"{base}/{json.loads(metadata.read_text(encoding='utf-8'))['default_config_name']}"
            )
        except (OSError, ValueError, KeyError, TypeError):
            return metadata.parent
    for place in sorted((folder / base).glob(version or "*.*.*"), reverse=True):
        held = {path.name for path in place.glob("*")}
        described = not held.isdisjoint({"dataset_info.json", "features.json"})
        if (
            not held
            or any(".array_record" in file for file in held)
            or (described and not any(".tfrecord" in file for file in held))
        ):
            return place
    return None


def damaged(name: str, lies: str | os.PathLike[str], error: Exception | str) -> UserError:
    """The error that says that a set is damaged."""
    place, said = Path(lies), error if isinstance(error, str) else first_line(error)[:120]
    said = re.sub(r" <[^<>]*>", "", said).rstrip(":")  # Python's own names of objects
    # There is no folder of a configuration in between.
    without_configuration = "/" not in name and place.parent.name == name.partition(":")[0]
    folder = place.parents[1 if without_configuration else 2]
    return UserError(
        f"data.name={name!r}: the prepared set in {str(place)!r} is damaged ({said}); "
        f"remove that folder and prepare it again: {_build(name, folder)}"
    )


def read(name: str, lies: str | os.PathLike[str], reading: Callable[[], T]) -> T:
    """Read from a prepared set, and turn errors into one that names the set."""
    try:
        return reading()
    except UserError:
        raise
    except Exception as error:  # whatever a file that is cut, empty or lost makes the readers say
        raise damaged(name, lies, error) from None


def _prepare(name: str, folder: Path) -> Any:
    """Download and prepare a set, in a temporary folder until all is well.

    Progress bars are shown on a terminal only.
    """
    tfds = importlib.import_module("tensorflow_datasets")
    from tensorflow_datasets.core.download import downloader

    # The default of ten takes minutes to notice that there is no network.
    downloader.MAX_RETRIES = 2
    check_writable(f"data.dir={str(folder)!r}", folder)
    terminal = sys.stderr.isatty()
    with (
        tempfile.TemporaryDirectory(prefix="weight-nowcaster-") as work,
        contextlib.redirect_stdout(sys.stderr if terminal else io.StringIO()),
        contextlib.nullcontext() if terminal else contextlib.redirect_stderr(io.StringIO()),
    ):
        builder = tfds.builder(name, data_dir=f"{work}/sets", file_format="array_record")
        builder.download_and_prepare(download_dir=f"{work}/downloads")
        made = Path(builder.data_dir)
        final = folder / made.relative_to(f"{work}/sets")
        fresh = final.with_name(f"incomplete.{os.getpid()}_{final.name}")  # TFDS's own name for it
        shutil.copytree(made, fresh)
        fresh.rename(final)
    return tfds.builder_from_directory(str(final))


def _prepared(folder: Path) -> list[str]:
    """Names of the sets in a folder, with those of their configurations."""
    described = [
        file for depth in ("*/*", "*/*/*") for file in folder.glob(f"{depth}/features.json")
    ]
    return sorted({file.parent.parent.relative_to(folder).as_posix() for file in described})


@contextlib.contextmanager
def without_messages() -> Iterator[None]:
    """Silence TFDS's advice (a missing OpenCV, other versions) and deprecation warnings."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3", "etils")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
