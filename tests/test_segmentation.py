"""Segmentation: network, measures and augmentation against others, scenes and VOC's folder."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from made_sets import needs_sets
from omegaconf import OmegaConf
from PIL import Image
from whole_way import whole_way

import nowcast
from collect.commands.cli import CONFIGS
from collect.config import DataConfig
from collect.data import Dataset, masks
from collect.data.masks import VOID, Masked
from collect.models.convolution import atrous
from collect.models.deeplab_v3_plus import Backbone, DeepLabV3Plus
from collect.tasks import Segmentation, Task, build, check
from collect.tasks.names import names
from collect.tasks.regions import coloured, confusion, jaccard, palette, placed, rescaled
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from nowcast.types import UserError

SMALL = {"width": 0.05, "rates": (1,)}


def masked(side=32, number=10, classes=3, channels=1):
    rng = np.random.default_rng(side)
    images, own = {}, {}
    for split, size in (("train", number), ("validation", 5), ("test", 4)):
        images[split] = rng.integers(0, 256, (size, side, side, channels)).astype(np.uint8)
        own[split] = rng.integers(0, classes, (size, side, side)).astype(np.uint8)
        own[split][rng.uniform(size=own[split].shape) < 0.2] = VOID
    return Masked("noise", classes, images, own)


def made(data=None, **own):
    return Segmentation(data or masked(), **({"batch_size": 4} | SMALL | own))


@pytest.fixture(scope="module")
def begun():
    """A task with its initial parameters and statistics."""
    task = made()
    return task, *task.init(0)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def parameters(net):
    return count(nnx.state(net, nnx.Param))


def test_the_backbone_has_the_parameters_of_torchvisions_mobilenet_v2():
    net = nnx.eval_shape(lambda: Backbone(3, width=1.0, output_stride=16, rngs=nnx.Rngs(0)))
    last, classifier = 320 * 1280 + 2 * 1280, 1280 * 1000 + 1000
    assert parameters(net) + last + classifier == 3_504_872


def test_the_full_network_has_the_parameters_of_the_formula():
    net = nnx.eval_shape(
        lambda: DeepLabV3Plus(
            3, 21, width=1.0, output_stride=16, rates=(6, 12, 18), rngs=nnx.Rngs(0)
        )
    )

    def one(inputs, outputs):
        return inputs * outputs + 2 * outputs

    def separable(inputs, outputs):
        return 9 * inputs + 2 * inputs + one(inputs, outputs)

    pyramid = 2 * one(320, 256) + 3 * separable(320, 256) + one(5 * 256, 256)
    decoder = one(24, 48) + separable(304, 256) + separable(256, 256) + 256 * 21 + 21
    assert parameters(net) == 1_811_712 + pyramid + decoder == 2_719_813


@pytest.mark.parametrize(("stride", "size", "rates"), [(16, 33, [1, 2]), (8, 65, [1, 2, 4])])
def test_strides_beyond_the_output_stride_become_rates(stride, size, rates):
    net = nnx.eval_shape(lambda: Backbone(3, width=1.0, output_stride=stride, rngs=nnx.Rngs(0)))
    images = jax.ShapeDtypeStruct((1, 513, 513, 3), jnp.float32)
    low, high = nnx.eval_shape(lambda net, x: net(x), net, images)
    assert low.shape == (1, 129, 129, 24)
    assert high.shape == (1, size, size, 320)
    assert sorted({block.depthwise.conv.kernel_dilation for block in net.blocks}) == rates


@pytest.mark.parametrize(("rate", "size"), [(1, 8), (2, 8), (3, 9), (6, 4), (18, 4)])
def test_an_atrous_convolution_is_that_of_lax_in_value_and_gradients(rate, size):
    rng = np.random.default_rng(rate)
    x = jnp.asarray(rng.normal(size=(2, size, size, 5)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 1, 5)), jnp.float32)
    options = {"rhs_dilation": (rate, rate), "feature_group_count": 5}
    pads = [(rate, rate), (rate, rate)]

    def of_lax(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
        )

    def ours(x, kernel):
        return atrous(x, kernel, (1, 1), pads, **options)

    for function in (lambda f: f, lambda f: jax.grad(lambda *a: jnp.sum(f(*a) ** 2), (0, 1))):
        for one, other in zip(
            jax.tree.leaves(function(ours)(x, kernel)),
            jax.tree.leaves(function(of_lax)(x, kernel)),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_jaccard_is_scikit_learns_over_all_pixels_without_the_void_ones():
    from sklearn.metrics import confusion_matrix, jaccard_score

    rng = np.random.default_rng(0)
    own, told = rng.integers(0, 5, (2, 4, 9, 7))
    own[own == 3] = 2  # a class that is told alone
    told[told == 4], own[own == 4] = 0, 1  # a class that does not occur at all
    own[0, :3] = VOID
    said = own != VOID
    counts = np.asarray(confusion(jnp.asarray(own), jnp.asarray(told), 6))
    np.testing.assert_array_equal(counts, confusion_matrix(own[said], told[said], labels=range(6)))
    expected = jaccard_score(own[said], told[said], average="macro")
    assert jaccard(counts) == pytest.approx(expected)
    assert jaccard(np.zeros((2, 2))) == 0


@pytest.mark.slow
def test_an_evaluation_is_that_of_a_loop_over_all_pixels(monkeypatch):
    task = made()
    params, extra = task.init(1)
    found = task.evaluate(params, extra, "validation")
    data = masked()
    images, own = data.images["validation"], data.masks["validation"]
    extra = task._estimated(params, extra)
    logits = nnx.merge(task._evaluating, params, extra)(jnp.asarray(images / 127.5 - 1, "float32"))
    logs = np.asarray(jax.nn.log_softmax(logits))
    same, either, errors = np.zeros(3), np.zeros(3), []
    for place in np.ndindex(own.shape):
        if own[place] == VOID:
            continue
        true, told = own[place], logs[place].argmax()
        errors.append(-logs[place][true])
        same[true] += true == told
        either[[*{true, told}]] += 1
    assert found["loss"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert found["accuracy"] == pytest.approx(same.sum() / len(errors))
    assert found["jaccard"] == pytest.approx(np.mean(same / either))
    monkeypatch.setattr("collect.tasks.segmentation.AT_ONCE", {"cpu": 2 * 32 * 32})
    again = task.evaluate(params, task.init(1)[1], "validation")
    assert again == pytest.approx(found, rel=1e-5)


def test_void_pixels_have_no_part_in_the_loss(begun):
    task, params, extra = begun
    images, own = task.batch(task.arrays, jnp.arange(4))
    loss = jax.jit(lambda own: task.loss(params, extra, (images, own))[0])
    half = own.at[:, 16:].set(VOID)
    assert float(loss(half)) != pytest.approx(float(loss(own)))
    assert float(loss(jnp.full_like(own, VOID))) == 0
    parts = [float(loss(own.at[:, part].set(VOID))) for part in (slice(0, 16), slice(16, 32))]
    shares = [float(jnp.sum(own[:, part] != VOID)) for part in (slice(16, 32), slice(0, 16))]
    whole = np.average(parts, weights=shares)
    assert float(loss(own)) == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("chance", [0.0, 0.37, 1.0])
def test_a_scaled_image_is_the_bilinear_one_and_its_mask_the_nearest(scale, chance):
    rng = np.random.default_rng(3)
    image = rng.normal(size=(12, 10, 1)).astype(np.float32)
    mask = rng.integers(0, 9, (12, 10)).astype(np.uint8)
    given = jnp.asarray(image), jnp.asarray(mask), jnp.float32(scale), jnp.full(2, chance)
    found, near = map(np.asarray, placed(*given))
    for place in np.ndindex(12, 10):
        at = [
            (one + 0.5 - chance * (1 - scale) * size) / scale
            for one, size in zip(place, mask.shape, strict=True)
        ]
        outside = any(not 0 <= one < size for one, size in zip(at, mask.shape, strict=True))
        if outside:
            assert (found[place], near[place]) == (0, VOID)
            continue
        assert near[place] == mask[int(at[0]), int(at[1])]
        total = 0.0
        for corner in np.ndindex(2, 2):
            weight, source = 1.0, []
            for one, size, more in zip(at, mask.shape, corner, strict=True):
                low = math.floor(one - 0.5)
                part = one - 0.5 - low
                weight *= part if more else 1 - part
                source.append(min(max(low + more, 0), size - 1))
            total += weight * image[tuple(source)][0]
        assert float(found[place][0]) == pytest.approx(total, abs=1e-4)


def test_augmentation_follows_the_key_and_mirrors_images_with_their_masks():
    own = jnp.ones((8, 32, 32), jnp.uint8).at[:, :, 16:].set(2)
    images = own[..., None].astype(jnp.float32)
    one, two, three = (rescaled(jax.random.key(k), images, own) for k in (0, 0, 1))
    np.testing.assert_array_equal(one[0], two[0])
    assert not np.array_equal(one[1], three[1])
    known = one[1] != VOID
    wrong = known & (jnp.abs(one[0][..., 0] - one[1]) > 1e-5)  # the bilinear filter at the edge
    assert (np.asarray(wrong).any(axis=1).sum(axis=1) <= 2).all()
    widths = [int(row.any(axis=0).sum()) for row in np.asarray(known)]
    assert len(set(widths)) > 1  # scales
    turned = {
        bool(np.diff(row[:, columns].max(axis=0).astype(int)).min() < 0)
        for row, columns in zip(np.asarray(one[1]), np.asarray(known).any(axis=1), strict=True)
    }
    assert turned == {True, False}
    task = made(augmented=True)
    batch = task.batch(task.arrays, jnp.arange(4), jax.random.key(2))
    assert [each.dtype for each in batch] == [jnp.float32, jnp.uint8]


def digits(number=12, side=28):
    rng = np.random.default_rng(0)
    images = {
        split: rng.integers(0, 256, (number, side, side, 1)).astype(np.uint8)
        for split in ("train", "validation", "test")
    }
    return Dataset("made", 10, images, {s: np.arange(number, dtype=np.int32) % 10 for s in images})


def test_a_scene_is_its_digits_one_over_the_other_on_black():
    data = digits()
    found = masks.scenes(data, 3)
    again = masks.scenes(data, 3)
    assert (found.name, found.classes) == ("made_scenes3", 11)
    for split in data.images:
        np.testing.assert_array_equal(found.images[split], again.images[split])
        assert found.images[split].shape == (4, 64, 64, 1)
    image, mask = found.images["train"][1][..., 0], found.masks["train"][1]
    assert set(np.unique(mask)) <= {0, VOID, 4, 5, 6}
    last = data.images["train"][5][..., 0]
    [place] = [
        (top, left)
        for top, left in np.ndindex(37, 37)
        if np.array_equal(image[top : top + 28, left : left + 28][last > 0], last[last > 0])
    ]
    box = mask[place[0] : place[0] + 28, place[1] : place[1] + 28]
    assert (box[last >= 128] == 6).all()
    assert (box[(last > 0) & (last < 128)] == VOID).all()
    assert ((image == 0) == (mask == 0)).all()


def voc(folder, sizes=((40, 30), (20, 50), (33, 33))):
    """A folder like VOC's, with the masks that were written."""
    rng = np.random.default_rng(0)
    for place in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / place).mkdir(parents=True)
    colours = (255 * palette()).astype(np.uint8).ravel().tolist()
    written = {}
    for number, (width, height) in enumerate(sizes):
        name = f"2007_00000{number}"
        colour = tuple(rng.integers(0, 256, 3).tolist())
        Image.new("RGB", (width, height), colour).save(folder / f"JPEGImages/{name}.jpg")
        own = rng.choice([0, 1, 15, 20, VOID], (height, width)).astype(np.uint8)
        mask = Image.fromarray(own)
        mask.putpalette(colours)
        mask.save(folder / f"SegmentationClass/{name}.png")
        written[name] = colour, own
    lists = folder / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("2007_000000\n2007_000001\n", encoding="utf-8")
    (lists / "val.txt").write_text("2007_000002\n", encoding="utf-8")
    return written


