"""A batch brings to its device what was put into it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.data.crops import crop_of_masks
from training.data.batch import collate
from training.losses.target import Target


def sample(count: int, side: int, seed: int, *, ground: bool) -> tuple[torch.Tensor, Target]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand((count, side, side), generator=generator) < 0.3
    target = crop_of_masks(masks.numpy(), labels=np.arange(count) % 3).target()
    if ground:
        target.ignored = torch.rand((side, side), generator=generator) < 0.5
        target.merged = target.ignored & (torch.rand((side, side), generator=generator) < 0.5)
    return torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8), target


@pytest.mark.parametrize("side", [32, 52, 7])
@pytest.mark.parametrize("grounds", [(False, True, False, True), (False,) * 4, (True,) * 4])
def test_targets_come_out_as_they_went_in(side: int, grounds: tuple[bool, ...]) -> None:
    counts = (3, 0, 1, 5)
    samples = [sample(n, side, seed, ground=g) for seed, (n, g) in enumerate(zip(counts, grounds, strict=True))]
    batch = collate(samples).to("cpu")
    assert batch.masks.numel() <= 9 * side * (side // 8 + 1)
    for image, target, (expected_image, expected) in zip(batch.images, batch.targets, samples, strict=True):
        assert torch.equal(image, expected_image)
        for name in ("labels", "boxes", "masks", "ignored", "merged"):
            ours, theirs = getattr(target, name), getattr(expected, name)
            assert ours is theirs is None or (ours.dtype == theirs.dtype and torch.equal(ours, theirs)), name


def test_a_batch_without_any_instance() -> None:
    batch = collate([sample(0, 16, 0, ground=False)] * 2)
    assert [len(target) for target in batch.targets] == [0, 0] and batch.targets[0].masks.shape == (0, 16, 16)
