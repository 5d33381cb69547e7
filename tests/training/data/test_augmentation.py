"""Changes of a crop move image and masks together, and keep every building that can still be seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision import tv_tensors

from training.data.augmentation import IGNORED, MERGED, Crop, blend, copy_paste, lean, make_augmentation, mosaic, tilt
from training.data.augmentation_config import AugmentationConfig
from training.data.radiometry import (
    ChannelGain,
    Coarsening,
    Darkening,
    Haze,
    ImageChange,
    PercentileStretch,
    SensorNoise,
)
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
    for seed in range(10):
        drawn: list[Crop] = []

        def draw(side: int, drawn: list[Crop] = drawn) -> Crop:
            crop = checkered(len(drawn))
            image = tv_tensors.Image(torch.full((3, side, side), 50 * (len(drawn) + 1), dtype=torch.uint8))
            drawn.append(Crop(image, tv_tensors.Mask(crop.masks[:, :side, :side]), crop.labels))
            return drawn[-1]

        made = mosaic(draw, SIDE, np.random.default_rng(seed))
        shares = [(made.image[0] == 50 * (value + 1)).float().mean().item() for value in range(4)]
        assert sum(shares) == pytest.approx(1) and min(shares) >= 1 / 16 - 1e-6
        assert max(crop.image.shape[-1] for crop in drawn) <= SIDE - SIDE // 4, "no piece is drawn larger than its place"
        for value, crop in enumerate(drawn):
            own = made.masks[6 * value : 6 * value + 6]
            assert not own[:, made.image[0] != 50 * (value + 1)].any()
            assert (own.flatten(1).sum(1) <= crop.masks.flatten(1).sum(1)).all()
        assert torch.equal(made.labels, torch.cat([crop.labels for crop in drawn]))


def test_buildings_of_a_mosaic_lie_where_they_are_painted() -> None:
    for seed in range(10):
        seeds = iter(range(4))

        def draw(side: int, seeds: Iterator[int] = seeds) -> Crop:
            crop = checkered(next(seeds))
            return Crop(
                tv_tensors.Image(crop.image[:, :side, :side]), tv_tensors.Mask(crop.masks[:, :side, :side]), crop.labels
            )

        assert painted_is_masked(mosaic(draw, SIDE, np.random.default_rng(seed)))


def test_pasted_buildings_cover_what_was_there() -> None:
    for seed in range(10):
        first, second = checkered(0), checkered(1, count=4)
        first.image = tv_tensors.Image(first.image // 255 * 100)
        made = copy_paste(first, second, np.random.default_rng(seed))
        pasted = made.masks[6:]
        assert 1 <= len(pasted) <= 4 and len(made.labels) == 6 + len(pasted)
        assert all(any(torch.equal(mask, whole) for whole in second.masks) for mask in pasted)
        assert not (made.masks[:6] & pasted.any(0)).any()
        assert torch.equal(made.masks[:6] | (first.masks & pasted.any(0)), first.masks)
        inside = -torch.nn.functional.max_pool2d(-pasted.any(0)[None].float(), 3, stride=1, padding=1)[0] > 0
        assert (made.image[:, inside] == 255).all()
        untouched = torch.nn.functional.max_pool2d(pasted.any(0)[None].float(), 3, stride=1, padding=1)[0] == 0
        assert torch.equal(made.image[:, untouched], first.image[:, untouched])


def test_leaning_buildings_move_one_way_and_stay_apart() -> None:
    for seed in range(10):
        before = checkered(seed)
        after = lean(before, np.random.default_rng(seed))
        assert after.masks.sum(0).max() <= 1, "nothing is seen through a roof"
        moved = [centre(b) - centre(a) for a, b in zip(before.masks, after.masks, strict=True) if a.sum() == b.sum()]
        directions = np.array([step / np.hypot(*step) for step in moved if np.hypot(*step) >= 1])
        assert len(moved) >= 3 and (directions @ directions.T > 0.7).all()
        roofs = after.image[0][after.masks.any(0)]
        assert (roofs == 255).all(), "a roof keeps its pixels"
        walls = (after.image[0] > 0) & (after.image[0] < 255)
        assert not (walls & after.masks.any(0)).any()


def centre(mask: torch.Tensor) -> np.ndarray:
    return np.argwhere(mask.numpy()).mean(axis=0)


@pytest.mark.parametrize("change", [ChannelGain(0.1), Haze(), Darkening(), Coarsening(), PercentileStretch(), SensorNoise()])
def test_a_sensor_changes_the_image_alone(change: ImageChange) -> None:
    crop = checkered()
    image = tv_tensors.Image(torch.randint(60, 200, (3, 40, 40), dtype=torch.uint8))
    torch.manual_seed(0)
    changed, masks = change(image, crop.masks)
    assert isinstance(changed, tv_tensors.Image) and changed.dtype == torch.uint8 and changed.shape == image.shape
    assert not torch.equal(changed, image) and masks is crop.masks
    flat = change(tv_tensors.Image(torch.full((3, 8, 8), 90, dtype=torch.uint8)))[0]
    assert flat.shape == (3, 8, 8)


def test_haze_takes_contrast_and_darkness_takes_light() -> None:
    image = tv_tensors.Image(torch.randint(20, 235, (3, 64, 64), dtype=torch.uint8))
    for seed in range(10):
        torch.manual_seed(seed)
        assert Haze()(image)[0].float().std() < 0.9 * image.float().std()
        assert Darkening()(image)[0].float().mean() < 0.9 * image.float().mean()
        dull = tv_tensors.Image((90 + image.float() / 8).byte())
        assert PercentileStretch()(dull)[0].float().std() > 3 * dull.float().std()


def test_mixup_shows_both_images_and_keeps_the_instances_of_both() -> None:
    first, second = checkered(0), checkered(1, count=4)
    mixed = blend(first, second, np.random.default_rng(0))
    assert len(mixed.masks) == len(mixed.labels) == 10
    assert torch.equal(mixed.masks[:6], first.masks) and torch.equal(mixed.masks[6:], second.masks)
    alone = mixed.image[0][first.masks.any(0) & ~second.masks.any(0)]
    assert alone.unique().numel() == 1 and 60 < alone[0] < 195
    assert (mixed.image[0][first.masks.any(0) & second.masks.any(0)] == 255).all()


def test_crowds_and_merged_buildings_become_regions() -> None:
    crowd, merged = np.array([False, True, True]), np.array([False, False, True])
    sample = Sample(np.zeros((4, 4, 3), np.uint8), np.ones((3, 4, 4), dtype=bool), "", crowd, np.array([2, 1, 0]), merged)
    assert Crop.of(sample).labels.tolist() == [2, IGNORED, MERGED]


@pytest.mark.parametrize(
    "wrong", [{"scale": (2.0, 0.5)}, {"scale": (0, 1)}, {"orientations": "four"}, {"mixup": 1.5}, {"colors": 1}, {"fill": 256}]
)
def test_impossible_changes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentationConfig.model_validate(wrong)
