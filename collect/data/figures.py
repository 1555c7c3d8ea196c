"""Articulated figures, drawn from a fixed seed, with their joints in COCO's files.

:mod:`collect.data.coco` reads what is written here, as it reads COCO.
"""

import json
import math
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from collect.data import cache
from collect.data.coco import KEYPOINTS, SPLITS
from nowcast.types import UserError

NAME = "figures"
VERSION = 1
COUNTS = {"train": 640, "validation": 128}
WIDTH, HEIGHT = 144, 112
"""Pixels of an image."""
SEED = 0xF16
LINES = (
    *(((5, 7), 0), ((7, 9), 0), ((11, 13), 0), ((13, 15), 0)),
    *(((6, 8), 1), ((8, 10), 1), ((12, 14), 1), ((14, 16), 1)),
    *(((5, 6), 2), ((11, 12), 2), ((5, 11), 2), ((6, 12), 2)),
)
"""What is drawn between COCO's keypoints: the left limbs, the right limbs, the trunk."""


def folder() -> Path:
    """The folder with the figures, in the cache; they are drawn where it is not there.

    Raises:
        UserError: The cache cannot be written.
    """
    place = cache.cache_root() / f"{NAME}-{VERSION}"
    if place.is_dir():
        return place
    cache.check_cache()
    fresh = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        write(fresh, COUNTS)
        try:
            fresh.rename(place)
        except OSError:
            if not place.is_dir():  # another process was first
                raise
    except OSError as error:
        raise UserError(
            f"cache {str(place.parent)!r}: cannot be written ({error.strerror}); {cache.CURE}"
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return place


def write(place: Path, counts: dict[str, int]) -> None:
    """Draw figures into a folder.

    An image has one figure, or two side by side. One in six of the second ones is labelled so
    little that it does not count.

    Args:
        place: The folder, which is made.
        counts: Images of each split.
    """
    (place / "annotations").mkdir(parents=True)
    for number, (split, count) in enumerate(counts.items()):
        stem = SPLITS[split]
        (place / stem).mkdir()
        images: list[dict[str, Any]] = []
        people: list[dict[str, Any]] = []
        for each in tqdm(range(count), f"draw {split} figures", delay=2, leave=False):
            generator = np.random.default_rng((SEED, number, each))
            file = f"{each:06}.png"
            picture, own = _image(generator)
            picture.save(place / stem / file, compress_level=1)
            images.append({"id": each, "file_name": file, "width": WIDTH, "height": HEIGHT})
            people += [{"id": len(people) + i, "image_id": each} | one for i, one in enumerate(own)]
        held = {"images": images, "annotations": people}
        text = json.dumps(held, separators=(",", ":"))
        file = f"person_keypoints_{stem}.json"
        (place / "annotations" / file).write_text(text, encoding="utf-8")


def _image(generator: np.random.Generator) -> tuple[Any, list[dict[str, Any]]]:
    """A picture and its annotations."""
    from PIL import Image, ImageDraw

    shade = generator.integers(0, 90, 3)
    noise = generator.normal(0, 12, (HEIGHT, WIDTH, 3))
    picture = Image.fromarray(np.clip(shade + noise, 0, 255).astype(np.uint8))
    draw, people = ImageDraw.Draw(picture), []
    two = generator.uniform() < 0.5
    for number in range(1 + two):
        middle = WIDTH * (0.5 if not two else 0.27 + 0.46 * number) + generator.uniform(-6, 6)
        joints = _figure(generator, middle)
        _draw(draw, joints, generator)
        people.append(_annotation(joints, few=number == 1 and generator.uniform() < 1 / 6))
    return picture, people


def _figure(generator: np.random.Generator, middle: float) -> Float[np.ndarray, "17 2"]:
    """The keypoints of one figure, columns and rows, in COCO's order."""
    size = generator.uniform(0.85, 1.15)
    lean = generator.uniform(-0.25, 0.25)
    hips = np.array([middle, 66 + generator.uniform(-5, 5)])

    def along(angle: float, length: float) -> np.ndarray:
        """A step of a length; at angle 0 downwards, and to the right as the angle grows."""
        return size * length * np.array([math.sin(angle), math.cos(angle)])

    neck = hips + along(math.pi + lean, 26)
    across = along(math.pi / 2 + lean, 1)
    head = neck + along(math.pi + lean + generator.uniform(-0.2, 0.2), 11)
    joints = np.zeros((KEYPOINTS, 2))
    joints[0] = head
    for side, place in ((1, 0), (-1, 1)):  # it faces us: its left is on our right
        joints[1 + place] = head + side * 2.5 * across - along(lean, 2)
        joints[3 + place] = head + side * 5 * across
        shoulder, hip = neck + side * 9 * across, hips + side * 6 * across
        raised, bent = generator.uniform(-0.2, 2.6), generator.uniform(-0.3, 1.6)
        elbow = shoulder + along(side * raised, 14)
        spread, knee_bent = generator.uniform(-0.15, 0.9), generator.uniform(-0.9, 0.1)
        knee = hip + along(side * spread, 17)
        joints[[5 + place, 7 + place]] = shoulder, elbow
        joints[9 + place] = elbow + along(side * (raised + bent), 13)
        joints[[11 + place, 13 + place]] = hip, knee
        joints[15 + place] = knee + along(side * (spread + knee_bent), 16)
    return joints


def _draw(draw: Any, joints: np.ndarray, generator: np.random.Generator) -> None:
    """Limbs as thick lines: the left side reddish, the right side bluish, the trunk grey."""
    bright = generator.uniform(0.75, 1)
    colours = [(235, 110, 70), (80, 140, 240), (200, 200, 190)]
    own = [tuple(int(bright * part) for part in colour) for colour in colours]
    for (start, end), kind in LINES:
        draw.line([*joints[start], *joints[end]], fill=own[kind], width=4)
    x, y = joints[0]
    draw.ellipse([x - 6, y - 7, x + 6, y + 7], fill=own[2])
    for place, kind in ((1, 0), (2, 1)):
        x, y = joints[place]
        draw.ellipse([x - 1, y - 1, x + 1, y + 1], fill=own[kind])


def _annotation(joints: np.ndarray, *, few: bool) -> dict[str, Any]:
    """What COCO tells of a person; of one that is labelled little, the head alone."""
    limits = np.array([WIDTH, HEIGHT])
    inside = np.all((joints >= 0) & (joints < limits), axis=1)
    known = inside & (np.arange(KEYPOINTS) < 3) if few else inside
    keypoints = np.where(known[:, None], np.c_[np.round(joints, 1), 2 * known], 0)
    left, top = np.clip(joints.min(axis=0) - 4, 0, None)
    right, bottom = np.minimum(joints.max(axis=0) + 4, (WIDTH, HEIGHT))
    box = [round(float(each), 1) for each in (left, top, right - left, bottom - top)]
    outline = [left, top, right, top, right, bottom, left, bottom]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int(known.sum()),
        "keypoints": [round(float(each), 1) for each in keypoints.ravel()],
        "bbox": box,
        "area": round(box[2] * box[3], 1),
        "segmentation": [[round(float(each), 1) for each in outline]],
    }
