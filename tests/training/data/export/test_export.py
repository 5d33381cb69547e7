"""What is exported is what was there: polygons, ground and pixels; and nothing half-written is ever left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from engine.errors import ArgumentError, CancelledError, MaskDinoError, OutputError, VectorError
from training.data.audit.audit import audit_dataset
from training.data.coco.folder import CocoFolder
from training.data.coco.outlines import polygon_of_rings, rings_of
from training.data.export.export import export_dataset
from training.data.export.plan import Layout, plan_tiles, spans

ORIGIN = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
TURNED = Affine(0.47, 0.17, 500_000, 0.17, -0.47, 5_000_000)
SIDE = 200


def write_raster(path: Path, *, transform: Affine = ORIGIN, crs: str | None = "EPSG:32633", **options) -> np.ndarray:
    pixels = np.random.default_rng(3).integers(1, 255, (3, SIDE, SIDE), dtype=np.uint8)
    pixels[:, :, 180:] = 0
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8", **options}
    with rasterio.open(path, "w", transform=transform, crs=crs, **profile) as target:
        target.write(pixels)
    return pixels


def on_map(polygons: list[shapely.Geometry], transform: Affine = ORIGIN) -> np.ndarray:
    matrix, offset = np.reshape(transform[:6], (2, 3))[:, :2], np.reshape(transform[:6], (2, 3))[:, 2]
    return shapely.transform(np.array(polygons, dtype=object), lambda points: points @ matrix.T + offset)


def write_layer(path: Path, polygons: list[shapely.Geometry], *, transform: Affine = ORIGIN, crs: str = "EPSG:32633") -> Path:
    layer = geopandas.GeoDataFrame(geometry=on_map(polygons, transform), crs="EPSG:32633")
    layer.to_crs(crs).to_file(path)
    return path


def read_back(folder: Path) -> list[shapely.Geometry]:
    """Everything on the map again: by the georeference of each image."""
    content = json.loads((folder / "annotation.json").read_text())
    transforms = {image["id"]: Affine(*image["transform"]) for image in content["images"]}
    return [on_map([polygon_of_rings(a["segmentation"])], transforms[a["image_id"]])[0] for a in content["annotations"]]


@pytest.fixture(scope="module")
def raster(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("raster") / "ground.tif"
    write_raster(path)
    return path


def blocks(seed: int, count: int = 12) -> list[shapely.Geometry]:
    """Houses at any angle and place, each within a cell of its own, so that pieces can be told apart."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(36)[:count]
    house = shapely.box(-9, -5, 9, 5)
    turned = [shapely.affinity.rotate(house, float(rng.uniform(0, 180)), origin=(0, 0)) for _ in cells]
    places = [(cell % 6 * 33 + 17 + rng.uniform(-6, 6), cell // 6 * 33 + 17 + rng.uniform(-6, 6)) for cell in cells]
    return [shapely.affinity.translate(shape, *place) for shape, place in zip(turned, places, strict=True)]


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6), tile_size=st.integers(40, 230), crs=st.sampled_from(["EPSG:32633", "EPSG:4326", "EPSG:3857"])
)
def test_what_was_exported_reads_back_to_a_tenth_of_a_pixel(tmp_path_factory, seed, tile_size, crs) -> None:
    folder = tmp_path_factory.mktemp("round")
    write_raster(folder / "ground.tif", transform=TURNED)
    houses = blocks(seed)
    layer = write_layer(folder / "houses.gpkg", houses, transform=TURNED, crs=crs)
    export_dataset(folder / "ground.tif", layer, folder / "out", layout=Layout(tile_size), min_area=0)
    window = [t.bounds for t in plan_tiles((0, 0, SIDE, SIDE), Layout(tile_size))[""]]
    covered = shapely.union_all([shapely.box(*bounds) for bounds in window])
    pieces = on_map([shapely.affinity.translate(p, 0, 0) for p in read_back(folder / "out")], Affine.identity())
    for house in houses:
        whole = on_map([shapely.intersection(house, covered)], TURNED)[0]
        if whole.is_empty:  # it lies in the sliver that no tile shows
            continue
        mine = pieces[shapely.area(shapely.intersection(pieces, whole)) > 0.5 * shapely.area(pieces)]
        joined = shapely.union_all(shapely.buffer(mine, 1e-6))
        # Where tiles cut a house, its pieces meet again: hairlines of rounding are no wider than a hundredth of a pixel.
        assert shapely.buffer(joined, 0.05).contains(whole) and shapely.buffer(whole, 0.05).contains(joined)


