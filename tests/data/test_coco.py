"""Reading the MapChallenge layout, faults of published files included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from training.data.coco import CocoFolder, mask_of_segmentation

SQUARE = [2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0]


def write_folder(folder: Path, annotations: list[dict], *, size: tuple[int, int] = (20, 16)) -> Path:
    (folder / "images").mkdir(parents=True)
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint32).reshape(size[1], size[0], 3) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / "one.png")
    images = [{"id": 7, "file_name": "one.png", "width": size[0], "height": size[1]}]
    filled = [{"id": n, "image_id": 7, "category_id": 100, "iscrowd": 0, **a} for n, a in enumerate(annotations)]
    content = {"info": {}, "categories": [{"id": 100, "name": "building"}], "images": images, "annotations": filled}
    (folder / "annotation.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def square_mask() -> np.ndarray:
    mask = np.zeros((16, 20), dtype=bool)
    mask[3:8, 2:6] = True
    return mask


def test_polygons_become_the_pixels_whose_centre_they_hold(tmp_path: Path) -> None:
    sample = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}]))[0]
    assert sample.image.shape == (16, 20, 3) and sample.image.dtype == np.uint8
    assert np.array_equal(sample.masks, square_mask()[None])
    assert not sample.crowd.any()


def test_wrong_boxes_and_areas_are_not_believed(tmp_path: Path) -> None:
    wrong = {"segmentation": [SQUARE], "bbox": [100.0, -4.0, 0.0, 1e9], "area": -5.0}
    assert np.array_equal(CocoFolder(write_folder(tmp_path, [wrong]))[0].masks, square_mask()[None])


def test_annotations_without_a_pixel_are_dropped(tmp_path: Path) -> None:
    empty = [[], [[]], [[1.0, 1.0, 2.0, 2.0]], [[4.1, 4.1, 4.3, 4.1, 4.3, 4.3]], [[50.0, 50.0, 60.0, 50.0, 60.0, 60.0]], None]
    annotations = [{"segmentation": s} for s in empty] + [{"segmentation": [SQUARE]}, {}]
    assert len(CocoFolder(write_folder(tmp_path, annotations))[0].masks) == 1


def test_an_image_without_annotations_has_no_masks(tmp_path: Path) -> None:
    sample = CocoFolder(write_folder(tmp_path, []))[0]
    assert sample.masks.shape == (0, 16, 20) and sample.crowd.shape == (0,)


def test_several_rings_are_one_instance_and_unite() -> None:
    other = [4.0, 3.0, 10.0, 3.0, 10.0, 8.0, 4.0, 8.0]  # overlaps the first: not a hole
    mask = mask_of_segmentation([SQUARE, other], 16, 20)
    assert mask[3:8, 2:10].all() and mask.sum() == 40


def test_a_ring_that_crosses_itself_still_covers_what_it_encloses() -> None:
    bow_tie = [0.0, 0.0, 10.0, 10.0, 10.0, 0.0, 0.0, 10.0]
    mask = mask_of_segmentation([bow_tie], 10, 10)
    assert 40 <= mask.sum() <= 60


@pytest.mark.parametrize("form", ["compressed bytes", "compressed text", "counts"])
def test_run_lengths_are_read_in_every_form(form: str) -> None:
    encoded = run_lengths.encode(np.asfortranarray(square_mask().astype(np.uint8)))
    if form == "compressed text":
        encoded = {**encoded, "counts": encoded["counts"].decode("ascii")}
    elif form == "counts":
        flat = square_mask().T.ravel()
        changes = np.flatnonzero(np.diff(flat)) + 1
        encoded = {"size": [16, 20], "counts": np.diff([0, *changes, flat.size]).tolist()}
    assert np.array_equal(mask_of_segmentation(encoded, 16, 20), square_mask())


def test_crowds_are_marked(tmp_path: Path) -> None:
    counts = {"size": [16, 20], "counts": [43, 5, 272]}
    sample = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}, {"segmentation": counts, "iscrowd": 1}]))[0]
    assert sample.crowd.tolist() == [False, True]


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [{"segmentation": [SQUARE]}])
    Image.new("RGB", (10, 8)).save(folder / "images" / "one.png")
    with pytest.raises(ArgumentError, match="10x8"):
        CocoFolder(folder)[0]


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"images": []}', '{"images": [{"id": 1}], "annotations": []}'])
def test_what_is_no_coco_file_is_refused_with_its_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "annotation.json").write_text(content)
    with pytest.raises(ArgumentError, match=tmp_path.name):
        CocoFolder(tmp_path)


def test_mapchallenge_tiles_read_whole(shared_data: Path) -> None:
    folder = CocoFolder(shared_data / "mapchallenge")
    samples = list(folder)
    assert len(samples) == 20
    # 188 annotations, one of which is a line along the border.
    assert sum(len(sample.masks) for sample in samples) == 187
    assert all(sample.masks.any(axis=(1, 2)).all() for sample in samples)
