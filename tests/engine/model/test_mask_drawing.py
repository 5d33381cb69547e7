"""Masks enlarged block by block are those of enlarging whole maps."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from engine.model.mask_drawing import EnlargedMasks


def _whole(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    padded = [4 * side for side in logits.shape[1:]]
    enlarged = F.interpolate(logits[:, None], size=padded, mode="bilinear", align_corners=False)
    return enlarged[:, 0, : size[0], : size[1]]


def _houses(count: int, height: int, width: int) -> torch.Tensor:
    logits = torch.randn(count, height, width) * 0.3 - 3
    for number, mask in enumerate(logits):
        mask[number : number + 5, 2 * number : 2 * number + 7] += 6
    return logits


@pytest.mark.parametrize("kind", ["noise", "houses", "nothing", "everything"])
@pytest.mark.parametrize(
    ("map_size", "size"), [((16, 24), (64, 96)), ((16, 24), (33, 70)), ((9, 30), (36, 120)), ((8, 8), (1, 1))]
)
def test_they_are_those_of_whole_maps(kind: str, map_size: tuple[int, int], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    logits = {
        "noise": torch.randn(7, *map_size),
        "houses": _houses(7, *map_size),
        "nothing": torch.full((7, *map_size), -1.0),
        "everything": torch.full((7, *map_size), 1.0),
    }[kind]
    enlarged = EnlargedMasks(logits, size)
    expected = _whole(logits, size)
    order = torch.randperm(7)
    found = enlarged.masks(order)
    assert found.shape == (7, *size)
    # the sums of an interpolation are added in another order: a logit of 0 may fall to either side
    assert ((found != (expected > 0)[order]) & (expected[order].abs() > 1e-6)).sum() == 0
    inside = expected > 0
    certainty = (expected.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
    torch.testing.assert_close(enlarged.certainty, certainty, rtol=1e-5, atol=1e-5)


def test_no_mask_at_all() -> None:
    enlarged = EnlargedMasks(torch.zeros(0, 8, 8), (30, 32))
    assert enlarged.certainty.shape == (0,)
    assert enlarged.masks(torch.zeros(0, dtype=torch.int64)).shape == (0, 30, 32)
