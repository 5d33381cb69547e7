"""A config's data opens as crops to train on and images to validate on, or says what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from engine.errors import ArgumentError, ConfigError
from tests.training.data.coco.coco_folder import repaired, square, write_folder
from tests.training.run.training_run import write_houses
from training.data.augmentation_config import AugmentationConfig
from training.data.config import DataConfig
from training.data.training_data import TrainingData, open_training_data

HOUSES = [{"segmentation": [square(2 + 5 * n, 3, 4)], "image_id": 7 + n % 2} for n in range(3)]
TWO = ({"id": 1, "name": "shed"}, {"id": 2, "name": "house"})
TURNED = ({"id": 1, "name": "house"}, {"id": 2, "name": "shed"})


def coco(folder: Path, annotations: list[dict[str, Any]] = HOUSES, **keywords: Any) -> dict[str, Any]:
    write_folder(folder, annotations, names=["a.png", "b.png"], **keywords)
    return {"kind": "coco", "folder": str(folder)}


def opened(**data: Any) -> TrainingData:
    return open_training_data(DataConfig.model_validate({"size": 32, **data}), AugmentationConfig(), seed=0)


def test_a_folder_opens_as_crops_of_each_image_and_whole_images(tmp_path: Path) -> None:
    data = opened(sources=[coco(tmp_path / "set" / "train")], validation=[coco(tmp_path / "set" / "val")])
    assert len(data.train) == 2 and data.train[0][0].shape == (3, 32, 32)
    assert [len(sample.masks) for sample in data.validation] == [2, 1]
    assert data.validation[0].image.shape == (16, 20, 3)
    assert data.classes == ("building",) and data.gsd is None
    assert [(record.name, record.licence, record.images) for record in data.records] == [("set/train", "unknown", 2)]
    assert data.coco_folders == tuple(
        [tmp_path / "set" / s / "images" / n for n in ("a.png", "b.png")] for s in ("train", "val")
    )


def test_repairs_of_all_files_are_counted(tmp_path: Path) -> None:
    data = opened(sources=[coco(tmp_path / "a"), coco(tmp_path / "b")])
    assert len(data.train) == 4
    assert repaired(data.repairs, f"{tmp_path / 'a'}/annotation.json: an annotation has a bbox") == 3
    assert repaired(data.repairs, f"{tmp_path / 'b'}/annotation.json: an annotation has a bbox") == 3


def test_other_places_of_images_and_annotations_are_taken(tmp_path: Path) -> None:
    coco(tmp_path / "set")
    (tmp_path / "set" / "images").rename(tmp_path / "pictures")
    (tmp_path / "set" / "annotation.json").rename(tmp_path / "outlines.json")
    places = {"images": str(tmp_path / "pictures"), "annotations": str(tmp_path / "outlines.json")}
    assert len(opened(sources=[{"kind": "coco", "folder": str(tmp_path), **places}]).train) == 2


def test_classes_are_matched_by_name_between_sources(tmp_path: Path) -> None:
    def annotated(folder: str, categories: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        return coco(tmp_path / folder, [{**house, "category_id": 1} for house in HOUSES], categories=categories)

    data = opened(sources=[annotated("a", TWO)], validation=[annotated("b", TURNED)])
    assert data.classes == ("shed", "house")
    assert data.validation[0].labels.tolist() == [1, 1]
    assert set(torch.cat([data.train[index][1].labels for index in range(10)]).tolist()) == {0}
    with pytest.raises(ConfigError, match="house"):
        opened(sources=[annotated("c", TWO[:1])], validation=[annotated("d", TWO)])


def test_a_single_class_may_have_any_name(tmp_path: Path) -> None:
    named = coco(tmp_path / "b", [{**house, "category_id": 1} for house in HOUSES], categories=TWO[1:] + TWO[:1])
    other = coco(tmp_path / "c", categories=[{"id": 100, "name": "roof"}])
    assert opened(sources=[coco(tmp_path / "a")], validation=[other]).classes == ("building",)
    with pytest.raises(ConfigError, match="shed"):
        opened(sources=[other], validation=[named])


def test_towns_open_as_crops_and_windows(tmp_path: Path) -> None:
    towns = {"kind": "towns", "count": 2, "size": 128, "cache": str(tmp_path)}
    data = opened(sources=[towns, coco(tmp_path / "a")], validation=[{**towns, "seed": 50}], gsd=0.3, samples_per_epoch=10)
    assert len(data.train) == 10 and data.gsd == 0.3 and data.classes == ("building",)
    assert all(sample.image.shape == (32, 32, 3) for sample in data.validation)
    seen, trained = {int(path.name.split("-")[1]) for path in tmp_path.glob("town*.npz")}, {0, 1}
    assert seen - trained == {50, 51}


def test_the_resolution_is_that_of_the_images_where_they_agree(tmp_path: Path) -> None:
    fine, coarse = ({**coco(tmp_path / name), "gsd": gsd} for name, gsd in (("a", 0.15), ("b", 0.3)))
    assert opened(sources=[fine]).gsd == 0.15
    assert opened(sources=[fine, coarse]).gsd is None
    assert opened(sources=[fine, coarse], gsd=0.3).gsd == 0.3
    assert opened(sources=[{**fine, "fit": True}]).gsd is None


def test_images_that_are_held_out_are_validated_on_and_not_trained_on(tmp_path: Path) -> None:
    source = {**coco(tmp_path / "set"), "hold_out": ["b.*"]}
    data = opened(sources=[source])
    assert len(data.train) == 1 and [sample.name for sample in data.validation] == ["b.png"]
    assert [[path.name for path in side] for side in data.coco_folders] == [["a.png"], ["b.png"]]
    assert data.records[0].images == 1
    with pytest.raises(ArgumentError, match=r"'c\.\*', which fits no image"):
        opened(sources=[{**source, "hold_out": ["c.*"]}])
    with pytest.raises(ArgumentError, match="none is left to train on"):
        opened(sources=[{**source, "hold_out": ["*"]}])


def test_images_in_memory_are_cut_at_any_angle_and_validated_in_windows(tmp_path: Path) -> None:
    folder = write_houses(tmp_path / "houses", images=3, size=128)
    names = sorted(path.name for path in (folder / "images").iterdir())
    source = {"kind": "coco", "folder": str(folder), "in_memory": True, "gsd": 0.3, "hold_out": [names[0]], "name": "houses"}
    data = opened(sources=[source], gsd=0.3, samples_per_epoch=5, size=64)
    assert data.validation.ranges == {"houses": range(4)}, "128 pixels are two windows of 64 a side"
    assert data.train[0][0].shape == (3, 64, 64)
    with pytest.raises(ArgumentError, match="metres per pixel"):
        opened(sources=[{**source, "gsd": None}], gsd=0.3, samples_per_epoch=5)
    with pytest.raises(ArgumentError, match="one class"):
        several = coco(tmp_path / "two", [{**house, "category_id": 1} for house in HOUSES], categories=TWO)
        opened(sources=[{**several, "in_memory": True, "gsd": 0.3}], gsd=0.3, samples_per_epoch=5)


def test_places_of_one_name_are_one_place(tmp_path: Path) -> None:
    folders = {"x": "P", "y": "Q", "z": "P"}
    sources = [{**coco(tmp_path / folder), "name": name, "hold_out": ["b.png"]} for folder, name in folders.items()]
    assert opened(sources=sources).validation.ranges == {"P": range(2), "Q": range(2, 3)}


def test_validation_may_be_empty_and_ends_where_it_ends(tmp_path: Path) -> None:
    assert len(opened(sources=[coco(tmp_path / "a")]).validation) == 0
    with pytest.raises(IndexError):
        opened(sources=[coco(tmp_path / "b")], validation=[coco(tmp_path / "c")]).validation[2]


def test_bad_data_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    sources = [coco(tmp_path / "a")]
    (tmp_path / "a" / "images" / "b.png").unlink()
    with pytest.raises(ArgumentError, match=r"b\.png \(id 8\): it is not there"):
        opened(sources=sources)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sources": []}, "at least 1"),
        ({"sources": [{"kind": "coco"}]}, "folder"),
        ({"sources": [{"kind": "pictures", "folder": "a"}]}, "coco"),
        ({"sources": [{"kind": "coco", "folder": "a", "path": "b"}]}, "path"),
        ({"sources": [{"kind": "coco", "folder": "a", "weight": 2.0}]}, "weight"),
        ({"sources": [{"kind": "coco", "folder": "a", "scale": [2, 1]}]}, "no range"),
        ({"sources": [{"kind": "coco", "folder": "a", "fit": True, "in_memory": True}]}, "exclude"),
        ({"sources": [{"kind": "coco", "folder": "a", "in_memory": True}], "samples_per_epoch": 5}, "gsd"),
        ({"validation": [{"kind": "coco", "folder": "a", "hold_out": ["b"]}]}, "hold_out"),
        ({"sources": [{"kind": "towns"}], "samples_per_epoch": 5}, "gsd"),
        ({"sources": [{"kind": "towns"}], "gsd": 0.3}, "samples_per_epoch"),
        ({"validation": [{"kind": "tiles", "folder": "a", "image_zoom": 20, "label_zoom": 19}]}, "gsd"),
        ({"size": 100}, "multiple of 32"),
    ],
)
def test_what_cannot_work_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DataConfig.model_validate({"sources": [{"kind": "coco", "folder": "a"}], **change})


def test_images_that_are_fitted_are_validated_as_they_are_trained_on(tmp_path: Path) -> None:
    """A model that has seen houses at half their size would be measured on houses that it never saw."""
    folder = write_houses(tmp_path / "houses", images=3, size=128)
    source = {"kind": "coco", "folder": str(folder), "fit": True}
    config = DataConfig.model_validate({"sources": [source], "validation": [source], "size": 64, "smallest": 1})
    plain = AugmentationConfig(orientations="none", scale=(1.0, 1.0), colour=0.0)
    data = open_training_data(config, plain, seed=0)
    assert len(data.validation) == 3
    trained = {crop[0].sum().item(): crop[1].masks for crop in (data.train[index] for index in range(3))}
    for sample in data.validation:
        assert sample.image.shape == (64, 64, 3)
        masks = trained[float(sample.image.sum())]
        assert np.array_equal(sample.masks, masks.numpy())
