"""Pascal VOC: the same samples as COCO of the same objects, and what is wrong with a folder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import ArgumentError
from tests.training.data.voc_folder import Drawn, Pictures, write_coco, write_list, write_objects, write_voc
from training.data.augmentation_config import AugmentationConfig
from training.data.coco.folder import CocoFolder
from training.data.config import DataConfig
from training.data.training_data import open_training_data
from training.data.voc import VocFolder

VOID = 255


def pictures(rng: np.random.Generator, count: int, *, difficult: bool = True) -> Pictures:
    """Pictures of several sizes with objects of three classes, in parts and with holes, none in some."""
    made = {}
    for number in range(count):
        height, width = rng.integers(20, 40, 2)
        owners = rng.integers(0, 5, (height // 4 + 1, width // 4 + 1)).repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
        objects = [
            Drawn(str(rng.choice(["cat", "dog", "a & b"])), owners == owner, bool(difficult and rng.random() < 0.2))
            for owner in range(1, rng.integers(1, 6))
            if (owners == owner).any()
        ]
        made[f"2007_{number:06}"] = rng.integers(0, 255, (height, width, 3), dtype=np.uint8), objects
    return made


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_samples_are_those_of_coco(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("data")
    drawn = pictures(np.random.default_rng(seed), 4)
    if not any(objects for _, objects in drawn.values()):
        return
    voc, coco = VocFolder(write_voc(folder / "voc", drawn)), CocoFolder(write_coco(folder / "coco", drawn))
    assert voc.classes == coco.classes
    assert len(voc) == len(coco) == 4
    assert voc.repairs == coco.repairs == {}
    for ours, theirs in zip(voc, coco, strict=True):
        assert ours.name == theirs.name
        for field in ("image", "masks", "labels", "crowd", "merged"):
            assert np.array_equal(getattr(ours, field), getattr(theirs, field)), field


@pytest.fixture
def folder(tmp_path):
    """Three pictures, two of them in the split ``train``."""
    drawn = pictures(np.random.default_rng(3), 3, difficult=False)
    return write_voc(tmp_path / "voc", drawn, splits={"train": list(drawn)[:2], "val": list(drawn)[2:]})


def test_a_split_names_the_pictures(folder):
    assert [len(VocFolder(folder, split=split)) for split in ("train", "val", None)] == [2, 1, 3]
    (folder / "SegmentationObject" / "2007_000001.png").unlink()
    assert len(VocFolder(folder)) == 2  # most pictures of VOC have boxes alone
    with pytest.raises(ArgumentError, match=r"2007_000001\.png cannot be read"):
        VocFolder(folder, split="train")
    for split in ("test", "../train", ""):
        with pytest.raises(ArgumentError, match=r"There is no split .*there are: train, val"):
            VocFolder(folder, split=split)


def test_the_strip_around_objects_belongs_to_none(folder):
    name = "2007_000000"
    drawn = np.zeros((30, 30), np.uint8)
    drawn[5:20, 5:20] = VOID
    drawn[7:18, 7:18] = 1
    write_objects(folder, name, drawn)
    write_list(folder, name, [("cat", (6, 6, 20, 20), False)])  # the box around the strip is nearly that of the pixels
    images = folder / "JPEGImages"
    (images / f"{name}.png").unlink()
    Image.new("RGB", (30, 30)).save(images / f"{name}.jpg")
    sample = VocFolder(folder, split="train")[0]
    assert sample.masks.shape == (1, 30, 30) and (sample.masks[0] == (drawn == 1)).all()


def test_an_object_without_pixels_is_left_out_and_counted(folder):
    objects = [("cat", (1, 1, 9, 9), False)] * 9
    write_list(folder, "2007_000000", objects)
    voc = VocFolder(folder, split="train")
    assert len(voc[0].masks) < 9
    assert any("outline" in what for what in voc.repairs)


def test_what_is_wrong_is_said_in_one_sentence(folder):
    path = folder / "Annotations" / "2007_000000.xml"
    whole = path.read_text()
    for text, message in (
        (whole[:-20], "cannot be read"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + whole, "it defines entities"),
        (whole.replace("<name>", "<name> </name><nom>").replace("</name>", "</nom>", 1), "cannot be read|without a name"),
        ("<annotation/>", r"shows an object with the number 1; 2007_000000\.xml lists 0"),
        ("<annotation>" + "<object><name>a</name></object>" * 300 + "</annotation>", "has 300 objects"),
    ):
        path.write_text(text)
        with pytest.raises(ArgumentError, match=message):
            VocFolder(folder, split="train")
    path.unlink()
    with pytest.raises(ArgumentError, match=r"list of objects .*2007_000000\.xml cannot be read"):
        VocFolder(folder, split="train")
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("../2007_000001\n")
    with pytest.raises(ArgumentError, match=r"names '\.\./2007_000001'"):
        VocFolder(folder, split="train")
    with pytest.raises(ArgumentError, match="lists no pictures"):
        VocFolder(folder / "Annotations")


def test_an_image_of_another_size_than_its_objects_is_refused_in_validation(folder):
    write_objects(folder, "2007_000002", np.ones((5, 5), np.uint8))
    write_list(folder, "2007_000002", [("cat", (1, 1, 5, 5), False)])
    with pytest.raises(ArgumentError, match=r"2007_000002"):
        VocFolder(folder, split="val", complete=True)


def test_it_is_a_source_of_training_and_of_validation(folder):
    source = {"kind": "voc", "folder": str(folder)}
    data = DataConfig(sources=[source | {"split": "train"}], validation=[source | {"split": "val"}], size=64)
    opened = open_training_data(data, AugmentationConfig(), seed=0)
    assert opened.classes == ("a & b", "cat", "dog")
    assert (len(opened.train), len(opened.validation)) == (2, 1)
    image, target = opened.train[0]
    assert image.shape == (3, 64, 64) and target.masks.shape[1:] == (64, 64)
    held_out = DataConfig(sources=[source | {"hold_out": ["2007_000000*"], "fit": True}], size=64)
    opened = open_training_data(held_out, AugmentationConfig(), seed=0)
    assert (len(opened.train), len(opened.validation)) == (2, 1)
