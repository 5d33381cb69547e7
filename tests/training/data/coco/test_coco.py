"""Reading the MapChallenge layout, faults of published files included."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from tests.training.data.coco.coco_folder import SIZE, SQUARE, repaired, square, write_folder
from training.data.coco.folder import CocoFolder


def square_mask() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[3:8, 2:6] = True
    return mask


def only_mask(folder: Path, segmentation: Any, **more: Any) -> np.ndarray:
    (mask,) = CocoFolder(write_folder(folder, [{"segmentation": segmentation, **more}]))[0].masks
    return mask


def test_polygons_become_the_pixels_whose_centre_they_hold(tmp_path: Path) -> None:
    sample = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}]))[0]
    assert sample.image.shape == (16, 20, 3) and sample.image.dtype == np.uint8
    assert np.array_equal(sample.masks, square_mask()[None])
    assert not sample.crowd.any() and sample.labels.tolist() == [0]


def test_a_sound_file_needs_no_repair(tmp_path: Path) -> None:
    sound = {"segmentation": [SQUARE], "bbox": [2, 3, 4, 5], "area": 20}
    assert (
        CocoFolder(write_folder(tmp_path, [sound, {**sound, "segmentation": [square(9, 9, 5)], "bbox": [9, 9, 5, 5]}])).repairs
        == {}
    )


def test_wrong_boxes_and_areas_are_not_believed_but_counted(tmp_path: Path) -> None:
    wrong = [
        {"segmentation": [SQUARE], "bbox": [100.0, -4.0, 0.0, 1e9], "area": -5.0},
        {"segmentation": [square(9, 9, 5)], "bbox": "wide", "area": 10**400},
        {"segmentation": [square(1, 10, 3)], "bbox": [10, 1, 3, 3], "area": 9},  # x and y swapped, as in MapChallenge
    ]
    folder = CocoFolder(write_folder(tmp_path, wrong))
    assert np.array_equal(folder[0].masks[0], square_mask())
    assert repaired(folder.repairs, "has a bbox") == 3 and repaired(folder.repairs, "has an area") == 2


def test_annotations_without_a_pixel_are_dropped(tmp_path: Path) -> None:
    empty = [[], [[]], [[1.0, 1.0, 2.0, 2.0]], [[4.1, 4.1, 4.3, 4.1, 4.3, 4.3]], [[50.0, 50.0, 60.0, 50.0, 60.0, 60.0]], None]
    annotations = [{"segmentation": s} for s in empty] + [{"segmentation": [SQUARE]}, {}]
    folder = CocoFolder(write_folder(tmp_path, annotations))
    assert len(folder[0].masks) == 1
    assert repaired(folder.repairs, "no segmentation") == 4
    assert repaired(folder.repairs, "outside its image") == 1
    assert repaired(folder.repairs, "neither rings") == 1


@pytest.mark.parametrize(
    "ring",
    [["a", 1, 2, 3, 4, 5], [1, 1, 5, 1, 5, None], [1, 1, 5, 1, 5], "ring", [1, 1, 5, 1, float("inf"), 5], [10**400] * 6, 3.0],
)
def test_a_ring_that_is_none_leaves_the_others(tmp_path: Path, ring: Any) -> None:
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [ring, SQUARE]}, {"segmentation": [ring]}]))
    assert np.array_equal(folder[0].masks, square_mask()[None])
    assert repaired(folder.repairs, "a ring that is no list of points") == 1
    assert repaired(folder.repairs, "neither rings") == 1


def test_outlines_that_reach_beyond_the_image_are_cut(tmp_path: Path) -> None:
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [square(-4, -4, 10)]}]))
    assert folder[0].masks.sum() == 36 and repaired(folder.repairs, "beyond its image") == 1


def test_a_building_that_is_there_twice_is_learned_once(tmp_path: Path) -> None:
    twice = [{"segmentation": [SQUARE]}, {"segmentation": [square(9, 9, 5)]}, {"segmentation": [SQUARE], "id": 99}]
    folder = CocoFolder(write_folder(tmp_path, twice))
    assert len(folder[0].masks) == 2 and repaired(folder.repairs, "a second time") == 1


def test_ids_that_occur_again_do_no_harm(tmp_path: Path) -> None:
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [square(n * 6, 2, 5)], "id": 1} for n in range(3)]))
    assert len(folder[0].masks) == 3 and repaired(folder.repairs, "another annotation has") == 2


def test_annotations_of_unknown_images_and_categories_are_left_out(tmp_path: Path) -> None:
    strange = [{"image_id": 8}, {"image_id": None}, {"image_id": [7]}, {"category_id": 1}, {"category_id": None}, {}]
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [square(1 + n, 1, 4)], **s} for n, s in enumerate(strange)]))
    assert len(folder[0].masks) == 1
    assert repaired(folder.repairs, "no image of the file") == 3 and repaired(folder.repairs, "category") == 2


def test_a_file_of_which_no_annotation_can_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"annotation\.json can be used: an annotation has a category that the file does not list"
    ):
        CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE], "category_id": 1}]))


def test_a_file_without_images_is_refused_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="None of the 1 annotations"):
        CocoFolder(write_folder(tmp_path / "a", [{"segmentation": [SQUARE]}], names=[]))
    assert len(CocoFolder(write_folder(tmp_path / "b", [], names=[]))) == 0


def test_classes_follow_the_ids_of_their_categories(tmp_path: Path) -> None:
    categories = [{"id": 9, "name": "shed"}, {"id": 100, "name": "house"}, {"id": 2, "name": "tank"}]
    annotations = [{"segmentation": [square(1, 1, 4)]}, {"segmentation": [square(9, 9, 4)], "category_id": 9}]
    folder = CocoFolder(write_folder(tmp_path, annotations, categories=categories))
    assert folder.classes == ("tank", "shed", "house") and folder[0].labels.tolist() == [2, 1]


def test_categories_that_are_not_listed_are_named_by_their_ids(tmp_path: Path) -> None:
    assert CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}], categories=[])).classes == ("100",)


def test_an_image_without_annotations_has_no_masks(tmp_path: Path) -> None:
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE], "image_id": 8}], names=["one.png", "two.png"]))
    assert folder[0].masks.shape == (0, 16, 20) and folder[0].crowd.shape == (0,)
    assert len(folder[1].masks) == 1


def test_annotations_find_their_image_in_any_order(tmp_path: Path) -> None:
    mixed = [{"segmentation": [square(2 * n, n, 3)], "image_id": 7 + n % 3} for n in range(9)]
    folder = CocoFolder(write_folder(tmp_path, mixed, names=["a.png", "b.png", "c.png"]))
    for index in range(3):
        corners = [(np.argwhere(mask).min(axis=0)).tolist() for mask in folder[index].masks]
        assert corners == [[n, 2 * n] for n in range(index, 9, 3)]


def test_several_rings_are_one_instance_and_unite(tmp_path: Path) -> None:
    mask = only_mask(tmp_path, [SQUARE, [4.0, 3.0, 10.0, 3.0, 10.0, 8.0, 4.0, 8.0]])  # the second overlaps: not a hole
    assert mask[3:8, 2:10].all() and mask.sum() == 40


def test_a_ring_that_crosses_itself_still_covers_what_it_encloses(tmp_path: Path) -> None:
    bow_tie = [0.0, 0.0, 10.0, 10.0, 10.0, 0.0, 0.0, 10.0]
    assert 40 <= only_mask(tmp_path, [bow_tie]).sum() <= 60


@pytest.mark.parametrize("form", ["compressed", "counts"])
def test_run_lengths_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    wanted = np.random.default_rng(0).random(SIZE[::-1]) < 0.3
    encoded = run_lengths.encode(np.asfortranarray(wanted.astype(np.uint8)))
    written = {"size": [16, 20], "counts": encoded["counts"].decode("ascii")}
    if form == "counts":
        flat = wanted.T.ravel()
        changes = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *changes, flat.size]).tolist()
        written["counts"] = [0, *counts] if flat[0] else counts
    assert np.array_equal(only_mask(tmp_path, written), wanted)


@pytest.mark.parametrize(
    "runs",
    [
        {"size": [16, 20]},
        {"size": [16, 20], "counts": [1, 2]},
        {"size": [16, 20], "counts": [330, -10]},
        {"size": [9, 9], "counts": [43, 5, 33]},
        {"size": "large", "counts": [43, 5, 272]},
        {"size": [16, 20], "counts": ["a"]},
        {"size": [10**9, 10**9], "counts": "43"},
        {"size": [16, 20], "counts": 7},
        {"size": [16, 20], "counts": "0"},  # pycocotools would fill the mask with what is in memory
        {"size": [16, 20], "counts": "P"},
        {"size": [16, 20], "counts": "not runs"},
    ],
)
def test_run_lengths_that_do_not_fit_their_image_are_left_out(tmp_path: Path, runs: dict[str, Any]) -> None:
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": runs}, {"segmentation": [SQUARE]}]))
    assert len(folder[0].masks) == 1 and repaired(folder.repairs, "neither rings") == 1


def test_crowds_are_marked(tmp_path: Path) -> None:
    counts = {"size": [16, 20], "counts": [43, 5, 272]}
    sample = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}, {"segmentation": counts, "iscrowd": 1}]))[0]
    assert sample.crowd.tolist() == [False, True]


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"images": []}', '{"images": [{"id": 1}], "annotations": []}'])
def test_what_is_no_coco_file_is_refused_with_its_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "annotation.json").write_text(content)
    with pytest.raises(ArgumentError, match=tmp_path.name):
        CocoFolder(tmp_path)


def test_a_file_that_ends_in_the_middle_is_refused(tmp_path: Path) -> None:
    file = write_folder(tmp_path, [{"segmentation": [SQUARE]}] * 5) / "annotation.json"
    file.write_text(file.read_text()[:-100])
    with pytest.raises(ArgumentError, match=r"annotation\.json cannot be read"):
        CocoFolder(tmp_path)


def test_a_folder_sent_to_another_process_is_the_same(tmp_path: Path) -> None:
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}], names=["one.png", "é.png"]))
    received = pickle.loads(pickle.dumps(folder))
    assert np.array_equal(received[0].masks, folder[0].masks) and received.paths() == folder.paths()
    assert received.image(1) == folder.image(1) and received.image(1).path.name == "é.png"


def test_ids_may_be_words(tmp_path: Path) -> None:
    images = [{"id": "north", "file_name": "one.png", "width": 20, "height": 16}]
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE], "image_id": "north"}], images=images))
    assert folder.image(0).id == "north" and len(folder[0].masks) == 1


def test_the_resolution_is_told_where_all_images_agree(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [], names=["a.png", "b.png"])
    content = json.loads((folder / "annotation.json").read_text())
    for gsds, told in (((0.3, 0.301), 0.3005), ((0.3, 0.6), None), ((0.3, None), None), ((-1, -1), None)):
        for entry, gsd in zip(content["images"], gsds, strict=True):
            entry["gsd"] = gsd
        (folder / "annotation.json").write_text(json.dumps(content))
        assert CocoFolder(folder).gsd == (pytest.approx(told) if told else None)


def test_a_changed_image_is_refused_by_name_and_id(tmp_path: Path) -> None:
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}]))
    Image.new("RGB", (10, 8)).save(tmp_path / "images" / "one.png")
    with pytest.raises(ArgumentError, match=r"one.png \(id 7\) is 10x8"):
        folder[0]
    (tmp_path / "images" / "one.png").write_text("no picture")
    with pytest.raises(ArgumentError, match=r"one.png \(id 7\) cannot be read"):
        folder[0]


def test_mapchallenge_tiles_read_whole(shared_data: Path) -> None:
    folder = CocoFolder(shared_data / "mapchallenge")
    samples = list(folder)
    assert len(samples) == 20
    # 188 annotations, one of which is a line along the border.
    assert sum(len(sample.masks) for sample in samples) == 187
    assert all(sample.masks.any(axis=(1, 2)).all() for sample in samples)
