"""Where the first boxes of the queries come from."""

from __future__ import annotations

import pytest
import torch

from engine.model.families.maskdino.query_selection import mask_boxes


def _mask(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


def test_bitmask_counts_the_last_row_and_column_in() -> None:
    box = mask_boxes(_mask(8, 10, slice(2, 6), slice(1, 4)), kind="bitmask")
    assert torch.allclose(box, torch.tensor([2.5 / 10, 4 / 8, 3 / 10, 4 / 8]))


def test_mask2box_does_not() -> None:
    box = mask_boxes(_mask(8, 10, slice(2, 6), slice(1, 4)), kind="mask2box")
    assert torch.allclose(box, torch.tensor([2 / 10, 3.5 / 8, 2 / 10, 3 / 8]))


@pytest.mark.parametrize(("kind", "expected"), [("bitmask", [0, 0, 0, 0]), ("mask2box", [1, 1, 0, 0])])
def test_an_empty_mask_is_a_point_at_a_corner(kind: str, expected: list[float]) -> None:
    assert mask_boxes(torch.zeros(3, 4, 5, dtype=torch.bool), kind=kind).tolist() == [expected] * 3


@pytest.mark.parametrize("kind", ["bitmask", "mask2box"])
def test_masks_of_a_batch_do_not_touch_each_other(kind: str) -> None:
    masks = torch.rand(2, 7, 9, 11, generator=torch.Generator().manual_seed(0)) > 0.95
    one_by_one = torch.stack([torch.stack([mask_boxes(mask, kind=kind) for mask in image]) for image in masks])
    assert torch.equal(mask_boxes(masks, kind=kind), one_by_one)
