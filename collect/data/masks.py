"""Images with the class of every pixel: scenes of digits, and the folder of PASCAL VOC 2012."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from collect.data import Dataset
from nowcast.paths import check_utf8, dangling, expanded
from nowcast.types import UserError, first_line

VOID = 255
"""The value of a pixel whose class is not said, in VOC's masks and in ours."""
WHERE = (
    "VOCtrainval_11-May-2012.tar, from host.robots.ox.ac.uk/pascal/VOC/voc2012, makes it:"
    " VOCdevkit/VOC2012"
)
VOC_CLASSES = 21
"""The background and 20 kinds of objects."""
CROP = 513
"""Pixels a side of the images that are kept: VOC's have 500 at most."""
GREY = 127
"""The value of the pixels around a VOC image."""
LISTS = {"train": "train", "validation": "val"}
SEED, SIDE, INK = 0x5CE0E, 64, 128
"""The seed of the scenes, their height and width, and the value from which a pixel is the digit."""


@dataclass(frozen=True, eq=False)
class Masked:
    """Images ``(N, height, width, C)`` and masks ``(N, height, width)`` of each split, uint8.

    A mask's value is the class of a pixel, or :data:`VOID`.
    """

    name: str
    classes: int
    images: dict[str, UInt8[np.ndarray, "_ height width C"]]
    masks: dict[str, UInt8[np.ndarray, "_ height width"]]


def scenes(data: Dataset, objects: int) -> Masked:
    """Scenes of 64×64 pixels, each of several images of a set at random places.

    Class 0 is the background, class 1 the set's first class. A pixel of half of the largest value
    or more is of the image's class, a fainter one is void, like the borders in VOC. Later images
    lie over earlier ones. Each image of the set is in one scene, and what is left over in none.

    Args:
        data: Grey images, at most 64 pixels high and wide.
        objects: Images in a scene.

    Raises:
        UserError: The images are not grey, or too large, or too few.

    Examples:
        >>> import numpy as np
        >>> images = {split: np.full((4, 8, 8, 1), 255, np.uint8) for split in ("train", "test")}
        >>> labels = {split: np.arange(4, dtype=np.int32) for split in images}
        >>> made = scenes(Dataset("squares", 4, images, labels), 2)
        >>> print(made.name, made.classes, made.images["train"].shape)
        squares_scenes2 5 (2, 64, 64, 1)
    """
    height, width, channels = data.image_shape
    if channels != 1 or max(height, width) > SIDE:
        raise UserError(
            f"data.name={data.name}: scenes are made of grey images of at most {SIDE} pixels, and"
            f" these are {height}×{width}×{channels}; give data=mnist, or the path of VOC 2012"
        )
    images, masks = {}, {}
    for number, split in enumerate(data.images):
        count = len(data.labels[split]) // objects
        if not count:
            raise UserError(
                f"task.objects={objects}: the {split} split of {data.name} has"
                f" {len(data.labels[split])} images; give fewer objects, or a larger"
                " data.train_size"
            )
        generator = np.random.default_rng((SEED, number))
        images[split] = np.zeros((count, SIDE, SIDE, 1), np.uint8)
        masks[split] = np.zeros((count, SIDE, SIDE), np.uint8)
        tops = generator.integers(0, SIDE - height + 1, (count, objects))
        lefts = generator.integers(0, SIDE - width + 1, (count, objects))
        for scene, item in np.ndindex(count, objects):
            place = scene * objects + item
            top, left = tops[scene, item], lefts[scene, item]
            box = scene, slice(top, top + height), slice(left, left + width)
            own = _bytes(data.images[split][place])
            kind = np.where(own[..., 0] < INK, VOID, 1 + data.labels[split][place])
            inside = own[..., 0] > 0
            images[split][box][inside] = own[inside]
            masks[split][box][inside] = kind[inside]
    return Masked(f"{data.name}_scenes{objects}", data.classes + 1, images, masks)


