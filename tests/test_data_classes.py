"""A subset of the classes of a set: the right images, labels from 0, in memory and streamed."""

import numpy as np
import pytest
from made_sets import needs_sets

import nowcast
from collect import data
from collect.config import DataConfig, ModelConfig
from collect.data import subset
from collect.population import make_task


def test_the_digits_of_some_classes_are_those_of_the_whole_set():
    whole, got = data.load("digits"), data.load("digits", classes=[3, 5, 9])
    assert (got.name, got.classes) == ("digits-3_5_9", 3)
    for split, labels in whole.labels.items():
        wanted = np.isin(labels, [3, 5, 9])
        np.testing.assert_array_equal(got.images[split], whole.images[split][wanted])
        np.testing.assert_array_equal(np.array([3, 5, 9])[got.labels[split]], labels[wanted])
    first = data.load("digits", classes=[3, 5, 9], train_size=50)
    np.testing.assert_array_equal(first.labels["train"], got.labels["train"][:50])


def test_without_a_validation_split_its_images_are_trained_on():
    both = data.load("digits", classes=[0, 1])
    got = data.load("digits", classes=[0, 1], validation=False)
    assert got.examples["train"] == both.examples["train"] + both.examples["validation"]


@needs_sets
@pytest.mark.usefixtures("cache_folder")
@pytest.mark.parametrize("validation", [True, False])
def test_streamed_and_in_memory_are_the_same_examples(validation):
    given = {"classes": [2, 7, 8], "train_size": 700, "validation": validation}
    held, streamed = (data.load("mnist", in_memory=gb, **given) for gb in (4, 0))
    assert (held.name, held.classes) == (streamed.name, streamed.classes) == ("mnist-2_7to8", 3)
    assert held.image_shape == streamed.image_shape
    assert held.examples == streamed.examples
    assert held.examples["train"] == 700
    for split in held.examples:
        parts = list(streamed.parts(split))
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        np.testing.assert_array_equal(images, held.images[split])
        np.testing.assert_array_equal(labels, held.labels[split])
        assert set(labels) == {0, 1, 2}


@pytest.mark.parametrize("held", [4.0, 0.0])
def test_a_class_that_the_set_lacks_is_named(made, held):
    said = r"data\.classes=\[1, 4\]: made has no class 4; give some of 0 to 3"
    with pytest.raises(nowcast.UserError, match=said):
        data.load("made", directory=str(made), classes=[1, 4], in_memory=held)


def test_a_set_that_has_fewer_images_of_these_classes_says_how_many(made):
    got = data.load("made", directory=str(made), classes=[1, 3], in_memory=0)
    have = got.examples["train"]
    said = rf"data\.train_size=40: made has 1 to {have} training examples"
    with pytest.raises(nowcast.UserError, match=said):
        data.load("made", directory=str(made), classes=[1, 3], train_size=40, in_memory=0)


@pytest.mark.parametrize("classes", [[], [3], [3, 3]])
def test_less_than_two_classes_are_refused(classes):
    with pytest.raises(nowcast.UserError, match=r"data\.classes=.* must be two classes or more"):
        DataConfig("digits", classes=classes)


def test_the_order_of_the_classes_and_their_absence_change_no_description():
    assert DataConfig("digits", classes=[9, 3]).classes == [3, 9]
    assert "classes" not in DataConfig("digits").identity
    assert DataConfig("digits", classes=[9, 3]).identity["classes"] == [3, 9]


def test_a_network_has_an_output_for_each_class_that_is_kept():
    task = make_task(ModelConfig("mlp", width=0.1), DataConfig("digits", classes=[4, 6, 7]), 16)
    assert task.name == "mlp-digits-4_6to7"
    assert task.evaluate(*task.init(0), "test")["loss"] == pytest.approx(np.log(3), rel=0.3)


def test_a_long_list_of_classes_is_a_short_name():
    name = subset.named("imagenet2012", range(0, 1000, 2))
    assert name.startswith("imagenet2012-500classes_")
    assert len(name) < 40
