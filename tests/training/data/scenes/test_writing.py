"""Scenes that are written and read again are the same scenes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.coco.folder import CocoFolder
from training.data.scenes.scene import Scene
from training.data.scenes.writing import write_scenes
from training.data.sources import image_scenes

SIDE = 64
_quarters = st.integers(0, 4 * SIDE - 16).map(lambda number: number / 4)
_sides = st.integers(4, 80).map(lambda number: number / 4)


@st.composite
def _outlines(draw: st.DrawFn) -> shapely.Polygon:
    """A rectangle within the image, with a courtyard or without, its corners on quarters of pixels."""
    left, top = draw(_quarters), draw(_quarters)
    right, bottom = min(left + draw(_sides), SIDE), min(top + draw(_sides), SIDE)
    outline = shapely.box(left, top, right, bottom)
    if draw(st.booleans()) and min(right - left, bottom - top) > 3:
        return outline - shapely.box(left + 1, top + 1, right - 1, bottom - 1)
    return outline


@st.composite
def _scenes(draw: st.DrawFn) -> Scene:
    footprints = draw(st.lists(_outlines(), max_size=6, unique_by=lambda outline: outline.wkb))
    merged = draw(st.lists(st.booleans(), min_size=len(footprints), max_size=len(footprints)))
    ignored = draw(st.lists(_outlines(), max_size=3))
    area = draw(st.none() | st.just(shapely.box(4.25, 3, 60, 57.5)))
    objects = [np.array([*outlines, None], dtype=object)[:-1] for outlines in (footprints, ignored)]
    return Scene(np.zeros((SIDE, SIDE, 3), np.uint8), objects[0], 0.3, area, "place", np.array(merged, dtype=bool), objects[1])


def differ(one: shapely.Geometry, other: shapely.Geometry) -> float:
    return shapely.symmetric_difference(one, other).area


@settings(max_examples=60, deadline=None)
@given(scenes=st.lists(_scenes(), min_size=1, max_size=2))
def test_footprints_merged_flags_and_ignored_ground_come_back(tmp_path_factory, scenes: list[Scene]) -> None:
    folder = tmp_path_factory.mktemp("scenes") / "set"
    write_scenes(folder, scenes, quality=90)
    again = image_scenes(CocoFolder(folder, complete=True))
    assert len(again) == len(scenes)
    for scene, read in zip(scenes, again, strict=True):
        assert read.image.shape == scene.image.shape and read.gsd == scene.gsd
        assert read.merged.tolist() == scene.merged.tolist()
        for written, footprint in zip(scene.footprints, read.footprints, strict=True):
            assert differ(written, footprint) == pytest.approx(0, abs=0.01)
        unlabelled = shapely.union_all([*scene.ignored, shapely.box(0, 0, SIDE, SIDE) - scene.area])
        assert differ(unlabelled, shapely.union_all(read.ignored)) == pytest.approx(0, abs=0.01)