def _bytes(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.round(255 * image).astype(np.uint8)


def voc(path: str, train_size: int | None = None) -> Masked:
    """PASCAL VOC 2012 from the folder of its archive: 1,464 images for training, 1,449 held out.

    ``ImageSets/Segmentation/train.txt`` and ``val.txt`` name the images, ``JPEGImages`` holds them,
    and ``SegmentationClass`` their masks, PNG files whose palette's numbers are the classes. An
    image is padded to 513×513 pixels, grey, with a void mask.

    Args:
        path: The folder ``VOC2012``.
        train_size: How many of the first training images are taken; None: all.

    Raises:
        UserError: The folder or a file is missing, is damaged, or an image and its mask have
            different sizes.
    """
    folder = expanded(path)
    check_utf8(f"data.name={path!r}", folder)
    if not folder.is_dir():
        why = dangling(folder) or ("is a file" if folder.exists() else "is not there")
        raise UserError(f"data.name={path!r}: {why}; give the folder of VOC 2012; {WHERE}")
    images, masks = {}, {}
    for split, stem in LISTS.items():
        names = _listed(path, folder, stem)
        if split == "train" and train_size is not None:
            if train_size > len(names):
                raise UserError(
                    f"data.train_size={train_size}: {path} has 1 to {len(names)} training images"
                )
            names = names[:train_size]
        images[split] = np.full((len(names), CROP, CROP, 3), GREY, np.uint8)
        masks[split] = np.full((len(names), CROP, CROP), VOID, np.uint8)
        for place, name in enumerate(tqdm(names, f"read VOC's {stem}", delay=2, leave=False)):
            image, mask = _pair(path, folder, name)
            height, width = mask.shape
            images[split][place, :height, :width] = image
            masks[split][place, :height, :width] = mask
    return Masked("voc2012", VOC_CLASSES, images, masks)


def _listed(path: str, folder: Path, stem: str) -> list[str]:
    """The names of a split's images."""
    file = folder / "ImageSets" / "Segmentation" / f"{stem}.txt"
    try:
        names = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        names = []
    if not names:
        raise UserError(
            f"data.name={path!r}: holds no list {file.relative_to(folder)}; give the folder of VOC"
            f" 2012; {WHERE}"
        )
    return names


def _pair(path: str, folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """An image and its mask."""
    from PIL import Image

    kept = []
    for place, ending, mode in (("JPEGImages", "jpg", "RGB"), ("SegmentationClass", "png", "P")):
        file = folder / place / f"{name}.{ending}"
        said = f"data.name={path!r}: {file.relative_to(folder)}"
        try:
            with Image.open(file) as opened:
                if mode == "P" and opened.mode != "P":
                    raise UserError(
                        f"{said} has no palette ({opened.mode}); masks are PNG files with VOC's;"
                        f" {WHERE}"
                    )
                kept.append(np.asarray(opened if mode == "P" else opened.convert(mode)))
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(f"{said} is missing; unpack the archive again; {WHERE}") from None
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(
                f"{said} is damaged ({first_line(error)[:80]}); unpack the archive again; {WHERE}"
            ) from None
    image, mask = kept
    sizes = [f"{width}×{height}" for height, width in (image.shape[:2], mask.shape)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"data.name={path!r}: {name} has an image of {sizes[0]} pixels and a mask of"
            f" {sizes[1]}; unpack the archive again; {WHERE}"
        )
    if max(mask.shape) > CROP:
        raise UserError(
            f"data.name={path!r}: {name} has {sizes[0]} pixels, and VOC 2012 has 500 at most;"
            f" {WHERE}"
        )
    if (wrong := mask[(mask >= VOC_CLASSES) & (mask != VOID)]).size:
        raise UserError(
            f"data.name={path!r}: the mask of {name} has class {wrong[0]}, and VOC 2012 has 0 to"
            f" {VOC_CLASSES - 1} and {VOID}; {WHERE}"
        )
    return image, mask
