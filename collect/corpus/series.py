"""Find a series of checkpoints: their files, their order, and the steps between them."""

import glob
import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from collect.corpus.checkpoints import READERS, is_checkpoint
from nowcast.paths import dangling, expanded
from nowcast.types import UserError

STEP = re.compile(r"steps?[=_-]?(\d+)", re.IGNORECASE)
SHARD = re.compile(r"\d+-of-\d+")
FEWEST = 2


class Series(NamedTuple):
    """Checkpoints in order."""

    steps: list[int]
    paths: list[Path]
    every: int
    """Steps between two checkpoints."""


def find(checkpoints: str) -> Series:
    """The checkpoints that a folder or a pattern names.

    Raises:
        UserError: There are fewer than two, their names do not tell their order, or some are
            missing.
    """
    paths = _paths(checkpoints)
    if shard := next((path for path in paths if SHARD.search(path.name)), None):
        raise UserError(
            f"checkpoints: {shard} is a part of a checkpoint; save each checkpoint as one file"
        )
    steps = _steps(paths)
    order = sorted(range(len(paths)), key=lambda i: steps[i])
    ordered = [steps[i] for i in order]
    twice = next((one for one, other in pairwise(ordered) if one == other), None)
    if twice is not None:
        raise UserError(
            f"checkpoints: two are of step {twice}; give a pattern that names one of them"
        )
    return Series(ordered, [paths[i] for i in order], _every(ordered))


def _paths(checkpoints: str) -> list[Path]:
    place = expanded(checkpoints)
    if place.is_dir() and not is_checkpoint(place):
        found = [path for path in sorted(place.iterdir()) if is_checkpoint(path)]
        kinds = sorted({path.suffix if path.is_file() else "folders of Orbax" for path in found})
        if len(kinds) > 1:
            raise UserError(
                f"checkpoints={checkpoints}: holds {' and '.join(kinds)}; name one kind, such as"
                f" '{checkpoints}/*{kinds[0]}'"
            )
    else:
        found = [Path(path) for path in sorted(glob.glob(os.fspath(place), recursive=True))]
    if not found:
        lost = dangling(place)
        what = lost or ("no checkpoint is there" if place.is_dir() else "no such files")
        raise UserError(
            f"checkpoints={checkpoints}: {what}; give a folder or a pattern of {', '.join(READERS)}"
            " or Orbax folders"
        )
    if len(found) < FEWEST:
        raise UserError(
            f"checkpoints={checkpoints}: is one checkpoint, and a run takes a series; give a folder"
            " or a pattern of several"
        )
    for path in found:
        if lost := dangling(path):
            raise UserError(f"checkpoints: {lost}; remove the link, or give a narrower pattern")
        if not is_checkpoint(path):
            cure = (
                f"name the files in it, such as '{checkpoints}/*.safetensors'"
                if path.is_dir()
                else "give a narrower pattern"
            )
            raise UserError(f"checkpoints: {path} cannot be read as a checkpoint; {cure}")
        if path.is_file() and not path.stat().st_size:
            raise UserError(
                f"checkpoints: {path} is empty; copy it anew, or leave it out with a narrower"
                " pattern"
            )
    return found


def _steps(paths: list[Path]) -> list[int]:
    """The step in each name: the number after ``step``, or else the number that differs."""
    names = [os.fspath(path) for path in paths]
    said = [STEP.findall(name) for name in names]
    if all(said) and len({found[-1] for found in said}) == len(paths):
        return [int(found[-1]) for found in said]
    numbers = [[int(number) for number in re.findall(r"\d+", name)] for name in names]
    shapes = {re.sub(r"\d+", "#", name): name for name in names}
    if len(shapes) > 1:
        one, other, *_ = (Path(name).name for name in shapes.values())
        raise UserError(
            f"checkpoints: {one} and {other} differ in more than numbers; give a pattern of those"
            " that belong together"
        )
    columns = [column for column in zip(*numbers, strict=True) if len(set(column)) == len(paths)]
    orders = {tuple(sorted(range(len(paths)), key=column.__getitem__)) for column in columns}
    if len(orders) != 1:
        why = (
            "no number in which all differ"
            if not columns
            else "several numbers that order them differently"
        )
        raise UserError(
            f"checkpoints: the names, such as {paths[0].name}, have {why}; rename them to step_100"
            " and so on"
        )
    return list(columns[-1])


def _every(steps: list[int]) -> int:
    """The distance of the steps, which must be even; the last may be nearer."""
    apart = [after - before for before, after in pairwise(steps)]
    every = Counter(apart).most_common(1)[0][0]
    last = len(apart) - 1
    odd = [
        i
        for i, distance in enumerate(apart)
        if distance != every and not (i == last and distance < every)
    ]
    if not odd:
        return every
    before, after = steps[odd[0]], steps[odd[0] + 1]
    missing = list(range(before + every, after, every))
    if all(distance % every == 0 for distance in apart[:last]) and missing:
        named = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise UserError(
            f"checkpoints: {named} is missing between {before} and {after} (one every {every}"
            " steps); add it, or import what lies before and behind as two runs"
        )
    raise UserError(
        f"checkpoints: {before} and {after} are {after - before} steps apart, and most others"
        f" {every}; give a pattern of those that are evenly spaced"
    )
