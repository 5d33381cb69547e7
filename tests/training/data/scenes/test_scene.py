"""Crops of a scene: image, masks and area stay together under any turn and zoom."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.crop import Crop
from training.data.scenes.scene import Scene, SceneWindows
from training.data.view import View, burn_layers


def make_scene(size: int = 200, **keywords: object) -> Scene:
    """Houses painted white exactly on their footprints, over black."""
    footprints = [shapely.box(20, 30, 60, 70), shapely.box(100, 20, 140, 90), shapely.box(60, 120, 150, 160)]
    image = np.zeros((size, size, 3), dtype=np.uint8)
    for x0, y0, x1, y1 in (polygon.bounds for polygon in footprints):
        image[int(y0) : int(y1), int(x0) : int(x1)] = 255
    return Scene(image, np.array(footprints, dtype=object), 0.3, **keywords)


def test_the_scene_itself_is_a_view() -> None:
    scene = make_scene()
    sample = scene.crop(View(100, 100, 200, 1.0))
    assert np.array_equal(sample.image, scene.image)
    assert np.array_equal(sample.masks.any(axis=0), scene.image[..., 0] > 0)
    assert len(sample.masks) == 3


@settings(max_examples=40)
@given(x=st.floats(40, 160), y=st.floats(40, 160), zoom=st.floats(0.3, 3.0), angle=st.floats(0, 6.28), size=st.integers(16, 96))
def test_masks_lie_on_the_painted_houses_in_every_view(x: float, y: float, zoom: float, angle: float, size: int) -> None:
    sample = make_scene().crop(View(x, y, size, zoom, angle))
    assert sample.image.shape == (size, size, 3)
    painted = sample.image[..., 0].astype(float) / 255
    masked = sample.masks.any(axis=0).astype(float)
    # A pixel on a border is grey in the picture and black or white in the mask; anything else would be a shift.
    border = 4 * size * 3 / size**2
    assert np.abs(painted - masked).mean() < 0.25 * border + 0.01


def test_small_remains_at_the_border_are_dropped() -> None:
    scene = make_scene()
    view = View(56 + 32, 50, 64, 1.0)  # four columns of the first house are seen: 160 pixels
    assert len(scene.crop(view).sample(smallest=160).masks) == 2
    assert len(scene.crop(view).sample(smallest=161).masks) == 1


def test_views_are_drawn_within_the_area() -> None:
    area = shapely.Polygon([(10, 20), (190, 20), (190, 100), (10, 100)])
    scene = make_scene(area=area)
    rng = np.random.default_rng(0)
    for _ in range(50):
        view = scene.draw_view(rng, size=50, gsd=0.36)
        assert area.buffer(0.1).contains(view.outline())
        assert view.zoom == pytest.approx(1.2)


def test_an_area_too_small_for_the_view_is_seen_finer_and_never_left() -> None:
    area = shapely.box(50, 60, 90, 110)
    view = make_scene(area=area).draw_view(np.random.default_rng(1), size=100, gsd=0.3)
    assert area.buffer(0.01).contains(view.outline())
    assert view.zoom == pytest.approx(0.4)


def test_windows_cover_ground_once_and_hide_what_is_outside_the_area() -> None:
    area = shapely.box(0, 0, 200, 80)
    scene = make_scene(area=area)
    windows = SceneWindows([scene], size=100, gsd=0.3, smallest=1)
    assert len(windows) == 2
    seen = sum(sample.masks.sum() for sample in windows)
    # The third house lies outside, the second is cut at row 80, and ground beyond the area is black.
    assert seen == 40 * 40 + 40 * 60
    assert all(sample.image[90:].max() == 0 for sample in windows)


def test_a_scene_without_buildings_gives_empty_crops() -> None:
    scene = Scene(np.full((40, 40, 3), 7, np.uint8), np.array([], dtype=object), 0.3)
    sample = scene.crop(scene.draw_view(np.random.default_rng(0), size=32, gsd=0.3))
    assert sample.masks.shape == (0, 32, 32)


def test_a_scene_sent_to_another_process_gives_the_same_crops() -> None:
    scene = make_scene(area=shapely.box(0, 0, 150, 180))
    received = pickle.loads(pickle.dumps(scene))
    view = View(90, 80, 64, 1.3, 0.4)
    ours, theirs = scene.crop(view, bounded=True), received.crop(view, bounded=True)
    assert np.array_equal(ours.image, theirs.image) and np.array_equal(ours.masks, theirs.masks)
    assert received.area.equals(scene.area) and received.name == scene.name


def test_pixels_without_an_image_take_the_value_asked_for() -> None:
    crop = make_scene(size=40).crop(View(30, 20, 40, 1.0), fill=128)
    assert (crop.image[:, 30:] == 128).all() and (crop.image[30:, :10] == 0).all()


def test_outlines_that_overlap_keep_their_own_masks() -> None:
    outlines = [shapely.box(2, 2, 12, 12), shapely.box(8, 8, 20, 20), shapely.box(22, 2, 30, 9)]
    outlines.insert(1, shapely.box(40, 40, 50, 50))
    layers, seen = burn_layers(outlines, View(16, 16, 32, 1.0))
    assert seen.tolist() == [0, 2, 3] and layers.shape == (2, 32, 32)
    masks = Crop(np.zeros((32, 32, 3), np.uint8), layers, np.zeros(3, np.int64)).masks
    assert masks.sum(axis=(1, 2)).tolist() == [100, 144, 56]
    assert (masks[0] & masks[1]).sum() == 16
