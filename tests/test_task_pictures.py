"""Pictures that a task makes of its runs: in the report, of each arm's first seed."""

import base64
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import nowcast
from collect.tasks import LOSS
from evaluate import Arm
from evaluate.comparison import compare, write
from evaluate.task_pictures import encoded
from nowcast.types import UserError


class Slope:
    """Fits one slope; the picture has the slope's brightness."""

    name, steps_per_epoch, metrics, splits = "slope", 4, (LOSS,), ("validation",)
    arrays = ()

    def __init__(self):
        self.labels = nowcast.label_ops(self.init(0)[0])

    def init(self, seed):
        return {"kernel": jnp.full((1, 1), 0.1 * (seed + 1))}, {}

    def order(self, seed, epoch):
        return np.zeros((4, 1), np.int32)

    def batch(self, arrays, indices, key=None):
        return jnp.ones((8, 1))

    def loss(self, params, extra, batch, key=None):
        return jnp.mean((batch @ params["kernel"] - 0.5) ** 2), extra

    def evaluate(self, params, extra, split):
        return {"loss": float((params["kernel"][0, 0] - 0.5) ** 2) + 1e-6}

    def picture(self, params, extra):
        return np.full((5, 7, 3), params["kernel"])


def test_the_report_shows_the_picture_of_each_arms_first_seed(tmp_path):
    arms = {"constant": Arm(), "linear": Arm(over="constant", forecaster="linear")}
    found = compare(
        Slope(), arms, tmp_path, epochs=12, seeds=[3, 0], calibration_seeds=[9], workers=1
    )
    write(tmp_path, found)
    page = (tmp_path / "report.html").read_text()
    shown = dict(re.findall(r'alt="(\w+)" src="data:image/png;base64,([^"]+)"', page))
    assert list(shown) == ["constant", "linear"]
    for name, text in shown.items():
        file = base64.b64decode(text)
        assert file == (tmp_path / "runs" / name / "0.001" / "seed3.png").read_bytes()
        pixels = np.asarray(Image.open(io.BytesIO(file)))
        assert pixels.shape == (5, 7, 3)
        # from 0.4, 48 steps of Adam at a rate of 0.001
        assert 0.4 < pixels.max() / 255 <= 0.5
    assert "pictures" not in (tmp_path / "results.json").read_text()
    assert not list((tmp_path / "runs" / "constant" / "0.001").glob("seed9.png"))


def test_a_grey_image_has_one_channel_and_values_beyond_are_clipped():
    image = np.array([[-1.0, 0.0, 0.5], [1.0, 2.0, np.nan]])[..., None]
    pixels = np.asarray(Image.open(io.BytesIO(encoded(Slope(), image))))
    np.testing.assert_array_equal(pixels, [[0, 0, 128], [255, 255, 0]])


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4)), np.zeros((4, 4, 2)), "none", np.zeros((0, 4, 3))]
)
def test_what_is_not_an_image_is_refused_in_one_line(image):
    with pytest.raises(UserError, match=r"slope: picture\(params, extra\) gives .*; give numbers"):
        encoded(Slope(), image)


def test_a_task_without_pictures_has_no_section(tmp_path):
    class Plain(Slope):
        picture = property()

    arms = {"constant": Arm()}
    found = compare(Plain(), arms, tmp_path, epochs=12, seeds=[0], calibration_seeds=[9], workers=1)
    write(tmp_path, found)
    assert "What the runs make" not in (tmp_path / "report.html").read_text()
    assert jax.tree.leaves(found["pictures"]) == []
