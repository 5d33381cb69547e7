"""The file of a class raster: whole or not there, with a legend that fits it."""

from __future__ import annotations

import sys
import threading
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.errors import OutputError
from engine.raster.source import RasterSource
from engine.segmentation.class_raster import ClassRaster, reserve_raster
from engine.segmentation.colours import class_colours
from tests.engine.segmentation.colour_classes import ColourScores, landscape, values_of, write_landscape


@pytest.mark.parametrize("heights", [[1] * 700, [700], [255, 1, 1, 255, 188], [300, 0, 400]])
def test_rows_may_come_in_bands_of_any_height(tmp_path, heights):
    classes = landscape(0, 700, 300)
    raster = write_landscape(tmp_path / "land.tif", classes)
    with RasterSource.open(raster) as source, reserve_raster(tmp_path / "out.tif") as file:
        output = ClassRaster(file, raster=source, names=("a", "b", "c", "d"), probability_of=None, metadata={"software": "s"})
        for row, height in zip(np.cumsum([0, *heights]), heights, strict=False):
            output.write(int(row), 0, classes[row : row + height])
        output.complete()
        output.finish()
    assert np.array_equal(values_of(tmp_path / "out.tif"), classes)


def test_a_legend_that_stood_beside_an_older_raster_does_not_stay(tmp_path):
    raster = write_landscape(tmp_path / "land.tif", landscape(1, 60, 60))
    engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64))
    assert (tmp_path / "out.tif.aux.xml").exists()
    engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64), probabilities="tree")
    assert not (tmp_path / "out.tif.aux.xml").exists()


def test_names_may_have_any_character(tmp_path):
    class Odd(ColourScores):
        classes = ("<&>", 'road "A"', "Bäume", "水")

    raster = write_landscape(tmp_path / "land.tif", landscape(2, 60, 60))
    engine.segment(raster, tmp_path / "out.tif", predictor=Odd(64))
    root = ElementTree.parse(tmp_path / "out.tif.aux.xml").getroot()
    assert tuple(each.text for each in root.iter("Category")) == Odd.classes
    rows = [[each.text for each in row.iter("F")] for row in root.iter("Row")]
    with rasterio.open(tmp_path / "out.tif") as out:
        assert [[int(number), *map(int, colour)] for number, _, *colour in rows] == [
            [number, *out.colormap(1)[number][:3]] for number in range(4)
        ]


def test_a_second_run_on_the_same_output_is_refused(tmp_path):
    raster = write_landscape(tmp_path / "land.tif", landscape(3, 200, 200))
    began, go_on = threading.Event(), threading.Event()
    predictor = ColourScores(64)
    plain = predictor.scores
    predictor.scores = lambda tiles: (began.set(), go_on.wait(20), plain(tiles))[2]
    first = threading.Thread(target=engine.segment, args=(raster, tmp_path / "out.tif"), kwargs={"predictor": predictor})
    first.start()
    assert began.wait(20)
    with pytest.raises(OutputError, match="Another run is writing"):
        engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64))
    go_on.set()
    first.join(20)
    assert np.array_equal(values_of(tmp_path / "out.tif"), landscape(3, 200, 200))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")
@pytest.mark.parametrize("size", [24 * 1024, 100 * 1024, 180 * 1024])
def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(small_disk, tmp_path, size):
    classes = np.random.default_rng(4).integers(0, 4, (600, 600)).astype(np.uint8)  # which does not compress
    raster = write_landscape(tmp_path / "land.tif", classes)
    disk = small_disk(size)
    with pytest.raises(OutputError) as caught:
        engine.segment(raster, disk / "out.tif", predictor=ColourScores(64))
    assert "\n" not in str(caught.value)
    assert all(path.name.startswith("out.tif.progress") for path in disk.iterdir())
    bigger = small_disk(10 * 2**20)
    for path in disk.iterdir():
        (bigger / path.name).write_bytes(path.read_bytes())
    engine.segment(raster, bigger / "out.tif", predictor=ColourScores(64), resume=True)
    assert np.array_equal(values_of(bigger / "out.tif"), classes)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")
def test_what_the_disk_has_no_room_for_is_noticed_though_gdal_writes_late(small_disk, tmp_path):
    """It keeps blocks in memory until the file is closed."""
    noise = np.random.default_rng(5).integers(0, 4, (600, 600)).astype(np.uint8)
    raster = write_landscape(tmp_path / "land.tif", noise)
    disk = small_disk(60 * 1024)
    with RasterSource.open(raster) as source, reserve_raster(disk / "out.tif") as file:
        output = ClassRaster(file, raster=source, names=("a", "b", "c", "d"), probability_of=None, metadata={"software": "s"})
        with pytest.raises(OutputError, match="the disk is full"):
            output.write(0, 0, noise)
            output.complete()
        output.abort()
    assert list(disk.iterdir()) == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=254, unique=True))
def test_each_class_has_a_colour(names):
    colours = class_colours(names)
    assert len(colours) == len(names)
    assert all(0 <= part <= 255 for colour in colours for part in colour)


@pytest.mark.parametrize("count", [2, 19, 150])
def test_classes_differ_in_colour(count):
    colours = class_colours([f"class {number}" for number in range(count)])
    assert len(set(colours)) == count == len({(0, 0, 0), *colours}) - 1


def test_familiar_classes_have_familiar_colours():
    building, road, tree, water = class_colours(["building-other-merged", "Road", "tree-merged", "water-other"])
    assert building[0] > max(building[1:]) and tree[1] > max(tree[0], tree[2]) and water[2] > max(water[:2])
    assert np.ptp(road) < 20
