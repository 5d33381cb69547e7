"""Each augmentation can be looked at: pictures show the crops that are trained on, with their masks and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import ArgumentError, OutputError
from tests.training.data.coco.coco_folder import square, write_folder
from tests.training.data.crops import crop_of_masks
from training.data.augmentation_config import AugmentationConfig
from training.data.augmentation_preview import draw_crop, write_previews
from training.data.coco.folder import CocoFolder
from training.data.dataset import TrainingCrops
from training.data.sources import ImageSource


def crops(folder: Path) -> TrainingCrops:
    write_folder(folder, [{"segmentation": [square(4 * n, 2 * n, 6)]} for n in range(3)], names=["a.png", "b.png"])
    source = ImageSource(CocoFolder(folder))
    return TrainingCrops([(source, 1.0)], length=None, size=32, augmentation=AugmentationConfig(), smallest=1)


def test_a_mask_is_tinted_and_its_box_drawn_around_it() -> None:
    mask = torch.zeros((1, 64, 64), dtype=torch.bool)
    mask[0, 10:20, 30:50] = True
    plain = np.asarray(draw_crop(torch.full((3, 64, 64), 90.0), crop_of_masks(mask[:0].numpy()).target()))
    drawn = np.asarray(draw_crop(torch.full((3, 64, 64), 90.0), crop_of_masks(mask.numpy()).target()))
    factor = len(drawn) // 64
    changed = (drawn != plain).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == tuple(factor * v for v in (10, 20, 30, 50))
    assert changed[10 * factor : 20 * factor, 30 * factor : 50 * factor].all()


def test_every_crop_and_both_sheets_are_written(tmp_path: Path) -> None:
    train = crops(tmp_path / "data")
    paths = write_previews(train, tmp_path / "new" / "pictures", count=3)
    assert [path.name for path in paths] == [
        "crop_0000.png",
        "crop_0001.png",
        "crop_0002.png",
        "crops.png",
        "augmentations.png",
    ]
    for index in range(3):
        assert np.array_equal(np.asarray(Image.open(paths[index])), np.asarray(draw_crop(*train[index])))
    assert min(Image.open(paths[4]).size) > 1000


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    train = crops(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_previews(train, tmp_path / "file", count=1)
    with pytest.raises(ArgumentError, match="count"):
        write_previews(train, tmp_path / "pictures", count=0)
