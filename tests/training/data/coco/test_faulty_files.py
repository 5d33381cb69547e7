"""Whatever is wrong with a file: training, audit and evaluation agree on it, and a clean copy has nothing left to repair."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import ArgumentError
from training.data.audit.audit import audit_dataset
from training.data.audit.clean import write_clean
from training.data.coco.faults import FAULTS, KEPT
from training.data.coco.folder import CocoFolder
from training.evaluation.coco.truth import NO_PIXEL, read_truth

WIDTH, HEIGHT = 30, 20
PICTURES = ("rgb.png", "grey.png", "clear.png", "wide.png", "deep.png", "broken.png", "small.png", "s/rgb.png", "gone.png")
NAN, FAR = float("nan"), 1e300


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that can be used, and some that cannot."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "s").mkdir()
    for number, (name, mode) in enumerate(
        [("rgb", "RGB"), ("s/rgb", "RGB"), ("wide", "RGB"), ("grey", "L"), ("clear", "RGBA"), ("small", "RGB")]
    ):
        pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        (image.crop((0, 0, 9, 9)) if name == "small" else image).save(folder / f"{name}.png")
    Image.fromarray(np.full((HEIGHT, WIDTH), 3000, dtype=np.uint16)).save(folder / "deep.png")
    (folder / "broken.png").write_text("no picture")
    return folder


inside = st.one_of(st.integers(0, 20), st.floats(-0.5, 20.5), st.sampled_from([10.0, 10.004, -4, 33, 1e-61]))
numbers = st.one_of(inside, st.sampled_from([NAN, FAR, -FAR, 10**400]))
rings = st.lists(inside, min_size=6, max_size=12).map(lambda ring: ring[: len(ring) // 2 * 2])
boxes = st.tuples(st.integers(-4, 28), st.integers(-4, 18), st.sampled_from([1, 3, 8.5]), st.sampled_from([2, 8.5])).map(
    lambda box: [box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3], box[0], box[1] + box[3]]
)
junk = st.sampled_from([None, "x", 7, [], [1], {}, True, NAN])
runs = st.lists(st.integers(-1, WIDTH * HEIGHT), max_size=6)
filled = st.lists(st.integers(0, 99), min_size=1, max_size=4).map(lambda counts: [*counts, WIDTH * HEIGHT - sum(counts)])
sizes = st.sampled_from([[HEIGHT, WIDTH], [HEIGHT, WIDTH], [WIDTH, HEIGHT], "x", [9]])
segmentations = st.one_of(
    st.lists(boxes, min_size=1, max_size=2),
    st.lists(rings, min_size=1, max_size=3),
    st.lists(st.one_of(boxes, rings, st.lists(numbers, max_size=8), junk), max_size=3),
    st.fixed_dictionaries({"size": sizes, "counts": st.one_of(filled, runs, st.sampled_from(["0", "P", "", 7, None]))}),
    junk,
)
category_ids = st.one_of(st.just(100), st.just(100), st.sampled_from([5, 7, [1], None, "a"]))
image_ids = st.one_of(st.just(1), st.integers(1, 3), st.sampled_from([1, 2, 3, "north", 99, None, [1]]))
annotations = st.fixed_dictionaries(
    {"image_id": image_ids, "segmentation": segmentations, "category_id": category_ids},
    optional={
        "id": st.sampled_from([1, 2, "one", None]), "bbox": st.one_of(junk, st.lists(numbers, min_size=4, max_size=4)),
        "area": st.one_of(junk, numbers), "iscrowd": st.sampled_from([0, 1, None]), "merged": st.sampled_from([0, 1]),
    },
)  # fmt: skip
several = st.lists(st.one_of(annotations, annotations, annotations, annotations, junk), max_size=9)
categories = st.sampled_from([[{"id": 100, "name": "house"}, {"id": 5}], [{"id": 100, "name": 3}, "x", {}, {"id": [1]}], []])
stated = [(WIDTH, HEIGHT)] * 4 + [(HEIGHT, WIDTH)] * 2 + [(0, HEIGHT), (None, None), (NAN, HEIGHT), ("30", HEIGHT), (31, 20)]
images = st.fixed_dictionaries(
    {"id": st.sampled_from([1, 4, 5, 6, "north"]), "file_name": st.sampled_from(PICTURES), "size": st.sampled_from(stated)},
    optional={
        "ignore": st.one_of(junk, st.lists(st.one_of(boxes, rings, junk), max_size=2)), "gsd": st.one_of(junk, st.just(0.3)),
        "bounds": st.one_of(junk, st.just([0, 0, 1, 1])), "crs": st.sampled_from(["EPSG:3857", None]),
    },
).map(lambda image: {**image, "width": image["size"][0], "height": image["size"][1]})  # fmt: skip
sound_images = [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(PICTURES[:3], start=1)]
entries = st.one_of(
    st.just(sound_images), st.lists(st.one_of(images, junk), max_size=4).map(lambda more: [*sound_images, *more])
)
contents = st.fixed_dictionaries(
    {
        "images": entries,
        "annotations": several.map(lambda some: some + some[::3]),
        "categories": categories,
    }
)


NAMED = {use: {name for name, fault in FAULTS.items() if getattr(fault, use) != KEPT} for use in ("training", "evaluation")}


def write(folder: Path, content: Any, pictures: Path) -> Path:
    shutil.copytree(pictures, folder / "images")
    (folder / "annotation.json").write_text(json.dumps(content))
    return folder


def refusal(read: Callable[[], Any]) -> str:
    """Return why a file is refused, empty if it is not."""
    try:
        read()
    except ArgumentError as error:
        return str(error)
    return ""


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(content=contents)
def test_a_clean_copy_needs_no_repair(tmp_path_factory: pytest.TempPathFactory, pictures: Path, content: Any) -> None:
    folder = write(tmp_path_factory.mktemp("faulty"), content, pictures)
    audit = audit_dataset(folder, workers=1)
    write_clean(audit, folder / "clean")
    assert CocoFolder(folder / "clean").repairs == CocoFolder(folder / "clean", complete=True).repairs == {}
    again = audit_dataset(folder / "clean", workers=1)
    assert again.splits[0].faults.keys() <= {"tiny"} and not again.splits[0].drop.any()


def test_outlines_that_are_the_same_once_they_are_cut_are_written_once(tmp_path: Path, pictures: Path) -> None:
    wide = [[[20, 2, right, 2, right, 9, 20, 9]] for right in (WIDTH, WIDTH + 5, WIDTH + 9)]
    outlines = [{"id": number, "image_id": 1, "category_id": 100, "segmentation": rings} for number, rings in enumerate(wide)]
    content = {"images": sound_images[:1], "annotations": outlines, "categories": [{"id": 100, "name": "house"}]}
    audit = audit_dataset(write(tmp_path / "faulty", content, pictures), workers=1)
    (written,) = write_clean(audit, tmp_path / "clean")
    assert written.annotations == 1 and audit.splits[0].faults["repeated"].count == 2
    assert CocoFolder(tmp_path / "clean").repairs == {}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(content=contents)
def test_all_three_take_the_same_annotations(tmp_path_factory: pytest.TempPathFactory, pictures: Path, content: Any) -> None:
    folder = write(tmp_path_factory.mktemp("faulty"), content, pictures)
    found = audit_dataset(folder, workers=1).splits[0].faults
    measured = refusal(lambda: read_truth(folder / "annotation.json", folder / "images"))
    if measured:
        with pytest.raises(ArgumentError, match=re.escape(measured)):
            CocoFolder(folder, complete=True)
        return
    truth, read = read_truth(folder / "annotation.json", folder / "images"), CocoFolder(folder)
    objects = [entry["image_id"] for entry in truth.dataset["annotations"] if entry.get("region") != "ignored"]
    assert [objects.count(image.id) for image in truth.images] == [len(read.rows(number)) for number in range(len(read))]
    assert read.classes == tuple(category["name"] for category in truth.dataset["categories"])
    for use, done in ("training", read.repairs), ("evaluation", truth.repairs):
        said = {what.removeprefix(f"{read.annotation_file}: ") for what in done} - {NO_PIXEL}
        assert said == {f"an {FAULTS[name].of} {FAULTS[name].sentence(use)}" for name in found if name in NAMED[use]}
