"""Changes of a crop move image and masks together, and keep every building that can still be seen."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision import tv_tensors

from training.data.augmentation import Crop, blend, make_augmentation, mosaic, tilt
from training.data.augmentation_config import AugmentationConfig
from training.data.sample import Sample

SIDE = 48


def checkered(seed: int = 0, count: int = 6) -> Crop:
    """White squares on black that do not touch, labelled in turn."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, SIDE, SIDE), bool)
    for number, mask in enumerate(masks):
        row, column = divmod(number, 3)
        top, left = row * 22 + rng.integers(2, 8), column * 16 + rng.integers(1, 5)
        mask[top : top + 9, left : left + 10] = True
    image = np.repeat(masks.any(0)[..., None] * np.uint8(255), 3, axis=2)
    return Crop.of(Sample(image, masks, labels=np.arange(count) % 3))


def painted_is_masked(crop: Crop, *, share: float = 0.0) -> bool:
    painted = crop.image[0] > 127
    return ((painted != crop.masks.any(0)).float().mean() <= share).item()


def colourless(orientations: Literal["none", "horizontal", "eight"]) -> AugmentationConfig:
    return AugmentationConfig(orientations=orientations, colour=0.0)


@pytest.mark.parametrize(("orientations", "count"), [("none", 1), ("horizontal", 2), ("eight", 8)])
def test_orientations_occur_all_and_no_other(orientations: Literal["none", "horizontal", "eight"], count: int) -> None:
    picture = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3).repeat(3, 1, 1)
    turns = [torch.rot90(picture, k, (1, 2)) for k in range(4)]
    known = [tuple(t[0].flatten().tolist()) for t in [picture, picture.flip(2), *turns[1:], *(t.flip(2) for t in turns[1:])]]
    augment = make_augmentation(colourless(orientations))
    seen = set()
    for _ in range(200):
        image, mask = augment(tv_tensors.Image(picture), tv_tensors.Mask(picture[:1] > 4))
        assert torch.equal(image[0] > 4, mask[0])
        seen.add(tuple(image[0].flatten().tolist()))
    assert seen == set(known[:count])


def test_colour_changes_the_picture_and_nothing_else() -> None:
    crop = checkered()
    grey = tv_tensors.Image(crop.image // 2 + 60)
    augment = make_augmentation(AugmentationConfig(orientations="none", colour=1.0))
    torch.manual_seed(0)
    results = [augment(grey, crop.masks) for _ in range(10)]
    assert all(torch.equal(masks, crop.masks) for _, masks in results)
    assert all(image.dtype == torch.uint8 and not torch.equal(image, grey) for image, _ in results)


def test_a_tilted_crop_has_no_empty_corners_and_keeps_its_masks_on_the_buildings() -> None:
    crop = checkered()
    bright = Crop(tv_tensors.Image(crop.image.clamp(min=40)), crop.masks, crop.labels)
    changed = 0
    for seed in range(20):
        tilted = tilt(bright, np.random.default_rng(seed), distortion=0.2)
        assert tilted.image.shape == bright.image.shape and tilted.image.min() >= 40
        assert tilted.masks.dtype == torch.bool and tilted.masks.shape == bright.masks.shape
        assert painted_is_masked(tilted, share=0.06) and torch.equal(tilted.labels, bright.labels)
        changed += not torch.equal(tilted.image, bright.image)
    assert changed == 20


def test_a_mosaic_is_made_of_pieces_of_all_four() -> None:
    crops = [checkered(seed) for seed in range(4)]
    for value, crop in enumerate(crops):
        crop.image = tv_tensors.Image(torch.full_like(crop.image, 50 * (value + 1)))
    for seed in range(10):
        made = mosaic(crops, np.random.default_rng(seed))
        shares = [(made.image[0] == 50 * (value + 1)).float().mean().item() for value in range(4)]
        assert sum(shares) == pytest.approx(1) and min(shares) >= 1 / 16 - 1e-6
        for value, crop in enumerate(crops):
            own = made.masks[6 * value : 6 * value + 6]
            assert not own[:, made.image[0] != 50 * (value + 1)].any()
            assert (own.flatten(1).sum(1) <= crop.masks.flatten(1).sum(1)).all()
        assert torch.equal(made.labels, torch.cat([crop.labels for crop in crops]))


def test_buildings_of_a_mosaic_lie_where_they_are_painted() -> None:
    for seed in range(10):
        assert painted_is_masked(mosaic([checkered(n) for n in range(4)], np.random.default_rng(seed)))


def test_mixup_shows_both_images_and_keeps_the_instances_of_both() -> None:
    first, second = checkered(0), checkered(1, count=4)
    mixed = blend(first, second, np.random.default_rng(0))
    assert len(mixed.masks) == len(mixed.labels) == 10
    assert torch.equal(mixed.masks[:6], first.masks) and torch.equal(mixed.masks[6:], second.masks)
    alone = mixed.image[0][first.masks.any(0) & ~second.masks.any(0)]
    assert alone.unique().numel() == 1 and 60 < alone[0] < 195
    assert (mixed.image[0][first.masks.any(0) & second.masks.any(0)] == 255).all()


def test_crowds_are_not_learned_from() -> None:
    masks = np.ones((3, 4, 4), dtype=bool)
    crop = Crop.of(
        Sample(np.zeros((4, 4, 3), np.uint8), masks, crowd=np.array([False, True, False]), labels=np.array([0, 1, 2]))
    )
    assert crop.masks.shape == (2, 4, 4) and crop.labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    "wrong", [{"scale": (2.0, 0.5)}, {"scale": (0, 1)}, {"orientations": "four"}, {"mixup": 1.5}, {"colors": 1}, {"fill": 256}]
)
def test_impossible_changes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentationConfig.model_validate(wrong)