def test_a_courtyard_stays_open() -> None:
    outer = shapely.box(10, 10, 90, 80)
    house = outer.difference(shapely.box(20.333, 20, 41.1, 47.77)).difference(shapely.Point(70, 40).buffer(8.123))
    rings = rings_of(house)
    assert all(shapely.Polygon(np.reshape(ring, (-1, 2))).is_valid for ring in rings)
    assert polygon_of_rings(rings).symmetric_difference(house).area < 0.5
    assert len(polygon_of_rings(rings).interiors) == 2
    for courtyard in house.interiors:
        assert not polygon_of_rings(rings).contains(shapely.Polygon(courtyard).representative_point())


def test_other_readers_of_coco_see_the_courtyard_too(raster, tmp_path) -> None:
    from pycocotools.coco import COCO

    house = shapely.box(20, 20, 80, 70).difference(shapely.box(40, 30, 60, 50))
    export_dataset(raster, write_layer(tmp_path / "l.gpkg", [house]), tmp_path / "out")
    coco = COCO(tmp_path / "out" / "annotation.json")
    mask = coco.annToMask(coco.loadAnns(1)[0])
    assert mask[32:48, 42:58].sum() == 0 and abs(int(mask.sum()) - house.area) < 60


def test_a_picture_without_a_crs_takes_pixels_as_its_layer_has_them(tmp_path) -> None:
    write_raster(tmp_path / "photo.tif", transform=None, crs=None)
    upright = [shapely.box(20, -60, 50, -30)]  # QGIS draws such a picture below its origin
    geopandas.GeoDataFrame(geometry=upright).to_file(tmp_path / "l.gpkg")
    export_dataset(tmp_path / "photo.tif", tmp_path / "l.gpkg", tmp_path / "out")
    content = json.loads((tmp_path / "out/annotation.json").read_text())
    assert content["annotations"][0]["bbox"] == [20.0, 30.0, 30.0, 30.0] and content["images"][0]["crs"] is None


def test_parts_of_a_feature_are_buildings_and_parts_of_a_cut_building_are_not(raster, tmp_path) -> None:
    two = shapely.MultiPolygon([shapely.box(110, 10, 130, 30), shapely.box(140, 10, 160, 30)])
    arch = shapely.box(20, 80, 60, 130).difference(shapely.box(30, 100, 50, 130))  # the row of tiles below sees two legs
    layer = write_layer(tmp_path / "l.gpkg", [two, arch])
    export_dataset(raster, layer, tmp_path / "out", layout=Layout(100))
    content = json.loads((tmp_path / "out/annotation.json").read_text())
    rings = sorted((len(a["segmentation"]), a["area"]) for a in content["annotations"])
    assert rings == [(1, 400.0), (1, 400.0), (1, 800.0), (2, 600.0)]


def test_pixels_are_the_rasters_and_no_ground_is_shown_twice(raster, tmp_path) -> None:
    layer = write_layer(tmp_path / "l.gpkg", blocks(1))
    export_dataset(raster, layer, tmp_path / "out", layout=Layout(75))
    with rasterio.open(raster) as source:
        pixels = source.read().transpose(1, 2, 0)
    seen = np.zeros((SIDE, SIDE), int)
    folder = CocoFolder(tmp_path / "out")
    places = {e["file_name"]: e for e in json.loads(folder.annotation_file.read_text())["images"]}
    for sample in folder:
        col, row = places[sample.name]["pixel"]
        height, width = sample.image.shape[:2]
        assert np.array_equal(sample.image, pixels[row : row + height, col : col + width])
        seen[row : row + height, col : col + width] += 1
        with rasterio.open(raster) as source:
            assert places[sample.name]["bounds"] == pytest.approx(
                source.window_bounds(((row, row + height), (col, col + width)))
            )
    assert seen.max() == 1 and seen.mean() > 0.8


def test_nothing_outside_the_area_is_used(raster, tmp_path) -> None:
    layer = write_layer(tmp_path / "l.gpkg", [shapely.box(40, 40, 80, 60), shapely.box(130, 130, 150, 150)])
    area = write_layer(tmp_path / "area.gpkg", [shapely.Polygon([(20, 20), (60, 20), (60, 110), (20, 100)])])
    summary = export_dataset(raster, layer, tmp_path / "out", aoi=area, layout=Layout(150))
    assert summary.images == {"": 1} and summary.annotations == {"": 1}
    sample = CocoFolder(tmp_path / "out")[0]
    assert sample.image.shape[:2] == (90, 40)
    assert sample.masks.sum() == 20 * 20 and sample.image[:79].all() and not sample.image[-4:, :3].any()


