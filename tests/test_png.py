"""Small PNG files decoded together: Pillow's pixels, and what is not plain is left to Pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
from made_sets import SETS, needs_sets
from PIL import Image

from collect.data import png
from collect.data.images import Images

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def sliding(filters, lines, channels):
    """Lines as PNG's filters make them, by the standard's definitions."""
    made, above = [], np.zeros_like(lines[0])
    for number, line in zip(filters, lines, strict=True):
        zeros = np.zeros(channels, int)
        left, corner = (np.concatenate([zeros, row[:-channels]]) for row in (line, above))
        nearest = left + above - corner
        distances = [abs(nearest - near) for near in (left, above, corner)]
        paeth = np.choose(np.argmin(distances, axis=0), [left, above, corner])
        guess = [np.zeros_like(line), left, above, (left + above) // 2, paeth][number % 5]
        made.append(bytes([number]) + ((line - guess) % 256).astype(np.uint8).tobytes())
        above = line
    return b"".join(made)


def same(content):
    return content


def encoded(image, filters, change=same, squeeze=zlib.compress, bits=8, chunks=1):
    height, width, channels = image.shape
    content = squeeze(change(sliding(filters, image.reshape(height, -1).astype(int), channels)))
    header = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 3: 2}[channels], 0, 0, 0)
    cut = -(-len(content) // chunks)
    pieces = [content[at : at + cut] for at in range(0, len(content), cut)]
    pixels = b"".join(png._chunk(b"IDAT", piece) for piece in pieces)
    return SIGNATURE + png._chunk(b"IHDR", header) + pixels + png.END


def by_pillow(file, shape):
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image).reshape(shape)


def noise(count, shape):
    rng = np.random.default_rng(0)
    made = rng.integers(0, 256, (count, *shape), np.uint8)
    made[::2] //= 64  # the nearest of Paeth's three is often a tie
    return made, rng.integers(0, 5, (count, shape[0]))


@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (32, 32, 3), (1, 1, 1), (1, 7, 3), (9, 1, 3), (5, 13, 1), (128, 128, 3)]
)
def test_every_filter_gives_pillows_pixels(shape):
    wanted, filters = noise(30, shape)
    filters[:5] = np.arange(5)[:, None]  # each one alone, also as the first line's
    files = [encoded(image, own) for image, own in zip(wanted, filters, strict=True)]
    images = np.zeros_like(wanted)
    assert png.fill(images, files) == []
    np.testing.assert_array_equal(images, wanted)
    np.testing.assert_array_equal(images, [by_pillow(file, shape) for file in files])


@needs_sets
def test_mnist_is_plain_and_has_pillows_pixels():
    mnist = Images("mnist", str(SETS))
    records = [mnist._records[i] for i in range(0, 60_000, 300)]
    examples = [mnist._example.FromString(record).features.feature for record in records]
    files = [example["image"].bytes_list.value[0] for example in examples]
    images = np.zeros((len(files), 28, 28, 1), np.uint8)
    assert png.fill(images, files) == []
    np.testing.assert_array_equal(images, [by_pillow(file, (28, 28, 1)) for file in files])


def saved(image, form="png", **given):
    file = io.BytesIO()
    Image.fromarray(image).convert(given.pop("mode", "RGB")).save(file, form, **given)
    return file.getvalue()


def flipped(file, at):
    changed = bytearray(file)
    changed[at] ^= 1
    return bytes(changed)


def cut(lines):
    return zlib.compress(lines)[:-9]


IMAGE, FILTERS = noise(1, (6, 5, 3))
PLAIN = encoded(IMAGE[0], FILTERS[0])
OTHERS = {
    "nothing": b"",
    "a signature": SIGNATURE,
    "no pixels": SIGNATURE + PLAIN[8:33] + png.END,
    "no pixels, but their name": PLAIN[:33] + bytes(4) + b"IDAT" + png.END,
    "JPEG": saved(IMAGE[0], "jpeg"),
    "palette": saved(IMAGE[0], mode="P"),
    "alpha": saved(IMAGE[0], mode="RGBA"),
    "grey": saved(IMAGE[0], mode="L"),
    "another size": saved(IMAGE[0, 1:]),
    "another chunk": saved(IMAGE[0], dpi=(72, 72)),
    "two chunks of pixels": encoded(IMAGE[0], FILTERS[0], chunks=2),
    "interlaced": PLAIN[:8] + png._chunk(b"IHDR", PLAIN[16:28] + b"\1") + PLAIN[33:],
    "16 bits": encoded(IMAGE[0], FILTERS[0], bits=16),
    "a line too few": encoded(IMAGE[0], FILTERS[0], lambda lines: lines[:-16]),
    "a byte too many": encoded(IMAGE[0], FILTERS[0], lambda lines: lines + b"\0"),
    "an unknown filter": encoded(IMAGE[0], [0, 1, 7, 0, 1, 2]),
    "a wrong sum of the header": flipped(PLAIN, 30),
    "a wrong sum of the end": flipped(PLAIN, -1),
    "a wrong sum of the pixels": flipped(PLAIN, -17),
    "a flipped bit": flipped(PLAIN, 60),
    "no zlib": encoded(IMAGE[0], FILTERS[0], squeeze=bytes),
    "zlib without its end": encoded(IMAGE[0], FILTERS[0], squeeze=cut),
    "cut short": PLAIN[:-30],
    "without its end": PLAIN[:-12],
    "bytes behind its end": PLAIN + b"\0",
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_plain_is_left(other):
    images = np.zeros((3, 6, 5, 3), np.uint8)
    left = png.fill(images, [PLAIN, OTHERS[other], PLAIN])
    if other == "an unknown filter":  # which is seen while all are decoded
        assert left == [0, 1, 2]
    else:
        assert left == [1]
        np.testing.assert_array_equal(images[[0, 2]], IMAGE[[0, 0]])
    assert not images[1].any()


def test_a_wrong_sum_of_the_chunk_of_pixels_is_passed_over_as_pillow_does():
    images = np.zeros((1, 6, 5, 3), np.uint8)
    file = flipped(PLAIN, -13)
    assert png.fill(images, [file]) == []
    np.testing.assert_array_equal(images, IMAGE)
    np.testing.assert_array_equal(by_pillow(file, (6, 5, 3)), IMAGE[0])


def test_large_images_and_other_channels_and_none_at_all_are_left():
    for shape, mode in [((129, 128, 3), "RGB"), ((6, 5, 4), "RGBA"), ((6, 5, 2), "LA")]:
        file = saved(np.zeros((*shape[:2], 3), np.uint8), mode=mode)
        assert png.fill(np.zeros((2, *shape), np.uint8), [file, file]) == [0, 1]
    assert png.fill(np.zeros((0, 6, 5, 3), np.uint8), []) == []
