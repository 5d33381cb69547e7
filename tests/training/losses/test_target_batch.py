from __future__ import annotations

from dataclasses import replace

import torch

from tests.training.losses.tiny_batch import random_target
from training.losses.target_batch import TargetBatch


def test_in_order() -> None:
    targets = [random_target(0, 2), random_target(1, 0), random_target(2, 1)]
    batch = TargetBatch.of(targets)
    assert len(batch) == 3 and batch.counts == [2, 0, 1]
    assert (batch.masks[2] == targets[2].masks[0]).all()
    assert batch.image.tolist() == [0, 0, 2]
    assert batch.slots.tolist() == [[0, 1], [0, 0], [2, 0]]


def test_without_any_instance() -> None:
    batch = TargetBatch.of([random_target(0, 0), random_target(1, 0)])
    assert len(batch) == 0 and batch.slots.shape == (2, 0) and batch.image.shape == (0,)


def test_ground_is_nowhere_in_images_without_it() -> None:
    ignored = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.5
    batch = TargetBatch.of([random_target(0, 1), replace(random_target(1, 1), ignored=ignored)])
    assert not batch.ignored[0].any() and (batch.ignored[1] == ignored).all() and batch.merged is None
    assert TargetBatch.of([random_target(0, 1)]).ignored is None


def test_padded_to_one_size() -> None:
    targets = [random_target(0, 1, size=20), random_target(1, 1, size=30)]
    batch = TargetBatch.of(targets, size=(32, 40))
    assert batch.masks.shape == (2, 32, 40) and batch.masks.sum() == sum(target.masks.sum() for target in targets)