def test_ground_without_data_teaches_nothing(tmp_path) -> None:
    write_raster(tmp_path / "r.tif", nodata=0)
    houses = [shapely.box(170, 20, 179, 40), shapely.box(174, 60, 199, 80), shapely.box(185, 120, 195, 140)]
    layer = write_layer(tmp_path / "l.gpkg", houses)
    summary = export_dataset(tmp_path / "r.tif", layer, tmp_path / "out", layout=Layout(SIDE))
    assert summary.annotations == {"": 1} and summary.unseen == 2
    summary = export_dataset(tmp_path / "r.tif", layer, tmp_path / "fine", layout=Layout(20))
    assert summary.empty_tiles == 10


@settings(max_examples=20)
@given(
    width=st.integers(260, 900), height=st.integers(260, 900), tile_size=st.integers(60, 120), lap=st.integers(0, 30),
    share=st.floats(0.05, 0.95), margin=st.integers(0, 40), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_sides_of_a_split_keep_their_distance(width, height, tile_size, lap, share, margin, seed) -> None:
    layout = Layout(tile_size, stride=tile_size - lap, share=share, margin=margin, seed=seed)
    plan = plan_tiles((7, 11, 7 + width, 11 + height), layout)
    assert plan == plan_tiles((7, 11, 7 + width, 11 + height), layout), "the same seed draws the same ground"
    sides = [shapely.union_all([shapely.box(*tile.bounds) for tile in plan[side]]) for side in ("train", "val")]
    assert not sides[0].is_empty and not sides[1].is_empty
    assert sides[0].distance(sides[1]) >= margin - 1e-9
    assert shapely.intersection(*sides).area == 0
    assert shapely.box(7, 11, 7 + width, 11 + height).covers(shapely.union(*sides))
    assert sides[1].area == sum(tile.width * tile.height for tile in plan["val"]), "nothing counts twice in validation"


def test_the_share_is_met() -> None:
    plan = plan_tiles((0, 0, 9000, 9000), Layout(300, share=0.8))
    assert len(plan["train"]) / (len(plan["train"]) + len(plan["val"])) == pytest.approx(0.8, abs=0.02)


@given(low=st.integers(0, 50), length=st.integers(1, 2000), side=st.integers(50, 400), margin=st.integers(0, 60))
def test_spans_lose_nothing_but_the_margins(low, length, side, margin) -> None:
    found = spans(low, low + length, side=side, margin=margin, smallest=50)
    assert found[0][0] == low and found[-1][1] == low + length
    assert all(b[0] - a[1] == margin and a[1] - a[0] == side for a, b in pairwise(found))


def test_an_audit_of_what_was_exported_finds_nothing(tmp_path) -> None:
    write_raster(tmp_path / "r.tif", transform=TURNED)
    layer = write_layer(tmp_path / "l.gpkg", blocks(7, count=30), transform=TURNED)
    export_dataset(tmp_path / "r.tif", layer, tmp_path / "out", layout=Layout(32, share=0.7, margin=2), min_area=12)
    audit = audit_dataset(tmp_path / "out", workers=1)
    assert [split.name for split in audit.splits] == ["train", "val"] and len(audit.splits[1].reader.annotations) > 3
    assert not audit.shared_ground and not audit.pairs
    assert not any(split.faults or split.drop.any() for split in audit.splits)


def test_a_split_on_disk_shares_no_ground(raster, tmp_path) -> None:
    layer = write_layer(tmp_path / "l.gpkg", blocks(5, count=30))
    summary = export_dataset(raster, layer, tmp_path / "out", layout=Layout(40, stride=30, share=0.7, margin=6))
    assert set(summary.images) == {"train", "val"} and all(summary.images.values())
    sides = []
    for side in ("train", "val"):
        images = json.loads((tmp_path / "out" / side / "annotation.json").read_text())["images"]
        sides.append(shapely.union_all([shapely.box(*image["bounds"]) for image in images]))
        assert len(CocoFolder(tmp_path / "out" / side)) == summary.images[side]
    assert sides[0].distance(sides[1]) >= 6 * 0.5 - 1e-6


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"layout": {"tile_size": 3}}, ArgumentError, "tile_size is 3"),
        ({"layout": {"stride": 400}}, ArgumentError, "stride is 400"),
        ({"layout": {"share": 80}}, ArgumentError, "split is 80"),
        ({"layout": {"share": 0.8, "tile_size": 190}}, ArgumentError, "too little"),
        ({"image_format": "bmp"}, ArgumentError, "bmp"),
        ({"raster": "none.tif"}, MaskDinoError, "none.tif does not exist"),
        ({"annotations": "none.gpkg"}, VectorError, "none.gpkg does not exist"),
        ({"aoi": "none.gpkg"}, VectorError, "none.gpkg does not exist"),
        ({"bands": [1, 2, 9]}, MaskDinoError, "9"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(raster, tmp_path, change, error, words) -> None:
    arguments = {"raster": raster, "annotations": write_layer(tmp_path / "l.gpkg", blocks(1)), **change}
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=words):
        export_dataset(
            arguments.pop("raster"), arguments.pop("annotations"), tmp_path / "out",
            **{**arguments, "layout": Layout(**arguments.get("layout", {}))},
        )  # fmt: skip
    assert sorted(tmp_path.iterdir()) == before


