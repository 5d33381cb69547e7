"""Masks enlarged block by block are those of enlarging whole maps."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from engine.model.host_transfer import unpack_bits
from engine.model.mask_drawing import EnlargedMasks

# as they are drawn on a CPU, and as they are drawn on a GPU
WAYS = pytest.mark.parametrize("way", [{"skip_empty": True, "packed": False}, {"skip_empty": False, "packed": True}])


def _masks(enlarged: EnlargedMasks, order: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    masks = enlarged.masks(order)
    return masks if masks.dtype == torch.bool else unpack_bits(masks[:, : size[0]], size[1])


def _whole(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    padded = [4 * side for side in logits.shape[1:]]
    enlarged = F.interpolate(logits[:, None], size=padded, mode="bilinear", align_corners=False)
    return enlarged[:, 0, : size[0], : size[1]]


def _houses(count: int, height: int, width: int) -> torch.Tensor:
    logits = torch.randn(count, height, width) * 0.3 - 3
    for number, mask in enumerate(logits):
        mask[number : number + 5, 2 * number : 2 * number + 7] += 6
    return logits


@WAYS
@pytest.mark.parametrize("kind", ["noise", "houses", "nothing", "everything"])
@pytest.mark.parametrize(
    ("map_size", "size"), [((16, 24), (64, 96)), ((16, 24), (33, 70)), ((9, 30), (36, 120)), ((8, 8), (1, 1))]
)
def test_they_are_those_of_whole_maps(kind: str, map_size: tuple[int, int], size: tuple[int, int], way: dict) -> None:
    torch.manual_seed(0)
    logits = {
        "noise": torch.randn(7, *map_size),
        "houses": _houses(7, *map_size),
        "nothing": torch.full((7, *map_size), -1.0),
        "everything": torch.full((7, *map_size), 1.0),
    }[kind]
    enlarged = EnlargedMasks(logits, size, **way)
    expected = _whole(logits, size)
    order = torch.randperm(7)
    found = _masks(enlarged, order, size)
    assert found.shape == (7, *size)
    # the sums of an interpolation are added in another order: a logit of 0 may fall to either side
    assert ((found != (expected > 0)[order]) & (expected[order].abs() > 1e-6)).sum() == 0
    inside = expected > 0
    certainty = (expected.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
    torch.testing.assert_close(enlarged.certainty, certainty, rtol=1e-5, atol=1e-5)


@WAYS
def test_no_mask_at_all(way: dict) -> None:
    enlarged = EnlargedMasks(torch.zeros(0, 8, 8), (30, 32), **way)
    assert enlarged.certainty.shape == (0,)
    assert _masks(enlarged, torch.zeros(0, dtype=torch.int64), (30, 32)).shape == (0, 30, 32)


def test_both_ways_see_the_same() -> None:
    torch.manual_seed(0)
    logits, order = _houses(7, 20, 24), torch.randperm(7)
    cpu, gpu = (EnlargedMasks(logits, (77, 90), skip_empty=skip, packed=not skip) for skip in (True, False))
    assert torch.equal(_masks(cpu, order, (77, 90)), _masks(gpu, order, (77, 90)))
    torch.testing.assert_close(cpu.certainty, gpu.certainty)
