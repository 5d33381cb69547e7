"""Crops of whole images: scaled, cut and filled up as the published runs did, outlines with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.errors import ArgumentError
from tests.training.data.coco.coco_folder import square, write_folder
from training.data.coco.folder import CocoFolder
from training.data.sources import ImageSource


def painted(folder: Path, size: tuple[int, int], places: list[tuple[int, int, int]], **keywords: Any) -> ImageSource:
    """White squares on black, annotated."""
    write_folder(folder, [{"segmentation": [square(*place)]} for place in places], size=size)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y, side in places:
        pixels[y : y + side, x : x + side] = 255
    Image.fromarray(pixels).save(folder / "images" / "one.png")
    return ImageSource(CocoFolder(folder), **keywords)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_image_as_large_as_the_crop_is_the_crop(tmp_path: Path) -> None:
    source = painted(tmp_path, (64, 64), [(5, 9, 20), (40, 40, 24)])
    sample = source.draw(rng(), size=64, scale=1.0, fill=128)
    assert np.array_equal(sample.image, source.images.pixels(0))
    assert np.array_equal(sample.masks, source.images[0].masks)


def test_a_part_of_a_larger_image_is_not_resampled(tmp_path: Path) -> None:
    source = painted(tmp_path, (90, 70), [(5, 9, 20), (40, 40, 24)])
    Image.fromarray(rng().integers(0, 255, (70, 90, 3), dtype=np.uint8)).save(tmp_path / "images" / "one.png")
    pixels, everywhere = source.images.pixels(0), source.images[0].masks.any(0)
    for seed in range(10):
        sample = source.draw(rng(seed), size=32, scale=1.0, fill=128)
        places = np.argwhere((pixels[:39, :59] == sample.image[0, 0]).all(axis=2))
        found = [(y, x) for y, x in places if np.array_equal(pixels[y : y + 32, x : x + 32], sample.image)]
        assert len(found) == 1
        (y, x) = found[0]
        assert np.array_equal(
            everywhere[y : y + 32, x : x + 32], sample.masks.any(0) if len(sample.masks) else np.zeros((32, 32))
        )


@pytest.mark.parametrize("scale", [0.1, 0.37, 0.5])
def test_a_smaller_image_stands_at_the_top_left_and_is_filled_up(tmp_path: Path, scale: float) -> None:
    source = painted(tmp_path, (80, 60), [(0, 0, 40)])
    sample = source.draw(rng(), size=64, scale=scale, fill=128)
    right, below = round(80 * scale), round(60 * scale)
    assert (sample.image[:, right + 1 :] == 128).all() and (sample.image[below + 1 :] == 128).all()
    (mask,) = sample.masks
    assert mask.sum() == pytest.approx((40 * scale) ** 2, abs=2 * 40 * scale + 1) and mask[0, 0]


@pytest.mark.parametrize(("size", "fits"), [((300, 300), 320 / 300), ((640, 200), 0.5), ((20, 160), 2.0)])
def test_a_fitted_image_fills_the_crop_with_its_longer_side(tmp_path: Path, size: tuple[int, int], fits: float) -> None:
    source = painted(tmp_path, size, [(0, 0, size[0] // 2)], fit=True)
    sample = source.draw(rng(), size=320, scale=1.0, fill=128)
    assert sample.masks[0][0].sum() == pytest.approx(size[0] // 2 * fits, abs=1)


def test_larger_images_are_seen_everywhere_and_never_left(tmp_path: Path) -> None:
    source = painted(tmp_path, (90, 70), [(0, 0, 8), (82, 62, 8)])
    Image.new("RGB", (90, 70)).save(tmp_path / "images" / "one.png")
    corners = np.zeros(2, dtype=int)
    for seed in range(300):
        sample = source.draw(rng(seed), size=48, scale=1.5, fill=128)
        assert sample.image.max() == 0
        corners += [sample.masks[:, 0, 0].any(), sample.masks[:, -1, -1].any()]
    assert (corners > 0).all()


@pytest.mark.parametrize("scale", [0.3, 0.8, 1.0, 1.7, 4.0])
def test_masks_lie_on_what_is_painted_at_every_scale(tmp_path: Path, scale: float) -> None:
    source = painted(tmp_path, (100, 100), [(10, 10, 30), (55, 20, 40), (20, 60, 25)])
    for seed in range(5):
        sample = source.draw(rng(seed), size=64, scale=scale, fill=0)
        edges = np.abs(np.diff(sample.masks.any(0).astype(int), axis=0)).sum() * 2 + 1
        painted_pixels = sample.image[..., 0] > 127
        assert (painted_pixels != sample.masks.any(0)).sum() < 0.5 * edges + 4


@pytest.mark.parametrize(
    ("own", "told", "model", "factor"),
    [(0.15, None, 0.3, 0.5), (None, 0.6, 0.3, 2.0), (0.6, 0.15, 0.3, 2.0), (None, None, 0.3, 1.0)],
)
def test_images_of_known_resolution_come_at_that_of_the_model(
    tmp_path: Path, own: float | None, told: float | None, model: float, factor: float
) -> None:
    images = [{"id": 7, "file_name": "one.png", "width": 40, "height": 40, "gsd": told}]
    write_folder(tmp_path, [{"segmentation": [square(0, 0, 20)]}], size=(40, 40), images=images)
    source = ImageSource(CocoFolder(tmp_path), gsd=model, image_gsd=own)
    (mask,) = source.draw(rng(), size=96, scale=1.0, fill=0).masks
    assert mask.sum() == (20 * factor) ** 2


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no images"):
        ImageSource(CocoFolder(write_folder(tmp_path, [], names=[])))