def test_a_layer_of_another_place_is_refused(raster, tmp_path) -> None:
    layer = write_layer(tmp_path / "l.gpkg", [shapely.box(9000, 0, 9010, 10)])
    with pytest.raises(VectorError, match=r"None of the 1 polygons of .*l\.gpkg lies on ground\.tif"):
        export_dataset(raster, layer, tmp_path / "out")


def test_a_layer_of_the_whole_world_is_taken_where_the_raster_is_and_each_building_once(raster, tmp_path) -> None:
    house = shapely.box(40, 40, 60, 60)
    layer = geopandas.read_file(write_layer(tmp_path / "l.gpkg", [house, house.reverse()], crs="EPSG:4326"))
    far = [shapely.box(-179, -90, -120, -60), shapely.box(100, 89, 180, 90), shapely.box(-80, 0, -70, 5)]
    world = geopandas.GeoDataFrame(geometry=[*far, *layer.geometry], crs="EPSG:4326")
    world.to_file(tmp_path / "world.gpkg")
    summary = export_dataset(raster, tmp_path / "world.gpkg", tmp_path / "out")
    assert summary.annotations == {"": 1} and CocoFolder(tmp_path / "out")[0].masks.sum() == 400


def test_a_folder_with_something_in_it_is_left_alone(raster, tmp_path) -> None:
    layer = write_layer(tmp_path / "l.gpkg", blocks(1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="there already"):
        export_dataset(raster, layer, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_cancel_leaves_nothing_and_an_empty_folder_is_taken(raster, tmp_path) -> None:
    layer = write_layer(tmp_path / "l.gpkg", blocks(1))
    (tmp_path / "out").mkdir()
    before, cancel = sorted(tmp_path.iterdir()), threading.Event()
    with pytest.raises(CancelledError):
        export_dataset(raster, layer, tmp_path / "out", layout=Layout(50), progress=lambda p: cancel.set(), cancel=cancel)
    assert sorted(tmp_path.iterdir()) == before and not any((tmp_path / "out").iterdir())
    export_dataset(raster, layer, tmp_path / "out")
    assert (tmp_path / "out" / "annotation.json").is_file() and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("way", ["full", "killed"])
def test_a_full_disk_or_a_kill_leaves_nothing_under_the_name(raster, tmp_path, way) -> None:
    layer = write_layer(tmp_path / "l.gpkg", blocks(1))
    program = f"""
import os, resource, signal, sys
from engine.errors import OutputError
from training.data.export.export import export_dataset
from training.data.export.plan import Layout
if {way == "full"}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
stop = lambda p: os.kill(os.getpid(), signal.SIGKILL) if {way == "killed"} else None
try:
    export_dataset({str(raster)!r}, {str(layer)!r}, {str(tmp_path / "out")!r}, layout=Layout(50), progress=stop)
except OutputError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not (tmp_path / "out").exists()
    if way == "full":
        assert "out cannot be written: File too large" in done.stderr and "Traceback" not in done.stderr
        assert not list(tmp_path.glob(".out*"))
    else:
        assert done.returncode == -signal.SIGKILL
    export_dataset(raster, layer, tmp_path / "out", layout=Layout(50))
    assert len(CocoFolder(tmp_path / "out")) > 10 and not list(tmp_path.glob(".out*"))


def test_real_buildings_come_back_whole(shared_data, tmp_path) -> None:
    place = shared_data / "banepa"
    export_dataset(
        place / "image.tif", place / "buildings.gpkg", tmp_path / "out", aoi=place / "labelled_area.gpkg",
        layout=Layout(512), min_area=0,
    )  # fmt: skip
    pieces = shapely.make_valid(np.array(read_back(tmp_path / "out"), dtype=object))
    buildings = geopandas.read_file(place / "buildings.gpkg").geometry.to_numpy()
    tiles = [shapely.box(*e["bounds"]) for e in json.loads((tmp_path / "out/annotation.json").read_text())["images"]]
    inside = shapely.intersection(buildings, shapely.union_all(tiles))
    area = geopandas.read_file(place / "labelled_area.gpkg").geometry.iloc[0]
    inside = shapely.intersection(inside, area)
    assert shapely.area(pieces).sum() == pytest.approx(shapely.area(inside).sum(), rel=1e-3)
