"""Pose: maps against loops, the network's parameters, crops, COCO's files and the figures."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from PIL import Image
from whole_way import whole_way

from collect.commands.cli import CONFIGS
from collect.config import DataConfig
from collect.data import coco, crops, figures
from collect.data.crops import ABSENT, STRAIGHT, View
from collect.models.openpose import VGG, OpenPose, read_front
from collect.tasks import Pose, Task, build, check
from collect.tasks.names import names
from collect.tasks.pose_maps import LIMBS, affinity_fields, heat_maps
from collect.training.optimizers import rates
from evaluate.commands import products
from evaluate.config import EvaluateConfig
from nowcast.types import UserError

SMALL = {"width": 0.02, "stages": 2, "side": 32, "judged": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("figures") / "set"
    figures.write(place, {"train": 30, "validation": 7})
    return place


@pytest.fixture
def own(folder, tmp_path):
    """A copy of the folder that a test may spoil."""
    import shutil

    return shutil.copytree(folder, tmp_path / "set")


def made(folder, **more):
    examples = coco.read(str(folder))
    return Pose(examples, "figures", **({"batch_size": 4} | SMALL | more))


def people(seed=0, count=3, side=96):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(-10, side + 10, (2, count, 18, 2)).astype(np.float32)
    joints[rng.uniform(size=joints.shape[:3]) < 0.2] = ABSENT
    joints[1, -1] = ABSENT  # fewer people in the second image
    return joints


def test_heat_maps_are_those_of_a_loop_over_people_and_cells():
    joints = people()
    found = np.asarray(heat_maps(jnp.asarray(joints), 12, 10))
    for image in range(2):
        maps = np.zeros((12, 10, 19))
        for person in joints[image]:
            for joint, (x, y) in enumerate(person):
                for row, column in np.ndindex(12, 10):
                    if x == ABSENT:
                        continue
                    across, down = 3.5 + 8 * column - x, 3.5 + 8 * row - y
                    exponent = (across**2 + down**2) / 2 / 7**2
                    if exponent <= 4.6052:
                        maps[row, column, joint] += math.exp(-exponent)
        maps = np.minimum(maps, 1)
        maps[..., 18] = 1 - maps.max(axis=-1)
        np.testing.assert_allclose(found[image], maps, atol=1e-5)


def test_a_heat_map_of_one_person_is_the_papers_formula_where_it_is_not_cut():
    joints = np.full((1, 1, 18, 2), ABSENT, np.float32)
    joints[0, 0, 4] = 40, 30
    found = np.asarray(heat_maps(jnp.asarray(joints), 9, 9))[0, ..., 4]
    rows, columns = np.meshgrid(3.5 + 8 * np.arange(9), 3.5 + 8 * np.arange(9), indexing="ij")
    squares = (rows - 30) ** 2 + (columns - 40) ** 2
    papers = np.exp(-squares / (2 * 7**2))  # equation 6, with its σ² twice the square of ours
    near = papers > 0.0101
    np.testing.assert_allclose(found[near], papers[near], atol=1e-5)
    assert (found[papers < 0.0099] == 0).all()


def test_fields_are_those_of_a_loop_over_people_limbs_and_cells():
    joints = people(1)
    joints[0, 1, 8] = joints[0, 1, 1]  # a limb of no length
    found = np.asarray(affinity_fields(jnp.asarray(joints), 12, 12))
    for image in range(2):
        fields, counts = np.zeros((12, 12, 38)), np.zeros((12, 12, 19))
        for person in joints[image]:
            for limb, (start, end) in enumerate(LIMBS):
                (x1, y1), (x2, y2) = person[start] / 8, person[end] / 8
                length = math.hypot(x2 - x1, y2 - y1)
                if ABSENT in (*person[start], *person[end]) or length < 1e-8:
                    continue
                x, y = (x2 - x1) / length, (y2 - y1) / length
                low, high = (min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))
                left, top = (max(0, round(float(each) - 1)) for each in low)
                right, bottom = (min(12, round(float(each) + 1)) for each in high)
                for row in range(top, bottom):
                    for column in range(left, right):
                        if abs((column - x1) * y - (row - y1) * x) > 1:
                            continue
                        count = counts[row, column, limb]
                        before = fields[row, column, 2 * limb : 2 * limb + 2]
                        mean = (before * count + [x, y]) / (count + 1)
                        fields[row, column, 2 * limb : 2 * limb + 2] = mean
                        counts[row, column, limb] += 1
        np.testing.assert_allclose(found[image], fields, atol=1e-4)


def test_a_field_on_a_limb_is_the_papers_unit_vector():
    joints = np.full((1, 1, 18, 2), ABSENT, np.float32)
    joints[0, 0, 2], joints[0, 0, 3] = (16, 16), (64, 52)
    found = np.asarray(affinity_fields(jnp.asarray(joints), 12, 12))[0]
    limb = LIMBS.index((2, 3))
    for row, column in np.ndindex(12, 12):
        along = (column - 2) * 0.8 + (row - 2) * 0.6
        aside = abs((column - 2) * 0.6 - (row - 2) * 0.8)
        if 0 <= along <= 7.5 and aside < 0.99:  # equation 9
            np.testing.assert_allclose(found[row, column, [2 * limb, 2 * limb + 1]], [0.8, 0.6])
    assert not np.delete(found, [2 * limb, 2 * limb + 1], axis=-1).any()


def test_the_published_network_has_the_layers_and_parameters_of_the_port():
    net = nnx.eval_shape(lambda: OpenPose(width=1.0, stages=6, rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(nnx.state(net, nnx.Param))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == 52_311_446
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if len(leaf.shape) == 4]
    assert len(kernels) == 12 + 2 * 5 + 5 * 2 * 7


@pytest.mark.slow
def test_an_evaluation_is_the_ports_loss_on_images_that_are_seen_straight(folder, monkeypatch):
    task = made(folder)
    params, extra = task.init(0)
    found = task.evaluate(params, extra, "validation")
    held = coco.read(str(folder))["validation"]
    chosen = [held[place] for place in np.unique(np.linspace(0, len(held) - 1, 5).astype(int))]
    totals = []
    for example in chosen:
        image, shown, joints = crops.crop(example, 32, STRAIGHT, 2, "")
        stages = nnx.merge(task._definition, params)(
            jnp.asarray(image[None, ..., ::-1] / 256 - 0.5, "f4")
        )
        given = jnp.asarray(joints[None])
        true = np.concatenate([affinity_fields(given, 4, 4), heat_maps(given, 4, 4)], axis=-1)
        each = [np.sum((np.asarray(told) * shown[..., None] - true) ** 2) for told in stages]
        totals.append(np.array(each) / 2)
    stages = np.mean(totals, axis=0)
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 4]
    penalty = 5e-4 * sum(float(np.sum(np.square(kernel))) for kernel in kernels)
    assert found["map_loss"] == pytest.approx(stages.sum(), rel=1e-4)
    assert found["last_loss"] == pytest.approx(stages[-1], rel=1e-4)
    assert found["loss"] == pytest.approx(stages.sum() + penalty, rel=1e-4)
    monkeypatch.setattr("collect.tasks.pose.AT_ONCE", 2)
    again = made(folder).evaluate(params, extra, "validation")
    assert again == pytest.approx(found, rel=1e-5)


def test_rates_of_leaves_are_the_ports(folder):
    task = made(folder)
    factors = task.rates
    assert factors["front"][0]["convs"][0] == {"kernel": 1, "bias": 2}
    assert factors["reduction"]["convs"][1] == {"kernel": 1, "bias": 2}
    assert factors["stages"][0]["heats"]["convs"][0] == {"kernel": 1, "bias": 2}
    assert factors["stages"][1]["fields"]["convs"][6] == {"kernel": 4, "bias": 8}


def test_the_schedule_falls_to_a_third_as_the_ports():
    found = rates("thirds", 2e-5, 140_000)
    for step in (0, 68_052, 68_053, 136_105, 136_106):
        assert found[step] == pytest.approx(2e-5 * 0.333 ** (step // 68_053))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 35.0])
def test_a_joint_of_a_crop_lies_where_its_pixel_does(tmp_path, mirrored, degrees):
    image = np.zeros((90, 70, 3), np.uint8)
    image[38:43, 28:33] = 255  # five pixels around column 30 and row 40
    Image.fromarray(image).save(tmp_path / "dot.png")
    joints = np.full((1, 18, 2), np.nan, np.float32)
    joints[0, 2] = 30, 40
    example = coco.Example(tmp_path / "dot.png", (70, 90), joints, (34.0, 44.0), 40.0, ())
    view = View(1.0, degrees, 5.0, -3.0, mirrored)
    made, shown, found = crops.crop(example, 64, view, 3, "")
    assert made.shape == (64, 64, 3)
    assert (found[1:] == ABSENT).all()
    [place] = found[0, [5 if mirrored else 2]]
    assert (np.delete(found[0], 5 if mirrored else 2, axis=0) == ABSENT).all()
    bright = np.where(made[..., 0].astype(int) > 200)  # the grey around is 128
    middle = np.array([bright[1].mean(), bright[0].mean()])
    np.testing.assert_allclose(middle, place, atol=0.5)
    assert (shown == 1).all()


def test_people_who_do_not_count_are_black_and_masked(folder):
    found = coco.read(str(folder))
    hidden = [each for own in found.values() for each in own if each.hidden]
    assert hidden  # one in twelve of the figures
    for example in hidden:
        image, shown = coco.pixels(example, "")
        assert not shown.all()
        view = View(0.5, 0.0, 0.0, 0.0, False)
        made, mask, _ = crops.crop(example, 96, view, 2, "")
        assert (mask < 1).any()
        assert image.shape[:2] == shown.shape
        assert made.reshape(12, 8, 12, 8, 3).max(axis=(1, 3))[mask == 0].max(initial=0) <= 40


def annotation(**more):
    keypoints = np.zeros((17, 3), int)
    keypoints[:6] = [[10 * i + 5, 8 * i + 20, 2] for i in range(6)]
    usual = {"id": 1, "image_id": 7, "iscrowd": 0, "num_keypoints": 6, "area": 2000.0}
    box = {"bbox": [0, 0, 40, 60], "segmentation": [[0, 0, 40, 0, 40, 60, 0, 60]]}
    return usual | box | {"keypoints": keypoints.ravel().tolist()} | more


def test_people_are_chosen_and_ordered_as_by_the_port(tmp_path):
    place = tmp_path / "coco"
    far = [100, 0, 40, 60]
    own = [
        annotation(id=1, area=1500.0, bbox=far),
        annotation(id=2),
        annotation(id=3, area=1900.0, bbox=[10, 0, 40, 60]),  # close to the second
        annotation(id=4, num_keypoints=4, bbox=far),
        annotation(id=5, area=1000.0, bbox=far),
        annotation(
            id=6,
            iscrowd=1,
            area=9000.0,
            segmentation={"counts": [90 * 100, 90 * 50], "size": [90, 150]},
        ),
    ]
    image = {"id": 7, "file_name": "a.jpg", "width": 150, "height": 90}
    for stem in coco.SPLITS.values():
        (place / stem).mkdir(parents=True)
        Image.new("RGB", (150, 90)).save(place / stem / "a.jpg")
        (place / "annotations").mkdir(exist_ok=True)
        text = json.dumps({"images": [image], "annotations": own})
        (place / f"annotations/person_keypoints_{stem}.json").write_text(text, encoding="utf-8")
    [example] = coco.read(str(place))["train"]
    assert len(example.joints) == 2
    assert (example.center, example.height) == ((20.0, 30.0), 60.0)
    assert len(example.hidden) == 4
    np.testing.assert_array_equal(example.joints[0, 0], [5, 20])  # the nose
    np.testing.assert_array_equal(example.joints[0, 5], [55, 60])  # the left shoulder
    assert np.isnan(example.joints[0, [1, 2]]).all()  # no right shoulder, so no neck
    _, shown = coco.pixels(example, "")
    assert not shown[:, 100:].any()


def _no_image(place):
    (place / "train2017" / "000003.png").unlink()


def _other_size(place):
    for file in (place / "val2017").glob("*.png"):
        Image.new("RGB", (20, 30)).save(file)


def _edited(change):
    def spoil(place):
        file = place / "annotations" / "person_keypoints_train2017.json"
        held = json.loads(file.read_text(encoding="utf-8"))
        change(held)
        file.write_text(json.dumps(held), encoding="utf-8")

    return spoil


def _cut(place):
    file = place / "annotations" / "person_keypoints_val2017.json"
    file.write_text(file.read_text(encoding="utf-8")[:500], encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_image, "person_keypoints_train2017.json names 000003.png, which is not in train2017"),
        (_other_size, "000000.png has 20×30 pixels, and its annotation says 144×112"),
        (_cut, "annotations/person_keypoints_val2017.json is damaged ("),
        (
            _edited(lambda held: held["annotations"][0].update(image_id=99)),
            "has annotation 0 of image 99, which it does not name",
        ),
        (
            _edited(lambda held: held["annotations"][0].update(keypoints=[1, 2, 2])),
            "has annotation 0 of 1 keypoints, and COCO has 17",
        ),
        (_edited(lambda held: held["annotations"].clear()), "train2017 has no image with a person"),
    ],
)
def test_annotations_that_do_not_match_are_named_in_one_line(own, spoil, said):
    spoil(own)

    def judge():
        task = made(own)
        task.evaluate(task.init(0)[0], {}, "validation")

    with pytest.raises(UserError) as caught:
        judge()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_a_task_and_a_step_is_the_same_wherever_a_stream_begins(folder, unchecked):
    task = made(folder)
    assert isinstance(task, Task)
    check.check(task, "Pose")
    assert set(jax.tree.leaves(task.labels)) == {"conv", "bias"}
    assert task.name == "openpose_w0.02_t2_s32-figures"
    own = names({"task": task.name, "task_config": {"_target_": "collect.tasks.Pose"}})
    assert {"openpose", "openpose-figures"} <= own
    first, other = (next(iter(task.stream(0, range(step, step + 1))))[0] for step in (0, 3))
    assert not np.array_equal(first, other)


def test_the_picture_is_images_true_maps_and_what_is_told(folder):
    task = made(folder)
    found = task.picture(task.init(0)[0], {})
    assert found.shape == (3 * 32, 5 * 32, 3)
    assert 0 <= found.min() < found.max() <= 1


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """A file like that of Keras, with random weights, and these."""
    h5py = pytest.importorskip("h5py")
    file, rng, inputs = tmp_path_factory.mktemp("vgg") / "vgg19.h5", np.random.default_rng(0), 3
    written = {}
    with h5py.File(file, "w") as held:
        for block, channels in enumerate(VGG, 1):
            for place, outputs in enumerate(channels, 1):
                name = f"block{block}_conv{place}"
                for kind, shape in (("W", (3, 3, inputs, outputs)), ("b", (outputs,))):
                    written[name, kind] = rng.normal(size=shape).astype(np.float32)
                    held[f"{name}/{name}_{kind}_1:0"] = written[name, kind]
                inputs = outputs
    return file, written


@pytest.mark.slow
def test_the_front_comes_from_the_file_of_vgg19(vgg, folder):
    file, written = vgg
    task = made(folder, width=1.0, stages=1, front=str(file))
    params, _ = task.init(0)
    for (name, kind), values in written.items():
        block, place = int(name[5]) - 1, int(name[-1]) - 1
        own = params["front"][block]["convs"][place]["kernel" if kind == "W" else "bias"]
        np.testing.assert_array_equal(own, values)
    kernel = params["stages"][0]["heats"]["convs"][0]["kernel"]
    assert np.std(kernel) == pytest.approx(0.01, rel=0.05)


@pytest.mark.slow
def test_weights_of_another_network_are_refused_by_the_first_tensor_that_differs(vgg, tmp_path):
    import h5py

    other = tmp_path / "other.h5"
    other.write_bytes(vgg[0].read_bytes())
    with h5py.File(other, "a") as held:
        del held["block3_conv2/block3_conv2_b_1:0"]
    with pytest.raises(UserError, match=r"block3_conv2/bias is missing, and VGG19 has \(256,\)"):
        read_front(other, "task.front")
    with h5py.File(other, "a") as held:
        del held["block2_conv1/block2_conv1_W_1:0"]
        held["block2_conv1/block2_conv1_W_1:0"] = np.zeros((3, 3, 64, 100), np.float32)
    with pytest.raises(UserError, match=r"block2_conv1/kernel has the shape \(3, 3, 64, 100\)"):
        read_front(other, "task.front")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"width": 0}, "task.width=0: must be above 0 and at most 4"),
        ({"stages": 0}, "task.stages=0 must be a whole number of stages"),
        ({"side": 30}, "task.side=30: must be a multiple of 8, 16 or more, such as 368"),
        ({"judged": 0}, "task.judged=0 must be a whole number of images"),
        ({"batch_size": 31}, "batch_size=31: must be 1 to 30, the number of training images"),
        ({"front": "mine.h5"}, "task.front='mine.h5': has weights for task.width=1, and"),
        ({"front": "mine.h5", "width": 1}, "task.front='mine.h5': is not a file; give vgg19_weig"),
        ({"front": __file__, "width": 1}, "is not an HDF5 file ("),
    ],
)
def test_a_value_out_of_range_is_named_in_one_line(folder, unchecked, more, said):
    with pytest.raises(UserError) as caught:
        made(folder, **more)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "./nowhere"}, "data.name='./nowhere': is not there; give the folder of COCO"),
        ({"name": "mnist"}, "data.name=mnist: has no poses; give figures, or the path"),
        ({"name": "mnist", "size": 32}, "data.size=32: this task does not take it; leave it out"),
    ],
)
def test_data_that_do_not_fit_are_named_in_one_line(given, said):
    with pytest.raises(UserError) as caught:
        Pose.configured(DataConfig(**given), 4)
    assert said in str(caught.value)


def composed(experiment, *more):
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
    products.store()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose("evaluate", [f"experiment={experiment}", "report=mine", *more])


def test_the_full_experiment_is_the_ports_recipe(folder):
    found = composed("table5_pose")
    assert (found.task.width, found.task.stages, found.task.side) == (1, 6, 368)
    assert (found.batch_size, found.optimizer.name) == (10, "momentum")
    assert found.optimizer.learning_rate == 2e-5
    assert (found.arm.thirds.learning_rate, found.arm.thirds.schedule) == ("given", "thirds")
    assert (found.target_metric, found.target_value) == ("loss", 673)
    with pytest.raises(UserError, match=r"data.name='./coco': is not there; .*cocodataset.org"):
        build.make(OmegaConf.to_object(found))
    found = composed("table5_pose", f"data.name={folder}", "batch_size=2", "task.front=mine.h5")
    with pytest.raises(UserError, match=r"task.front='mine.h5': is not a file; .*applications/vgg"):
        build.make(OmegaConf.to_object(found))


@pytest.mark.slow
def test_it_goes_through_all_commands(script, tmp_path):
    small = ["task.width=0.02", "task.stages=2", "task.side=32", "task.judged=8"]
    data = ["data.train_size=20", "batch_size=10"]
    runs, arms, page = whole_way(
        script,
        tmp_path,
        "task=openpose task.width=0.02",
        [
            *("task=openpose", "data.name=figures", *small, *data),
            *("optimizer=momentum", "optimizer.learning_rate=1e-4"),
        ],
        ["experiment=table5_pose_small", *small, *data],
    )
    assert [run.weights.shape[0] for run in runs] == [13, 13]
    assert arms == ["naive", "naive_nowcast_safe"]
    assert page.count("data:image/png") == 2