def test_the_folder_of_voc_is_read_as_it_was_written(tmp_path):
    written = voc(tmp_path / "VOC2012")
    found = masks.voc(str(tmp_path / "VOC2012"))
    assert (found.name, found.classes, list(found.images)) == (
        "voc2012",
        21,
        ["train", "validation"],
    )
    order = [*found.masks["train"], *found.masks["validation"]]
    images = [*found.images["train"], *found.images["validation"]]
    for (colour, own), mask, image in zip(written.values(), order, images, strict=True):
        height, width = own.shape
        np.testing.assert_array_equal(mask[:height, :width], own)
        assert (mask[height:] == VOID).all()
        assert (mask[:, width:] == VOID).all()
        assert (image[height:] == 127).all()
        np.testing.assert_allclose(image[:height, :width].mean((0, 1)), colour, atol=3)
    assert len(masks.voc(str(tmp_path / "VOC2012"), 1).images["train"]) == 1


def _lost(folder):
    (folder / "SegmentationClass/2007_000001.png").unlink()


def _cut(folder):
    file = folder / "JPEGImages/2007_000000.jpg"
    file.write_bytes(file.read_bytes()[:300])


def _other_size(folder):
    Image.new("P", (30, 30)).save(folder / "SegmentationClass/2007_000000.png")


