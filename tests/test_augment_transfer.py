"""The augmentation of the paper's transfer task: against NumPy's padding, Python's colours, and the
ranges of the published program.
"""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collect.data import augment

IMAGE = jax.random.uniform(jax.random.key(7), (10, 8, 3))


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-2, 1), (1, 2)])
def test_a_shift_shows_the_image_mirrored_at_its_edge(shift):
    padded = np.pad(np.asarray(IMAGE), ((4, 4), (4, 4), (0, 0)), mode="symmetric")
    top, left = 4 - shift[0], 4 - shift[1]
    got = augment.moved(IMAGE, jnp.array(shift))
    np.testing.assert_array_equal(got, padded[top : top + 10, left : left + 8])


@pytest.mark.parametrize("centre", [(5, 4), (0, 0), (9, 7)])
def test_a_hole_is_grey_and_cut_by_the_edge(centre):
    wanted = np.array(IMAGE)
    rows = slice(max(0, centre[0] - 2), centre[0] + 2)  # int(0.4 * 10) // 2
    columns = slice(max(0, centre[1] - 1), centre[1] + 1)  # int(0.4 * 8) // 2
    wanted[rows, columns] = np.float32(127 / 255)
    np.testing.assert_array_equal(augment.cut_out(IMAGE, jnp.array(centre)), wanted)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.5])
def test_saturation_is_that_of_hsv(factor):
    def theirs(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
        return colorsys.hsv_to_rgb(hue, min(1.0, saturation * factor), value)

    image = IMAGE.at[0, 0].set(0.3).at[0, 1].set(0)  # grey and black have no saturation
    wanted = [[theirs(pixel) for pixel in row] for row in np.asarray(image)]
    np.testing.assert_allclose(augment.saturated(image, jnp.float32(factor)), wanted, atol=1e-6)


def test_contrast_keeps_the_mean_of_each_channel():
    got = augment.contrasted(0.5 + 0.1 * IMAGE, jnp.float32(0.8))
    image = 0.5 + 0.1 * np.asarray(IMAGE)
    mean = image.mean(axis=(0, 1))
    np.testing.assert_allclose(got, mean + 0.8 * (image - mean), atol=1e-6)
    assert augment.contrasted(IMAGE, jnp.float32(5)).min() == 0


def test_the_draws_have_the_published_ranges(monkeypatch):
    """Each step alone, on images of coordinates: the others do nothing."""
    still = {"moved": lambda x, _: x, "cut_out": lambda x, _: x}
    still |= {"contrasted": lambda x, _: x, "saturated": lambda x, _: x}
    found = {}
    for name in still:

        def probe(image, drawn):
            return jnp.broadcast_to(jnp.ravel(drawn)[:2].astype(jnp.float32), image.shape)

        for other, nothing in still.items():
            monkeypatch.setattr(augment, other, probe if other == name else nothing)
        images = jnp.zeros((2000, 30, 20, 2))
        got = augment.AUGMENTS["flip_shift_cutout"](jax.random.key(0), images)
        found[name] = np.asarray(got[:, 0, 0])
    for axis, size in enumerate((30, 20)):
        shifts, centres = found["moved"][:, axis], found["cut_out"][:, axis]
        assert set(shifts) == set(range(-size // 5, size // 5 + 1))
        assert set(centres) == set(range(size))
    for name, low, high in (("contrasted", 0.8, 1.2), ("saturated", 0.5, 1.5)):
        values = found[name][:, 0]
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03)


def test_half_of_the_images_are_mirrored(monkeypatch):
    for name in ("moved", "cut_out", "contrasted", "saturated"):
        monkeypatch.setattr(augment, name, lambda image, _: image)
    images = jnp.broadcast_to(IMAGE, (400, *IMAGE.shape))
    got = np.asarray(augment.AUGMENTS["flip_shift_cutout"](jax.random.key(0), images))
    mirrored = [np.array_equal(one, np.asarray(IMAGE)[:, ::-1]) for one in got]
    plain = [np.array_equal(one, np.asarray(IMAGE)) for one in got]
    assert sum(mirrored) + sum(plain) == 400
    assert 160 < sum(mirrored) < 240
