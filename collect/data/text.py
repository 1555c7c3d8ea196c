"""Texts: a set that TensorFlow Datasets has prepared, or a folder of files.

A text is held in memory whole.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from collect.data import prepared
from nowcast.paths import check_utf8, dangling, expanded
from nowcast.types import UserError

KIND = "a folder of .txt files by its path (./my_texts), and the text sets"
SPLITS = ("train", "validation", "test")
SHARE = 0.05
"""The share of a training text, from its end, for each split that is missing."""
AT_ONCE = 1000
WIKITEXT = {"train": "wiki.train", "validation": "wiki.valid", "test": "wiki.test"}
"""The files of a folder of WikiText (Merity et al., ICLR 2017), by split, without their ending."""
ENDINGS = (".tokens", ".raw")
WHERE = "WikiText-2 is in wikitext-2-v1.zip, from wikitext.smerity.com"


@dataclass(frozen=True)
class Texts:
    """A text per split; ``validation`` and ``test`` are never trained on unless asked for."""

    name: str
    splits: dict[str, str]
    folder: bool
    """Whether the text is from a folder of the user's, whose name does not identify it."""


def is_path(name: str) -> bool:
    """Whether a name of data is the path of a folder: it begins with ``/``, ``.`` or ``~``.

    Examples:
        >>> is_path("./my_texts"), is_path("lm1b/subwords8k")
        (True, False)
    """
    return name.startswith(("/", ".", "~"))


def load(name: str, *, directory: str | None = None, validation: bool = True) -> Texts:
    """Load a text by name.

    Where a set has no validation or test split (a folder has neither), the end of its training text
    is taken: the last twentieth for the test, the one before for validation.

    Args:
        name: A set of TensorFlow Datasets with a feature ``text``, or the path of a folder: all its
            ``.txt`` files, in the order of their paths, one after another. A folder of WikiText is
            read as its authors divide it: ``wiki.train.tokens``, ``wiki.valid.tokens`` and
            ``wiki.test.tokens``, or with the ending ``.raw``.
        directory: Where the prepared sets lie, if not in the usual place.
        validation: Whether there is a validation split; if not, its text is for training too.
    """
    found = _folder(name) if is_path(name) else _set(name, directory)
    train = found["train"]
    for split in ("test", "validation"):
        if split not in found:
            cut = len(train) - round(SHARE * len(found["train"]))
            train, found[split] = train[:cut], train[cut:]
    found["train"] = train
    if not validation:
        found["train"] += found.pop("validation")
    return Texts(
        _short(name), {split: found[split] for split in SPLITS if split in found}, is_path(name)
    )


def _short(name: str) -> str:
    """A short name: a path's last folder, or a set's name without ``/`` and ``:``."""
    if is_path(name):
        return "".join(
            letter if letter.isalnum() or letter in "_." else "_"
            for letter in Path(name).resolve().name
        )
    return prepared.short(name)


def _folder(name: str) -> dict[str, str]:
    """The text of each split that a folder has."""
    folder = expanded(name)
    check_utf8(f"data.name={name!r}", folder)
    if not folder.is_dir():
        why = dangling(folder) or ("is a file" if folder.exists() else "is not there")
        raise UserError(
            f"data.name={name!r}: {why}; give the path of a folder that holds .txt files, or those"
            f" of WikiText ({WHERE})"
        )
    ending = next((one for one in ENDINGS if (folder / f"{WIKITEXT['train']}{one}").exists()), None)
    if ending:
        files = {split: folder / f"{stem}{ending}" for split, stem in WIKITEXT.items()}
        if missing := [file.name for file in files.values() if not file.is_file()]:
            raise UserError(f"data.name={name!r}: holds no {missing[0]}; {WHERE}")
        return {split: _read(file) for split, file in files.items()}
    found = sorted(
        path for path in folder.rglob("*.txt") if path.is_file() and not _is_hidden(path, folder)
    )
    if not found:
        raise UserError(
            f"data.name={name!r}: holds no .txt file; give the path of a folder that does, or of"
            f" one that holds WikiText ({WHERE})"
        )
    return {"train": "\n".join(map(_read, found))}


def _read(file: Path) -> str:
    """The text of a file."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{str(file)!r}: is not UTF-8 at byte {error.start}; convert it, or move it away"
        ) from None
    if not text.strip():
        raise UserError(f"{str(file)!r}: is empty; fill it, or move it away")
    return text


def _set(name: str, directory: str | None) -> dict[str, str]:
    """The text of each of our splits that a prepared set has.

    Examples are joined one after another.
    """
    if name == "digits":
        raise UserError(
            "data.name='digits': is not a text; give data=tiny_shakespeare, a text set, or a"
            " folder's path"
        )
    folder = prepared.located(directory)
    with prepared.without_messages():
        builder = prepared.builder(name, folder, KIND)
        _check_feature(builder, name)
        if "train" not in builder.info.splits:
            raise UserError(
                f"data.name={name!r}: has no training split, only {', '.join(builder.info.splits)}"
            )
        texts = {
            split: prepared.read(name, builder.data_dir, partial(_joined, builder, split))
            for split in SPLITS
            if split in builder.info.splits
        }
    for split, text in texts.items():
        if not text.strip():
            raise UserError(f"data.name={name!r}: the {split} text is empty; choose another set")
    return texts


def _joined(builder: Any, split: str) -> str:
    records = builder.as_data_source(split=split)
    parts = []
    for start in range(0, len(records), AT_ONCE):
        examples = records.__getitems__(list(range(start, min(start + AT_ONCE, len(records)))))
        parts += [example["text"] for example in examples]
    return "\n".join(
        part.decode("utf-8") if isinstance(part, bytes) else str(part) for part in parts
    )


def _check_feature(builder: Any, name: str) -> None:
    """Refuse a set without text."""
    from tensorflow_datasets import features

    held = builder.info.features
    own = dict(held.items()) if isinstance(held, features.FeaturesDict) else {}
    if not isinstance(own.get("text"), features.Text):
        kinds = [f"{key} ({type(value).__name__})" for key, value in sorted(own.items())]
        raise UserError(
            f"data.name={name!r}: no text; that takes a feature text (Text), and it has"
            f" {', '.join(kinds) or type(held).__name__}; give data=tiny_shakespeare, another set,"
            " or a folder's path"
        )


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