def _no_palette(folder):
    Image.new("RGB", (40, 30)).save(folder / "SegmentationClass/2007_000000.png")


def _unknown_class(folder):
    mask = Image.new("P", (40, 30), 77)
    mask.putpalette((255 * palette()).astype(np.uint8).ravel().tolist())
    mask.save(folder / "SegmentationClass/2007_000000.png")


def _no_list(folder):
    (folder / "ImageSets/Segmentation/val.txt").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_lost, "SegmentationClass/2007_000001.png is missing; unpack the archive again"),
        (_cut, "JPEGImages/2007_000000.jpg is damaged ("),
        (_other_size, "2007_000000 has an image of 40×30 pixels and a mask of 30×30"),
        (_no_palette, "SegmentationClass/2007_000000.png has no palette (RGB)"),
        (_unknown_class, "the mask of 2007_000000 has class 77, and VOC 2012 has 0 to 20 and 255"),
        (_no_list, "holds no list ImageSets/Segmentation/val.txt"),
    ],
)
def test_what_is_wrong_in_vocs_folder_is_named_in_one_line(tmp_path, spoil, said):
    voc(tmp_path / "VOC2012")
    spoil(tmp_path / "VOC2012")
    with pytest.raises(UserError) as caught:
        masks.voc(str(tmp_path / "VOC2012"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_it_is_a_task_and_every_leaf_has_an_operation(begun):
    task, params, _ = begun
    assert isinstance(task, Task)
    check.check(task, "Segmentation")
    assert set(jax.tree.leaves(task.labels)) == {"conv", "depthwise_conv", "norm", "bias"}
    assert jax.tree.structure(task.labels) == jax.tree.structure(params)
    assert nowcast.label_ops(task._start.module) == task.labels


def test_its_name_has_the_sizes_that_are_not_the_usual_and_keeps_all_sizes_out():
    task = made(output_stride=16)
    assert task.name == "deeplab_w0.05_s16_r1-noise"
    own = names({"task": task.name, "task_config": {"_target_": "collect.tasks.Segmentation"}})
    assert {"deeplab", "deeplab_w0.05_s16_r1", "deeplab-noise"} <= own


def test_the_picture_is_images_masks_and_what_is_told_in_vocs_colours(begun):
    task, params, extra = begun
    found = task.picture(params, extra)
    assert found.shape == (3 * 32, 5 * 32, 3)
    data = masked()
    np.testing.assert_allclose(found[:32, :32, 0], data.images["validation"][0, ..., 0] / 255)
    np.testing.assert_allclose(found[32:64, 32:64], coloured(data.masks["validation"][1:2])[0])
    assert (palette()[VOID] == 1).all()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"width": 0}, "task.width=0: must be above 0 and at most 4; 1: as published"),
        ({"output_stride": 4}, "task.output_stride=4: must be 8 or 16"),
        ({"rates": 6}, "task.rates=6: must be a list of atrous rates, such as [6,12,18]"),
        ({"rates": [0]}, "task.rates=0 must be a whole number of pixels"),
        ({"judged": 0}, "task.judged=0 must be a whole number of images"),
        ({"augmented": 1}, "task.augmented=1: must be true or false"),
        ({"batch_size": 11}, "batch_size=11: must be 1 to 10, the number of training images"),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(unchecked, own, said):
    with pytest.raises(UserError) as caught:
        made(**own)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "own", "said"),
    [
        ({"name": "./nowhere"}, {}, "data.name='./nowhere': is not there; give the folder of VOC"),
        ({"size": 32}, {}, "data.size=32: this task does not take it; leave it out"),
        ({"center": True}, {}, "data.center=true: this task does not take it; leave it out"),
        ({"name": "digits", "train_size": 3}, {}, "task.objects=4: the train split of digits has"),
        ({}, {"objects": "4"}, "task.objects='4' must be a whole number of images in a scene"),
    ],
)
def test_data_that_do_not_fit_are_named_in_one_line(unchecked, given, own, said):
    with pytest.raises(UserError) as caught:
        Segmentation.configured(DataConfig(**given), 4, **own)
    assert said in str(caught.value)


