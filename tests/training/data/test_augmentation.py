"""Changes of a crop move image and masks together, and keep every building that can still be seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from tests.training.data.crops import crop_of_masks
from training.data.augmentation import blend, copy_paste, lean, mosaic, tilt, turn
from training.data.augmentation_config import AugmentationConfig
from training.data.crop import Crop
from training.data.radiometry import (
    Blur,
    ChannelGain,
    Coarsening,
    ColourJitter,
    Darkening,
    Grey,
    Haze,
    HueShift,
    ImageChange,
    JpegArtefacts,
    PercentileStretch,
    SensorNoise,
    change_image,
    image_changes,
)

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
    return crop_of_masks(masks, image=image, labels=np.arange(count) % 3)


def shown(crop: Crop) -> np.ndarray:
    return crop.image[..., 0] > 127


def painted_is_masked(crop: Crop, *, share: float = 0.0) -> bool:
    return (shown(crop) != crop.masks.any(0)).mean() <= share


@pytest.mark.parametrize(("orientations", "count"), [("none", 1), ("horizontal", 2), ("eight", 8)])
def test_orientations_occur_all_and_no_other(orientations: Literal["none", "horizontal", "eight"], count: int) -> None:
    picture = np.arange(9, dtype=np.uint8).reshape(3, 3)
    known = [np.rot90(each, k).tobytes() for each in (picture, picture[:, ::-1]) for k in range(4)]
    known[1:2], known[4:5] = known[4:5], known[1:2]  # the mirrored one second
    crop, rng = crop_of_masks(picture[None] > 4, image=picture[..., None].repeat(3, axis=2)), np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        turned = turn(crop, rng, orientations)
        assert np.array_equal(turned.image[..., 0] > 4, turned.masks[0])
        seen.add(turned.image[..., 0].tobytes())
    assert seen == set(known[:count])


def test_colour_changes_every_picture_and_none_alike() -> None:
    grey, rng = checkered().image // 2 + 60, np.random.default_rng(0)
    results = [change_image(grey, image_changes(AugmentationConfig(colour=1.0)), rng) for _ in range(10)]
    assert all(image.dtype == np.uint8 and image.shape == grey.shape for image in results)
    assert len({image.tobytes() for image in (grey, *results)}) == 11
    assert change_image(grey, image_changes(AugmentationConfig(colour=0.0)), rng) is grey


def test_a_tilted_crop_has_no_empty_corners_and_keeps_its_masks_on_the_buildings() -> None:
    crop = checkered()
    bright = Crop(crop.image.clip(40), crop.layers, crop.labels)
    changed = 0
    for seed in range(20):
        tilted = tilt(bright, np.random.default_rng(seed), distortion=0.2)
        assert tilted.image.shape == bright.image.shape and tilted.image.min() >= 40
        assert tilted.masks.shape == bright.masks.shape
        assert painted_is_masked(tilted, share=0.06) and np.array_equal(tilted.labels, bright.labels)
        changed += not np.array_equal(tilted.image, bright.image)
    assert changed == 20


def test_a_mosaic_is_made_of_pieces_of_all_four() -> None:
    for seed in range(10):
        drawn: list[Crop] = []

        def draw(side: int, drawn: list[Crop] = drawn) -> Crop:
            crop = checkered(len(drawn))
            image = np.full((side, side, 3), 50 * (len(drawn) + 1), dtype=np.uint8)
            drawn.append(Crop(image, crop.layers[:, :side, :side], crop.labels))
            return drawn[-1]

        made = mosaic(draw, SIDE, np.random.default_rng(seed))
        shares = [(made.image[..., 0] == 50 * (value + 1)).mean() for value in range(4)]
        assert sum(shares) == pytest.approx(1) and min(shares) >= 1 / 16 - 1e-6
        assert max(len(crop.image) for crop in drawn) <= SIDE - SIDE // 4, "no piece is drawn larger than its place"
        for value, crop in enumerate(drawn):
            own = made.masks[6 * value : 6 * value + 6]
            assert not own[:, made.image[..., 0] != 50 * (value + 1)].any()
            assert (own.sum((1, 2)) <= crop.pixels).all()
        assert np.array_equal(made.labels, np.concatenate([crop.labels for crop in drawn]))


def test_buildings_of_a_mosaic_lie_where_they_are_painted() -> None:
    for seed in range(10):
        seeds = iter(range(4))

        def draw(side: int, seeds: Iterator[int] = seeds) -> Crop:
            crop = checkered(next(seeds))
            return Crop(crop.image[:side, :side], crop.layers[:, :side, :side], crop.labels)

        assert painted_is_masked(mosaic(draw, SIDE, np.random.default_rng(seed)))


def test_pasted_buildings_cover_what_was_there() -> None:
    for seed in range(10):
        first, second = checkered(0), checkered(1, count=4)
        first.image = first.image // 255 * np.uint8(100)
        made = copy_paste(first, second, np.random.default_rng(seed))
        pasted = made.masks[6:]
        assert 1 <= len(pasted) <= 4 and len(made.labels) == 6 + len(pasted)
        assert all(any(np.array_equal(mask, whole) for whole in second.masks) for mask in pasted)
        assert not (made.masks[:6] & pasted.any(0)).any()
        assert np.array_equal(made.masks[:6] | (first.masks & pasted.any(0)), first.masks)
        inside = ndimage.binary_erosion(pasted.any(0), np.ones((3, 3)))
        assert inside.any() and (made.image[inside] == 255).all()
        untouched = ~ndimage.binary_dilation(pasted.any(0), np.ones((3, 3)))
        assert np.array_equal(made.image[untouched], first.image[untouched])


def test_leaning_buildings_move_one_way_and_stay_apart() -> None:
    for seed in range(10):
        before = checkered(seed)
        after = lean(before, np.random.default_rng(seed))
        assert after.masks.sum(0).max() <= 1, "nothing is seen through a roof"
        moved = [centre(b) - centre(a) for a, b in zip(before.masks, after.masks, strict=True) if a.sum() == b.sum()]
        directions = np.array([step / np.hypot(*step) for step in moved if np.hypot(*step) >= 1])
        assert len(moved) >= 3 and (directions @ directions.T > 0.7).all()
        roofs = after.image[after.masks.any(0)]
        assert (roofs == 255).all(), "a roof keeps its pixels"
        walls = (after.image[..., 0] > 0) & (after.image[..., 0] < 255)
        assert walls.any() and not (walls & after.masks.any(0)).any()


def centre(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


CHANGES = [
    ColourJitter(brightness=0.3, contrast=0.3, saturation=0.3), ChannelGain(0.1), HueShift(0.1), Grey(),
    Blur((0.3, 1.1)), Haze(), Darkening(), Coarsening(), PercentileStretch(), SensorNoise(), JpegArtefacts((35, 95)),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_sensor_changes_an_image_and_not_what_it_was_given(change: ImageChange) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 200, (40, 44, 3), dtype=np.uint8)
    before = image.copy()
    changed = change_image(image, [(1.0, change)], rng)
    assert changed.dtype == np.uint8 and changed.shape == image.shape
    assert not np.array_equal(changed, image) and np.array_equal(image, before)
    assert change_image(np.full((8, 8, 3), 90, dtype=np.uint8), [(1.0, change)], rng).shape == (8, 8, 3)


def test_haze_takes_contrast_and_darkness_takes_light() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pixels = torch.from_numpy(rng.uniform(20, 235, (3, 64, 64)).astype(np.float32))
        assert Haze()(pixels, rng).std() < 0.9 * pixels.std()
        assert Darkening()(pixels, rng).mean() < 0.9 * pixels.mean()
        dull = 90 + pixels / 8
        assert PercentileStretch()(dull, rng).std() > 3 * dull.std()


def test_colour_is_jittered_as_by_one_step_after_the_other() -> None:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.uniform(90, 160, (3, 9, 7)).astype(np.float32))
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    jitter = ColourJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    brightness, contrast, saturation = np.random.default_rng(1).uniform(0.8, 1.2, 3)
    brighter = brightness * pixels
    steeper = contrast * brighter + (1 - contrast) * (weights * brighter).sum(0).mean()
    wanted = saturation * steeper + (1 - saturation) * (weights * steeper).sum(0)
    torch.testing.assert_close(jitter(pixels, np.random.default_rng(1)), wanted.float(), rtol=1e-5, atol=1e-3)


def test_greys_have_no_hue_to_be_shifted_and_a_third_of_a_turn_exchanges_the_bands() -> None:
    class Third:
        def uniform(self, low: float, high: float) -> float:
            return high

    pixels = torch.rand(3, 5, 4) * 255
    grey = pixels[:1].expand(3, -1, -1)
    torch.testing.assert_close(HueShift(0.1)(grey, np.random.default_rng(0)), grey, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(HueShift(1 / 3)(pixels, Third()), pixels[[2, 0, 1]], rtol=1e-5, atol=1e-3)


def test_mixup_shows_both_images_and_keeps_the_instances_of_both() -> None:
    first, second = checkered(0), checkered(1, count=4)
    mixed = blend(first, second, np.random.default_rng(0))
    assert len(mixed.masks) == len(mixed.labels) == 10
    assert np.array_equal(mixed.masks[:6], first.masks) and np.array_equal(mixed.masks[6:], second.masks)
    alone = mixed.image[first.masks.any(0) & ~second.masks.any(0)]
    assert len(np.unique(alone)) == 1 and 60 < alone[0, 0] < 195
    assert (mixed.image[first.masks.any(0) & second.masks.any(0)] == 255).all()


@pytest.mark.parametrize(
    "wrong", [{"scale": (2.0, 0.5)}, {"scale": (0, 1)}, {"orientations": "four"}, {"mixup": 1.5}, {"colors": 1}, {"fill": 256}]
)
def test_impossible_changes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentationConfig.model_validate(wrong)
