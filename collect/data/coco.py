"""People and their joints, from the files in which COCO keeps them.

``annotations/person_keypoints_train2017.json`` and ``…val2017.json`` hold the keypoints,
``train2017`` and ``val2017`` the images. Which people count follows the public Keras port of
OpenPose (``training/dataflow.py`` of
github.com/michalfaber/keras_Realtime_Multi-Person_Pose_Estimation): crowds, people with fewer than
five keypoints or less than 32² pixels, and people close to a larger one are hidden.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from nowcast.paths import check_utf8, dangling, expanded
from nowcast.types import UserError, first_line

WHERE = (
    "train2017.zip, val2017.zip and annotations_trainval2017.zip, from cocodataset.org, unpacked in"
    " one folder"
)
SPLITS = {"train": "train2017", "validation": "val2017"}
KEYPOINTS = 17
ORDER = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""COCO's keypoint of each of OpenPose's 18 joints; the neck is between the shoulders."""
SHOULDERS = 5, 6
FEWEST, SMALLEST, CLOSE = 5, 32**2, 0.3
"""Keypoints and pixels of a person at least, and the distance to another one, over its size."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image with people: where its file is, and what is told of them."""

    file: Path
    size: tuple[int, int]
    """Width and height."""
    joints: Float[np.ndarray, "P 18 2"]
    """Columns and rows of each person's joints, the largest person first; NaN: not labelled."""
    center: tuple[float, float]
    """The middle of the largest person's box: column and row."""
    height: float
    """The height of that box."""
    hidden: tuple[Any, ...]
    """The outlines of people who do not count."""


def read(path: str, name: str | None = None) -> dict[str, list[Example]]:
    """The examples of the training and validation images with people who count.

    Args:
        path: The folder.
        name: What named the folder in messages; None: ``data.name=PATH``.

    Raises:
        UserError: A file is missing or damaged, or annotations do not match the images.
    """
    key, folder = name or f"data.name={path!r}", expanded(path)
    check_utf8(key, folder)
    if not folder.is_dir():
        why = dangling(folder) or ("is a file" if folder.exists() else "is not there")
        raise UserError(f"{key}: {why}; give the folder of COCO's keypoints: {WHERE}")
    found = {split: _split(key, folder, stem) for split, stem in SPLITS.items()}
    for split, examples in found.items():
        if not examples:
            raise UserError(f"{key}: {SPLITS[split]} has no image with a person; {WHERE}")
    return found


def _split(key: str, folder: Path, stem: str) -> list[Example]:
    file = folder / "annotations" / f"person_keypoints_{stem}.json"
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in held["images"]}
        people: dict[Any, list[Any]] = {number: [] for number in images}
        annotations = held["annotations"]
    except FileNotFoundError:
        raise UserError(f"{key}: holds no {file.relative_to(folder)}; {WHERE}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{key}: {file.relative_to(folder)} is damaged ({first_line(error)[:80]}); {WHERE}"
        ) from None
    there = {each.name for each in (folder / stem).glob("*")}
    for image in images.values():
        if image["file_name"] not in there:
            raise UserError(
                f"{key}: {file.name} names {image['file_name']}, which is not in {stem}; {WHERE}"
            )
    for person in annotations:
        if person["image_id"] not in people:
            raise UserError(
                f"{key}: {file.name} has annotation {person['id']} of image {person['image_id']},"
                f" which it does not name; {WHERE}"
            )
        if len(person["keypoints"]) != 3 * KEYPOINTS:
            raise UserError(
                f"{key}: {file.name} has annotation {person['id']} of"
                f" {len(person['keypoints']) / 3:g} keypoints, and COCO has {KEYPOINTS}; {WHERE}"
            )
        people[person["image_id"]].append(person)
    examples = (_example(folder / stem, images[number], own) for number, own in people.items())
    return [example for example in examples if example is not None]