@needs_sets
@pytest.mark.slow
def test_it_goes_through_all_commands(script, tmp_path):
    small = ["task.width=0.05", "task.rates=[1]", "task.judged=8"]
    data = ["data=mnist", "data.train_size=160", "batch_size=16"]
    runs, arms, page = whole_way(
        script,
        tmp_path,
        "task=deeplab task.width=0.05",
        ["task=deeplab", "task.objects=5", *small, *data, "optimizer=momentum"],
        ["experiment=table5_segmentation_small", *small, *data],
    )
    assert [run.weights.shape[0] for run in runs] == [13, 13]
    assert arms == ["naive", "naive_nowcast_safe"]
    assert page.count("data:image/png") == 2


def composed(experiment, *more):
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    products.store()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose("evaluate", [f"experiment={experiment}", "report=mine", *more])


def test_the_full_experiment_is_deeplabs_recipe_on_a_folder_of_voc(tmp_path):
    voc(tmp_path / "VOC2012")
    found = composed("table5_segmentation", f"data.name={tmp_path}/VOC2012", "batch_size=2")
    task = build.make(OmegaConf.to_object(found))
    assert task.name == "deeplab_w1_s16_r6x12x18-voc2012"
    assert task.splits == ("validation",)
    assert task.arrays[0].shape == (2, 513, 513, 3)
    found = composed("table5_segmentation")
    assert (found.batch_size, found.optimizer.learning_rate) == (16, 0.007)
    assert (found.arm.cosine.learning_rate, found.arm.cosine.schedule) == ("given", "cosine")
    assert (found.optimizer.name, found.task.augmented) == ("momentum", True)
    assert (found.target_metric, found.target_value) == ("jaccard", 0.48)
    with pytest.raises(UserError, match=r"VOC2012': is not there; .*VOCtrainval_11-May-2012"):
        build.make(OmegaConf.to_object(found))
