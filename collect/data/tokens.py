"""Turn text into tokens and back: characters, bytes, or pieces.

Pieces are those of a tokenizer's file, or are learned from the training text.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from collect.data.text import Texts
from nowcast.paths import expanded
from nowcast.types import UserError, first_line

CHARACTERS, BYTES, BPE = "characters", "bytes", "bpe"
MERGES = 10_000
"""Pairs that ``bpe`` joins, as many as in the program of :mod:`collect.tasks.masked_language`."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
FITS = 0.9
"""The share of a text's characters, apart from blanks, that a tokenizer must know."""

Encode = Callable[[str], Int[np.ndarray, "tokens"]]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as numbers below ``vocabulary``, per split."""

    name: str
    vocabulary: int
    splits: dict[str, np.ndarray]
    decode: Callable[[np.ndarray], str]


def encode(texts: Texts, tokens: str, train_size: int | None = None) -> Tokens:
    """Turn the texts of all splits into tokens.

    Args:
        texts: The texts of all splits.
        tokens: ``characters``, those of the training text (others are one token more); ``bytes``,
            of UTF-8; ``bpe``, 256 bytes and 10,000 pieces that byte-pair encoding finds in the
            training text (Sennrich et al., ACL 2016), by Hugging Face's ``tokenizers``; or the path
            of a tokenizer's file, as that library writes it.
        train_size: Use the first so many training tokens only.
    """
    vocabulary, into, decode = _kind(texts, tokens)
    splits = {split: into(text) for split, text in texts.splits.items()}
    available = len(splits["train"])
    if train_size is not None:
        if not 1 <= train_size <= available:
            raise UserError(
                f"data.train_size={train_size}: {texts.name} has 1 to {available} training tokens"
                " to give"
            )
        splits["train"] = splits["train"][:train_size]
    kind = np.uint8 if vocabulary <= 2**8 else np.uint16 if vocabulary <= 2**16 else np.int32
    splits = {split: numbers.astype(kind) for split, numbers in splits.items()}
    name = texts.name
    # The path of a file is not enough: another machine may have another file there.
    if texts.folder or tokens not in (
        CHARACTERS,
        BYTES,
    ):
        digest = hashlib.sha256(
            b"".join(numbers.tobytes() for numbers in splits.values())
        ).hexdigest()[:8]
        name = f"{name}-{digest}"
    elif tokens == BYTES:
        name = f"{name}-bytes"
    return Tokens(name, vocabulary, splits, decode)


def _kind(texts: Texts, tokens: str) -> tuple[int, Encode, Callable[[np.ndarray], str]]:
    if tokens == CHARACTERS:
        return _characters(texts)
    if tokens == BYTES:
        return (
            256,
            _bytes,
            lambda numbers: bytes(numbers.tolist()).decode("utf-8", errors="replace"),
        )
    return _learned(texts) if tokens == BPE else _tokenizer(texts, tokens)


def _bytes(text: str) -> Int[np.ndarray, "tokens"]:
    return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)


def _characters(texts: Texts) -> tuple[int, Encode, Callable[[np.ndarray], str]]:
    """The characters of the training text as tokens.

    One more token stands for all other characters, where the other splits have some.
    """
    known = sorted(set(texts.splits["train"]))
    lacking = set().union(*texts.splits.values()) - set(known)
    points = np.array([ord(letter) for letter in known], np.int32)

    def into(text: str) -> Int[np.ndarray, "tokens"]:
        own = np.frombuffer(text.encode("utf-32-le"), np.int32)
        places = np.minimum(np.searchsorted(points, own), len(points) - 1)
        return np.where(points[places] == own, places, len(points)).astype(np.int32)

    letters = [*known, UNKNOWN]
    return (
        len(known) + bool(lacking),
        into,
        lambda numbers: "".join(letters[number] for number in numbers.tolist()),
    )


def _tokenizer(texts: Texts, path: str) -> tuple[int, Encode, Callable[[np.ndarray], str]]:
    key = f"task.tokens={path}"
    file = expanded(path)
    if not file.is_file():
        raise UserError(
            f"{key}: is not a file; give characters, bytes, bpe, or the path of a tokenizer.json"
        )
    tokenizer = _read(key, file)
    unknown = getattr(tokenizer.model, "unk_token", None)
    unknown = None if unknown is None else tokenizer.token_to_id(unknown)
    vocabulary = 1 + max(tokenizer.get_vocab().values(), default=0)

    def into(text: str) -> Int[np.ndarray, "tokens"]:
        try:
            encoded = tokenizer.encode(text, add_special_tokens=False)
        except Exception as error:  # whatever the library makes of a word without a token
            raise UserError(
                f"{key}: does not fit {texts.name} ({first_line(error)}); give another one"
            ) from None
        numbers = np.array(encoded.ids, np.int32)
        spans = np.array(encoded.offsets, np.int64).reshape(-1, 2)
        covered = np.zeros(len(text), bool)
        for (start, end), number in zip(spans.tolist(), encoded.ids, strict=True):
            covered[start:end] |= number != unknown
        solid = np.array([not letter.isspace() for letter in text], bool)
        share = covered[solid].mean() if solid.any() else 0.0
        if share < FITS:
            raise UserError(
                f"{key}: does not fit {texts.name}: it knows {100 * share:.0f} % of the characters;"
                " give another one, or characters or bytes"
            )
        return numbers

    return vocabulary, into, lambda numbers: str(tokenizer.decode(numbers.tolist()))


def _learned(texts: Texts) -> tuple[int, Encode, Callable[[np.ndarray], str]]:
    """Pieces of the training text: bytes, and the pairs that are joined first.

    Pieces begin with a blank where a word does, and do not cross words, as GPT-2's do.
    """
    library = _library(f"task.tokens={BPE}")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=256 + MERGES,
        min_frequency=3,
        show_progress=False,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts.splits["train"].splitlines(keepends=True), trainer)
    return (
        tokenizer.get_vocab_size(),
        lambda text: np.array(tokenizer.encode(text).ids, np.int32),
        lambda numbers: str(tokenizer.decode(numbers.tolist())),
    )


def _library(key: str) -> Any:
    try:
        import tokenizers
    except ImportError:
        cure = "pip install 'weight-nowcaster[language]'"
        raise UserError(
            f"{key}: needs the package tokenizers: {cure}; or give characters or bytes"
        ) from None
    return tokenizers


def _read(key: str, file: Path) -> Any:
    library = _library(key)
    try:
        return library.Tokenizer.from_file(str(file))
    except Exception as error:  # whatever the library makes of a file that is something else
        raise UserError(
            f"{key}: is not a tokenizer's file ({first_line(error)[:80]}); give a tokenizer.json"
        ) from None
