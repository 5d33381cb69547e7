"""The demo: the main job on a generated town, from the command to the picture."""

from __future__ import annotations

import subprocess
import sys

import geopandas
import pytest
import rasterio
import shapely
from PIL import Image

from training.commands.preview import agreement, draw_preview


def layer(path, boxes, scores=None):
    scores = [0.9] * len(boxes) if scores is None else scores
    frame = geopandas.GeoDataFrame({"score": scores}, geometry=[shapely.box(*box) for box in boxes], crs="EPSG:32633")
    frame.to_file(path, layer="buildings")
    return path


def test_pairs_agree_by_more_than_half(tmp_path):
    truth = layer(tmp_path / "truth.gpkg", [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)])
    found = layer(tmp_path / "found.gpkg", [(0, 0, 10, 9), (20, 0, 30, 5), (41, 0, 51, 10), (90, 90, 99, 99)])
    assert agreement(found, truth) == (4, 3, 2)  # the second one shares exactly a half
    assert agreement(layer(tmp_path / "none.gpkg", []), truth) == (0, 3, 0)


def test_the_preview_shows_imagery_and_outlines(scene, tmp_path):
    with rasterio.open(scene) as raster:
        left, bottom, right, top = raster.bounds
    boxes = [(left + 10, bottom + 10, left + 40, bottom + 30), (right - 20, top - 20, right + 5, top + 5)]
    draw_preview(tmp_path / "p.png", raster=scene, buildings=layer(tmp_path / "b.gpkg", boxes, [0.5, 1.0]))
    with Image.open(tmp_path / "p.png") as picture:
        width, height = picture.size
        assert width > 2 * height * 0.9
        colours = {colour for _, colour in picture.convert("RGB").getcolors(picture.width * picture.height)}
    sure, unsure = (40, 235, 255), (255, 70, 200)
    for wanted in (sure, unsure):
        assert min(sum(abs(a - b) for a, b in zip(colour, wanted, strict=True)) for colour in colours) < 30


@pytest.mark.slow
def test_the_whole_demo(tmp_path):
    folder = tmp_path / "a folder" / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "engine", "demo", "-o", str(folder), "--size", "320"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {path.name for path in folder.iterdir()} == {"town.tif", "truth.gpkg", "buildings.gpkg", "preview.png"}
    found = geopandas.read_file(folder / "buildings.gpkg")
    assert f"{len(found)} buildings found" in done.stdout
    assert found.is_valid.all()


def test_a_folder_that_cannot_be_made(scene):
    done = subprocess.run([sys.executable, "-m", "engine", "demo", "-o", str(scene / "demo")], capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "scene.tif" in done.stderr
