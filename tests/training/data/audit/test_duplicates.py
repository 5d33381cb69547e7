"""Copies are found however they were stored or turned; other ground is never called a copy, in one style or not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from training.data.audit.duplicates import (
    MAX_DIFFERENT_BITS,
    Pictures,
    bit_count,
    find_leakage,
    find_pairs,
    groups_of,
    read_pictures,
)
from training.data.audit.perceptual_hash import SIDE, hash_orientations, is_blank, likeness, orient, read_thumbnail
from training.data.synthetic.town import SyntheticTown


def pictures_of(thumbnails: np.ndarray) -> Pictures:
    return Pictures(hash_orientations(thumbnails), thumbnails, is_blank(thumbnails))


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Pictures with structure at every scale."""
    total = sum(
        np.repeat(np.repeat(rng.normal(0, 30, (count, side, side)), SIDE // side, 1), SIDE // side, 2)
        for side in (4, 8, 16, 32)
    )
    return np.clip(total + 120, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def town() -> np.ndarray:
    """Twenty-five tiles of one town: one style, one light, one palette."""
    image = SyntheticTown(4, 1000, 0.3, "dense").image
    return np.stack([image[y : y + 200, x : x + 200] for y in range(0, 1000, 200) for x in range(0, 1000, 200)])


@pytest.fixture(scope="module")
def originals(town, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("town")
    return [save(folder, f"{n}.png", tile, compress_level=1) for n, tile in enumerate(town)]


def save(folder: Path, name: str, image: Image.Image | np.ndarray, **options) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("number", range(8))
def test_the_hash_of_a_turned_picture_needs_no_turning(number: int) -> None:
    thumbnails = noise(np.random.default_rng(0), 20)
    expected = hash_orientations(np.ascontiguousarray(orient(thumbnails, number)))[:, 0]
    assert np.array_equal(hash_orientations(thumbnails)[:, number], expected)


def test_orientations_are_the_eight() -> None:
    picture = np.arange(12).reshape(3, 4)
    assert len({orient(picture, number).tobytes() + bytes(orient(picture, number).shape) for number in range(8)}) == 8
    assert np.array_equal(orient(picture, 5), np.rot90(picture, -1)) and np.array_equal(orient(picture, 6), np.rot90(picture))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_bits_are_counted(numbers: list[int]) -> None:
    assert bit_count(np.array(numbers, np.uint64)).tolist() == [number.bit_count() for number in numbers]


CHANGES = {
    "stored as a poor JPEG": lambda im: reopened(im, quality=40),
    "brighter": lambda im: ImageEnhance.Brightness(im).enhance(1.15),
    "less contrast": lambda im: ImageEnhance.Contrast(im).enhance(0.85),
    "half the size": lambda im: im.resize((im.width // 2, im.height // 2), Image.Resampling.BICUBIC),
    "larger": lambda im: im.resize((im.width * 4 // 3, im.height * 4 // 3), Image.Resampling.BILINEAR),
    "pale": lambda im: ImageEnhance.Color(im).enhance(0.5),
    "turned, and a JPEG": lambda im: reopened(im.transpose(Image.Transpose.ROTATE_90), quality=60),
    "mirrored": lambda im: im.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "transposed": lambda im: im.transpose(Image.Transpose.TRANSPOSE),
    "cropped by a pixel": lambda im: im.crop((1, 1, im.width - 1, im.height - 1)),
}


def reopened(image: Image.Image, **options) -> Image.Image:
    target = io.BytesIO()
    image.save(target, "JPEG", **options)
    return Image.open(target).convert("RGB")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(town, originals, tmp_path, change: str) -> None:
    copies = [
        save(tmp_path, f"{n}.png", CHANGES[change](Image.fromarray(tile)), compress_level=1) for n, tile in enumerate(town[:12])
    ]
    pairs = find_pairs(read_pictures([*originals, *copies], workers=2))
    assert [(pair.first, pair.second) for pair in pairs] == [(n, 25 + n) for n in range(12)]
    assert all(pair.likeness > 0.8 and pair.bits <= MAX_DIFFERENT_BITS for pair in pairs)


def test_tiles_of_one_style_are_not_copies(town, tmp_path) -> None:
    other = SyntheticTown(5, 600, 0.3, "dense").image
    tiles = [*town, *(other[y : y + 200, x : x + 200] for y in range(0, 600, 200) for x in range(0, 600, 200))]
    paths = [save(tmp_path, f"{n}.jpg", tile) for n, tile in enumerate(tiles)]
    assert find_pairs(read_pictures(paths, workers=1)) == []


def test_a_black_border_makes_no_copies(town, tmp_path) -> None:
    """Tiles at the slanted edge of a raster show the same edge: what lies within decides."""
    edge = np.add.outer(np.arange(200), np.arange(200)) < 240
    paths = [save(tmp_path, f"{n}.png", tile * edge[..., None]) for n, tile in enumerate(town)]
    assert find_pairs(read_pictures(paths, workers=1)) == []


def test_blank_pictures_are_not_compared(tmp_path) -> None:
    rng = np.random.default_rng(0)
    paths = [save(tmp_path, f"{n}.jpg", np.full((60, 60, 3), 30 * n, np.uint8) + rng.integers(0, 2, (60, 60, 1), np.uint8))
             for n in range(6)]  # fmt: skip
    pictures = read_pictures(paths, workers=1)
    assert pictures.blank.all() and find_pairs(pictures) == []


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_any_kind_of_picture_is_read(tmp_path, mode: str) -> None:
    grey = noise(np.random.default_rng(1), 1)[0]
    image = Image.fromarray(grey.astype(np.uint16) * 100) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    thumbnail = read_thumbnail(save(tmp_path, "p.tif", image))
    assert thumbnail.shape == (SIDE, SIDE) and thumbnail.dtype == np.uint8


def test_what_is_no_picture_is_said_and_the_rest_is_read(town, tmp_path) -> None:
    paths = [save(tmp_path, "a.png", town[0]), tmp_path / "none.png", tmp_path / "text.png", tmp_path / "cut.jpg"]
    paths[2].write_text("not a picture")
    paths[3].write_bytes(save(tmp_path, "whole.jpg", town[1]).read_bytes()[:900])
    pictures = read_pictures(paths, workers=2)
    assert [file.fault for file in pictures.files] == ["", "missing", "unreadable", "unreadable"]
    assert (pictures.files[0].width, pictures.files[0].height) == (200, 200) and pictures.blank.tolist() == [
        False,
        True,
        True,
        True,
    ]


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), copies=st.lists(st.integers(0, 30), max_size=40))
def test_groups_do_not_depend_on_the_order(seed: int, copies: list[int]) -> None:
    rng = np.random.default_rng(seed)
    base = noise(rng, 31)
    sources = np.r_[np.arange(31), np.array(copies, dtype=int)]
    turned = np.stack([orient(base[n], int(rng.integers(8))) for n in sources])
    order = rng.permutation(len(sources))
    group = groups_of(find_pairs(pictures_of(turned[order])), len(sources))
    for first in range(len(sources)):
        same = sources[order] == sources[order][first]
        assert np.array_equal(group == group[first], same)


def test_thousands_of_copies_of_one_picture_hang_together_in_no_time() -> None:
    """Satellite data sets hold tiles of sea by the thousand: never all pairs of them."""
    rng = np.random.default_rng(2)
    one = noise(rng, 1).astype(int)
    crowd = np.clip(one + rng.integers(-12, 13, (3000, SIDE, SIDE)), 0, 255).astype(np.uint8)
    pictures = pictures_of(np.concatenate([crowd, noise(rng, 200)]))
    pairs = find_pairs(pictures)
    group = groups_of(pairs, 3200)
    assert (group[:3000] == 0).all() and np.array_equal(group[3000:], np.arange(3000, 3200))
    assert len(pairs) < 3 * 3000


def test_leakage_names_both_pictures(originals, tmp_path) -> None:
    copy = save(tmp_path, "copy.jpg", reopened(Image.open(originals[3]).rotate(180), quality=70))
    assert find_leakage(originals[:10], [originals[12], copy]) == [(copy, originals[3])]
    assert find_leakage(originals[:10], []) == [] and find_leakage([], [copy, copy]) == []


def test_likeness_is_symmetric_and_that_of_a_picture_with_itself_is_one() -> None:
    pictures = noise(np.random.default_rng(3), 10)
    assert np.allclose(likeness(pictures, pictures), 1, atol=1e-3)
    assert np.allclose(likeness(pictures[:5], pictures[5:]), likeness(pictures[5:], pictures[:5]), atol=1e-6)
    assert likeness(np.zeros((1, SIDE, SIDE), np.uint8), np.zeros((1, SIDE, SIDE), np.uint8)) == 0


def test_real_tiles_of_five_places_hold_no_copies(shared_data: Path) -> None:
    paths = [*(shared_data / "mapchallenge" / "images").iterdir(), *(shared_data / "fair").rglob("*-19.jpg")]
    assert find_pairs(read_pictures(sorted(paths), workers=1)) == []