def _example(folder: Path, image: Any, people: list[Any]) -> Example | None:
    """An image's example; None where nobody counts."""
    width, height = image["width"], image["height"]
    joints, hidden = [], []
    boxes: list[tuple[Any, float, float]] = []
    for person in sorted(people, key=lambda person: -person["area"]):
        left, top, across, down = person["bbox"]
        middle = np.array([left + across / 2, top + down / 2])
        close = any(np.linalg.norm(middle - at) < CLOSE * size for at, size, _ in boxes)
        few = person["num_keypoints"] < FEWEST or person["area"] < SMALLEST
        if person["iscrowd"] or few or close:
            hidden.append(person["segmentation"])
            continue
        boxes.append((middle, max(across, down), down))
        joints.append(_joints(person["keypoints"], width, height))
    if not joints:
        return None
    middle, _, down = boxes[0]
    return Example(
        folder / image["file_name"],
        (width, height),
        np.stack(joints),
        (float(middle[0]), float(middle[1])),
        float(down),
        tuple(hidden),
    )


def _joints(keypoints: list[float], width: int, height: int) -> Float[np.ndarray, "18 2"]:
    """The joints of one person; those outside the image are not labelled."""
    given = np.asarray(keypoints, np.float32).reshape(KEYPOINTS, 3)
    x, y, seen = given.T
    known = (seen >= 1) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    places = np.where(known[:, None], given[:, :2], np.nan)
    neck = places[list(SHOULDERS)].mean(axis=0)
    return np.stack([neck if place is None else places[place] for place in ORDER])


def pixels(example: Example, key: str) -> tuple[np.ndarray, Bool[np.ndarray, "height width"]]:
    """``(image, shown)``: RGB bytes, and where nobody is who does not count.

    Raises:
        UserError: The image is damaged, or has another size than its annotation.
    """
    from PIL import Image

    try:
        with Image.open(example.file) as opened:
            image = np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{key}: {example.file.name} is damaged ({first_line(error)[:80]}); {WHERE}"
        ) from None
    size = image.shape[1], image.shape[0]
    if size != example.size:
        raise UserError(
            f"{key}: {example.file.name} has {size[0]}×{size[1]} pixels, and its annotation says"
            f" {example.size[0]}×{example.size[1]}; {WHERE}"
        )
    shown = np.ones(image.shape[:2], bool)
    for outline in example.hidden:
        shown &= ~covered(outline, size, f"{key}: {example.file.name}")
    return image, shown


def covered(outline: Any, size: tuple[int, int], said: str) -> Bool[np.ndarray, "height width"]:
    """The pixels of a person: within polygons, or of runs of pixels by columns.

    Polygons are filled by Pillow, which may differ from COCO's own program by a pixel at an edge.

    Args:
        outline: A list of polygons, ``[x1, y1, x2, y2, …]`` each; or ``counts``, runs of pixels
            outside and inside in turn, down the columns, and ``size``, height and width.
        size: Width and height of the image.
        said: What the message begins with.

    Raises:
        UserError: The outline is of neither kind.

    Examples:
        >>> runs = {"counts": [2, 3, 1], "size": [2, 3]}
        >>> print(covered(runs, (3, 2), "").astype(int))
        [[0 1 1]
         [0 1 0]]
    """
    from PIL import Image, ImageDraw

    if isinstance(outline, dict):
        counts: Any = outline.get("counts")
        own: Any = outline.get("size")
        whole = isinstance(counts, list) and own == [size[1], size[0]]
        if not whole or sum(counts) != size[0] * size[1]:
            raise UserError(
                f"{said} has a crowd whose runs are no list of numbers that fill its image; {WHERE}"
            )
        inside = np.arange(len(counts)) % 2 == 1
        return np.repeat(inside, counts).reshape(size[0], size[1]).T
    mask = Image.new("1", size)
    for polygon in outline:
        ImageDraw.Draw(mask).polygon([float(each) for each in polygon], fill=1)
    return np.asarray(mask)
