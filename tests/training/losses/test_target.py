from __future__ import annotations

import pytest
import torch

from engine.errors import ArgumentError
from tests.training.losses.tiny_batch import random_target
from training.losses import Target


def test_boxes_are_divided_by_the_size_of_the_masks() -> None:
    masks = torch.zeros(1, 50, 100, dtype=torch.bool)
    target = Target.from_pixels(torch.tensor([0]), torch.tensor([[10.0, 10.0, 30.0, 20.0]]), masks)
    torch.testing.assert_close(target.boxes, torch.tensor([[0.2, 0.3, 0.2, 0.2]]))
    assert len(target) == 1


@pytest.mark.parametrize("count", [0, 1, 3])
def test_padding_moves_nothing(count: int) -> None:
    target = random_target(0, count, size=20)
    padded = target.padded(24, 32)
    assert padded.masks.shape == (count, 24, 32)
    assert padded.masks.dtype == torch.bool
    assert (padded.masks[:, :20, :20] == target.masks).all()
    assert padded.masks.sum() == target.masks.sum()
    torch.testing.assert_close(padded.boxes, target.boxes)


def test_masks_larger_than_the_image_are_refused() -> None:
    with pytest.raises(ArgumentError, match="20x20"):
        random_target(0, 1, size=20).padded(16, 32)


@pytest.mark.parametrize("boxes", [torch.zeros(3, 4), torch.zeros(2, 5)])
def test_shapes_that_disagree_are_refused(boxes: torch.Tensor) -> None:
    with pytest.raises(ArgumentError, match=r"\(N, 4\)"):
        Target(torch.zeros(2, dtype=torch.int64), boxes, torch.zeros(2, 4, 4, dtype=torch.bool))


def test_ignored_ground_goes_where_the_masks_go() -> None:
    ignored = torch.rand(20, 20, generator=torch.Generator().manual_seed(0)) > 0.5
    merged = ignored & (torch.arange(20) < 10)
    plain = random_target(0, 2, size=20)
    target = Target.from_pixels(plain.labels, 20 * plain.boxes, plain.masks, ignored=ignored, merged=merged)
    moved = target.to("cpu").padded(24, 32)
    for ground, before in ((moved.ignored, ignored), (moved.merged, merged)):
        assert ground.shape == (24, 32) and (ground[:20, :20] == before).all()
        assert ground.sum() == before.sum()  # padding is ground that is known to be empty
    assert plain.to("cpu").padded(24, 32).ignored is None


def test_ignored_ground_of_another_size_is_refused() -> None:
    plain, ground = random_target(0, 2, size=20), torch.zeros(20, 16, dtype=torch.bool)
    with pytest.raises(ArgumentError, match=r"\(20, 16\).*20x20"):
        Target(plain.labels, plain.boxes, plain.masks, ignored=ground)
    with pytest.raises(ArgumentError, match="merged"):
        Target(plain.labels, plain.boxes, plain.masks, merged=plain.masks[0])
