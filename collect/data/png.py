"""Decode many small PNG files at once, because Pillow spends most of its time on opening each."""

import struct
import zlib

import numpy as np
from jaxtyping import UInt8

KINDS = {1: (0, "L"), 3: (2, "RGB")}
"""PNG's colour type and Pillow's mode, by how many channels an image has."""
SMALL = 128 * 128
"""Pixels. Larger images take longer to decode than to open, and much memory if many are decoded."""


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    size, total = (struct.pack(">I", n) for n in (len(content), zlib.crc32(kind + content)))
    return size + kind + content + total


END = _chunk(b"IEND")


def fill(images: UInt8[np.ndarray, "B height width C"], files: list[bytes]) -> list[int]:
    """Decode the plain files to Pillow's pixels, and leave the others to the caller.

    A plain file is a small PNG of the images' shape, grey or RGB, with 8 bits a channel, not
    interlaced, whose pixels lie in one chunk, without chunks of other kinds between. Nothing is
    raised: a damaged file is not plain.

    Args:
        images: Filled with the plain files' pixels; the other images are left as they are.
        files: One for each image.

    Returns:
        The places of the files that are not plain, in order.
    """
    from PIL import Image

    height, width, channels = images.shape[1:]
    if channels not in KINDS or height * width > SMALL:
        return list(range(len(files)))
    colour, mode = KINDS[channels]
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    line = 1 + width * channels  # the number of a filter, and what it made of the pixels
    filtered = [_filtered(file, b"\x89PNG\r\n\x1a\n" + header, height * line) for file in files]
    lines = [part for part in filtered if part is not None]
    if not lines:
        return list(range(len(files)))
    # One tall image. Filters look at the line above: zeros are what a first line has there.
    tall = zlib.compress(bytes(line).join([*lines, b""]), level=0)
    try:
        decoded = Image.frombytes(mode, (width, len(lines) * (height + 1)), tall, "zip", mode)
    except ValueError:  # a filter's number that no filter has
        return list(range(len(files)))
    tops = np.asarray(decoded).reshape(len(lines), height + 1, width, channels)
    images[[part is not None for part in filtered]] = tops[:, :height]
    return [i for i, part in enumerate(filtered) if part is None]


def _filtered(file: bytes, start: bytes, size: int) -> bytes | None:
    """The ``size`` bytes that a plain file's filters left, or None for any other file."""
    first, end = len(start) + 8, len(file) - 4 - len(END)
    pixels = struct.pack(">I", max(0, end - first)) + b"IDAT"
    if not (file.startswith(start + pixels) and file.endswith(END)):
        return None
    try:
        lines = zlib.decompress(file[first:end])  # checks its sum; Pillow passes over the chunk's
    except zlib.error:
        return None
    return lines if len(lines) == size else None
