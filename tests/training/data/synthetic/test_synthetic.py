"""Synthetic towns: exact footprints, the same town from the same seed, and a georeference that puts both on the same ground."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ArgumentError
from training.data.synthetic.style import STYLES
from training.data.synthetic.town import SyntheticTown, write_town


@pytest.mark.parametrize("style", STYLES)
def test_every_style_paints_a_town_with_buildings_and_ground(style: str) -> None:
    town = SyntheticTown(3, 300, 0.3, style)
    assert town.style == style
    assert town.image.shape == (300, 300, 3) and town.image.dtype == np.uint8
    assert len(town.footprints) >= 3
    assert 0.02 < (town.labels() > 0).mean() < 0.75
    assert town.image.std() > 12, "a town is not one flat colour"
    assert (town.image == 255).all(axis=2).mean() < 0.2, "most of the picture must not be burnt out"


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 160), gsd=st.floats(0.1, 0.4), style=st.sampled_from([*STYLES, None]))
def test_footprints_are_valid_and_within_the_scene_and_never_overlap(
    seed: int, size: int, gsd: float, style: str | None
) -> None:
    town = SyntheticTown(seed, size, gsd, style)
    footprints = np.array(town.footprints, dtype=object)
    assert town.image.shape == (size, size, 3)
    assert all(polygon.geom_type == "Polygon" and polygon.is_valid for polygon in footprints)
    assert shapely.covers(shapely.box(0, 0, size, size).buffer(1e-9), footprints).all()
    first, second = shapely.STRtree(footprints).query(footprints)
    pairs = first < second
    shared = shapely.intersection(footprints[first[pairs]], footprints[second[pairs]])
    assert shapely.area(shared).max(initial=0.0) < 1e-6


def test_labels_are_the_footprints_rasterised_by_pixel_centre() -> None:
    town = SyntheticTown(8, 160, 0.3, "dense")
    labels = town.labels()
    columns, rows = np.meshgrid(np.arange(160) + 0.5, np.arange(160) + 0.5)
    expected = np.zeros_like(labels)
    for number, polygon in enumerate(town.footprints, start=1):
        expected[shapely.contains_xy(polygon, columns, rows)] = number
    assert (labels != expected).mean() < 1e-3, "only pixels whose centre lies on a border may go either way"
    assert set(np.unique(labels)) == {0, *range(1, len(town.footprints) + 1)}


def test_labels_handed_out_are_a_copy() -> None:
    town = SyntheticTown(8, 64, 0.3)
    before = town.labels().copy()
    town.labels()[:] = -1
    assert np.array_equal(town.labels(), before) and before.max() > 0


def test_buildings_stand_where_the_footprints_say() -> None:
    """Between roof and ground the colour changes more across the footprint's border than elsewhere."""
    town = SyntheticTown(5, 320, 0.3, "island")
    grey = town.image.astype(float).mean(axis=2)
    labels = town.labels()
    steps, borders = np.abs(np.diff(grey, axis=1)), np.diff(labels, axis=1) != 0
    assert steps[borders].mean() > 2.5 * steps[~borders].mean()


def test_touching_houses_are_part_of_dense_towns() -> None:
    town = SyntheticTown(2, 400, 0.3, "dense")
    footprints = np.array(town.footprints, dtype=object)
    first, second = shapely.STRtree(footprints).query(footprints, predicate="dwithin", distance=1e-6)
    assert (first < second).sum() > 0.3 * len(footprints)


def test_courtyards_leave_as_holes() -> None:
    holes = [p for seed in range(4) for p in SyntheticTown(seed, 500, 0.3, "old_town").footprints if p.interiors]
    assert holes


def test_same_seed_same_town_in_another_process() -> None:
    here = SyntheticTown(77, 128, 0.3)
    program = (
        "import hashlib; from training.data.synthetic.town import SyntheticTown; t = SyntheticTown(77, 128, 0.3);"
        "print(hashlib.sha256(t.image.tobytes() + t.labels().tobytes()).hexdigest())"
    )
    ours = hashlib.sha256(here.image.tobytes() + here.labels().tobytes()).hexdigest()
    root = Path(__file__).resolve().parents[4]
    theirs = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert theirs.stdout.strip() == ours
    assert not np.array_equal(here.image, SyntheticTown(78, 128, 0.3).image)


def test_written_town_lies_on_the_ground_where_it_says(tmp_path: Path) -> None:
    town = write_town(
        tmp_path / "town.tif", tmp_path / "town.gpkg", seed=4, size=300, gsd=0.25, crs="EPSG:32736", origin=(5e5, 9e6)
    )
    layer = geopandas.read_file(tmp_path / "town.gpkg", layer="buildings")
    with rasterio.open(tmp_path / "town.tif") as source:
        assert source.crs.to_epsg() == 32736 == layer.crs.to_epsg()
        assert source.res == (0.25, 0.25)
        assert tuple(source.bounds) == (5e5, 9e6 - 75.0, 5e5 + 75.0, 9e6)
        assert source.block_shapes[0] == (256, 256) and source.compression is not None
        assert np.array_equal(source.read(), town.image.transpose(2, 0, 1))
        numbered = ((polygon, number) for number, polygon in enumerate(layer.geometry, start=1))
        labels = rasterio.features.rasterize(numbered, source.shape, transform=source.transform, dtype="int32")
    assert (labels != town.labels()).mean() < 1e-3
    assert layer.area.sum() == pytest.approx(sum(p.area for p in town.footprints) * 0.25**2)


@pytest.mark.parametrize("size", [1, 5, 15, 17, 257])
def test_towns_of_any_size_can_be_written(tmp_path: Path, size: int) -> None:
    write_town(tmp_path / "town.tif", tmp_path / "town.gpkg", seed=1, size=size)
    with rasterio.open(tmp_path / "town.tif") as source:
        assert source.shape == (size, size)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((-1, 64, 0.3), "seed"), ((0, 0, 0.3), "size_px"), ((0, 64, 0.0), "gsd"), ((0, 64, 0.3, "atlantis"), "atlantis")],
)
def test_meaningless_arguments_are_refused_by_name(arguments: tuple, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        SyntheticTown(*arguments)
