"""The instances of a crop are told by the numbers in its pixels, and lose nothing on the way to a target or a sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.data.crops import crop_of_masks
from training.data.crop import IGNORED, MERGED, Crop


def random_masks(count: int, seed: int = 0) -> np.ndarray:
    """Rectangles that overlap, one of each eight empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 24, 32), bool)
    for number, mask in enumerate(masks):
        top, left = rng.integers(0, (20, 28))
        if number % 8 < 7:
            mask[top : top + rng.integers(1, 12), left : left + rng.integers(1, 12)] = True
    return masks


@pytest.mark.parametrize("count", [0, 1, 17])
def test_masks_come_out_as_they_went_in(count: int) -> None:
    masks = random_masks(count)
    crop = crop_of_masks(masks)
    assert np.array_equal(crop.masks, masks) and crop.masks.shape == masks.shape
    assert crop.pixels.tolist() == masks.sum(axis=(1, 2)).tolist()


@pytest.mark.parametrize("smallest", [1, 20])
def test_a_target_holds_what_is_large_enough_with_the_boxes_of_the_masks(smallest: int) -> None:
    masks, labels = random_masks(17), np.arange(17) % 3
    target = crop_of_masks(masks, labels=labels).target(smallest=smallest)
    kept = masks.sum(axis=(1, 2)) >= smallest
    assert 0 < kept.sum() < 17
    assert np.array_equal(target.masks, masks[kept]) and np.array_equal(target.labels, labels[kept])
    for box, mask in zip(target.boxes * torch.tensor([32, 24, 32, 24]), masks[kept], strict=True):
        rows, columns = np.nonzero(mask)
        x, y, width, height = box.tolist()
        assert (x - width / 2, x + width / 2) == pytest.approx((columns.min(), columns.max() + 1), abs=1e-4)
        assert (y - height / 2, y + height / 2) == pytest.approx((rows.min(), rows.max() + 1), abs=1e-4)
    assert target.ignored is None and target.merged is None


def test_an_empty_crop_has_an_empty_target() -> None:
    target = crop_of_masks(np.zeros((0, 8, 8), bool)).target()
    assert target.boxes.shape == (0, 4) and target.labels.shape == (0,) and target.masks.shape == (0, 8, 8)


def test_regions_are_no_instances() -> None:
    masks = np.zeros((4, 8, 8), bool)
    masks[0, :2], masks[1, 4:6], masks[2, 6:], masks[3, 1:3] = True, True, True, True
    crop = crop_of_masks(masks, labels=np.array([2, MERGED, IGNORED, 1]))
    target = crop.target()
    assert target.labels.tolist() == [2, 1] and np.array_equal(target.masks, masks[[0, 3]])
    assert np.array_equal(target.merged, masks[1]) and np.array_equal(target.ignored, masks[1] | masks[2])
    assert np.array_equal(crop.sample(smallest=17).masks, masks[2:3])  # what is not labelled counts however small it is
    sample = crop.sample("here", smallest=16)
    assert sample.name == "here" and np.array_equal(sample.masks, masks)
    assert sample.labels.tolist() == [2, 0, 0, 1]
    assert sample.crowd.tolist() == [False, True, True, False] and sample.merged.tolist() == [False, True, False, False]


def test_instances_can_be_numbered_anew() -> None:
    crop = Crop(np.zeros((1, 4, 3), np.uint8), np.array([[[0, 1, 2, 3]]], np.int32), np.zeros(3, np.int64))
    assert crop.numbered(np.array([2, 0]), first=5).tolist() == [[[0, 6, 0, 5]]]
