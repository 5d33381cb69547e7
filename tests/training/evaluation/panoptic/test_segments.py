"""Panoptic files that are not what they should be: one sentence each, which names the file and what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from engine.errors import ArgumentError
from tests.training.evaluation.panoptic.panoptic_files import CATEGORIES, write_ids, write_panoptic
from training.evaluation.panoptic.evaluation import evaluate_panoptic


@pytest.fixture
def files(tmp_path):
    """Truth and prediction of two pictures of 3x2 pixels."""
    ids = np.array([[1, 1, 700], [0, 1, 700]])
    segments = [{"id": 1, "category_id": 3, "iscrowd": 0}, {"id": 700, "category_id": 17, "iscrowd": 0}]
    pictures = {5: (ids, segments), 6: (ids, segments)}
    write_panoptic(tmp_path / "truth.json", pictures, categories=CATEGORIES)
    write_panoptic(tmp_path / "found.json", pictures)
    return tmp_path


def compare(files, **more):
    return evaluate_panoptic(files / "found.json", files / "truth.json", **more)


def change(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_same_twice_is_perfect(files):
    assert compare(files).quality.figures().mean_pq == 1.0


@pytest.mark.parametrize(
    "name, spoil, message",
    [
        ("found", lambda c: c["annotations"].pop(), r"found\.json has no segmentation of the picture 6\."),
        (
            "found",
            lambda c: c["annotations"][0]["segments_info"].pop(),
            r"5\.png has a segment with the id 700, which its JSON",
        ),
        (
            "truth",
            lambda c: c["annotations"][0]["segments_info"].pop(),
            r"5\.png has a segment with the id 700, which its JSON",
        ),
        (
            "found",
            lambda c: c["annotations"][1]["segments_info"].append({"id": 9, "category_id": 3}),
            r"segment 9 of the picture 6 .* has no pixel in 6\.png",
        ),
        (
            "found",
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=99),
            r"picture 5 in .*found\.json has a segment of the category 99, which is unknown",
        ),
        (
            "truth",
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=[3]),
            r"category \[3\], which is unknown",
        ),
        ("found", lambda c: c["annotations"][0]["segments_info"][0].update(id=700), "a segment with an id twice"),
        ("found", lambda c: c["annotations"][0]["segments_info"][0].update(id=2**24), "a segment with the id 16777216"),
        ("found", lambda c: c["annotations"][0]["segments_info"][0].update(id=True), "a segment with the id True"),
        ("found", lambda c: c["annotations"][0].pop("file_name"), "picture 5 .* has no file_name or no segments_info"),
        ("found", lambda c: c["annotations"][0].update(segments_info=[4]), "no file_name or no segments_info"),
        ("found", lambda c: c["annotations"][0].pop("image_id"), "a segmentation without an image_id"),
        ("found", lambda c: c["annotations"][0].update(image_id=6), "two segmentations of the picture 6"),
        ("found", lambda c: c["annotations"].append(4), "has 4 among its annotations"),
        ("found", lambda c: c.pop("annotations"), "has no annotations"),
        ("truth", lambda c: c.pop("categories"), "has no categories.*the other way round"),
        ("truth", lambda c: c["categories"][0].pop("isthing"), "does not say whether it isthing"),
        ("found", lambda c: c["annotations"][0].update(file_name="missing.png"), r"missing\.png of the picture 5 is not there"),
        ("found", lambda c: c["annotations"][0].update(file_name="../truth/5.png"), "leads out of the folder"),
        ("found", lambda c: c["annotations"][0].update(file_name="a\0b.png"), "of the picture 5 cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused(files, name, spoil, message):
    change(files / f"{name}.json", spoil)
    with pytest.raises(ArgumentError, match=message):
        compare(files)


def test_a_png_that_holds_no_ids_is_refused(files):
    path = files / "found" / "5.png"
    write_ids(path, np.ones((3, 2), dtype=int))
    with pytest.raises(ArgumentError, match=r"5\.png of the picture 5 is 2x3 pixels, that of the truth 3x2"):
        compare(files)
    Image.new("L", (3, 2)).save(path)
    with pytest.raises(ArgumentError, match="it is a PNG of L values; ids are a PNG of RGB values"):
        compare(files)
    Image.new("RGB", (3, 2)).save(path, format="JPEG")
    with pytest.raises(ArgumentError, match="it is a JPEG"):
        compare(files)
    path.write_bytes((files / "truth" / "5.png").read_bytes()[:45])
    with pytest.raises(ArgumentError, match="cannot be read"):
        compare(files)


def test_folders_are_named_or_beside_the_file(files):
    (files / "found").rename(files / "elsewhere")
    with pytest.raises(ArgumentError, match=r"folder of segments .*found of .*found\.json does not exist"):
        compare(files)
    assert compare(files, prediction_folder=files / "elsewhere").pictures == 2
