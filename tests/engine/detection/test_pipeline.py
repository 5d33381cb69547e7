"""The whole way from a raster file to a layer: with a predictor that makes no mistakes the layer is the truth."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.detection import Instances, Predictor
from engine.detection.instances import as_predictor
from engine.errors import ArgumentError, CancelledError, OutputError, RasterError
from engine.model import model_file
from engine.model.families.registry import FAMILIES
from tests.engine.detection.label_raster import (
    TRANSFORM,
    UTM,
    LabelPredictor,
    known_polygons,
    rows_of,
    truth_of,
    write_label_raster,
)
from tests.engine.detection.label_towns import TOWNS, connected


def town(seed: int = 0, height: int = 150, width: int = 170, kind: str = "shapes") -> np.ndarray:
    return TOWNS[kind](np.random.default_rng(seed), height, width)


def detect(raster, output, *, tile_size=64, **arguments):
    arguments = {"outline": "raw", "min_area": 0, "overlap": 32, **arguments}
    return engine.detect(raster, output, predictor=LabelPredictor(tile_size), **arguments)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(sorted(TOWNS)),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile_size=st.integers(48, 96),  # a stride of a pixel or two would make thousands of tiles
    overlap=st.integers(32, 39),
    batch_size=st.integers(1, 5),
)
def test_the_layer_is_the_truth(tmp_path_factory, seed, kind, height, width, tile_size, overlap, batch_size):
    folder = tmp_path_factory.mktemp("town")
    labels = town(seed, height, width, kind)
    raster = write_label_raster(folder / "town.tif", labels)
    summary = detect(raster, folder / "out.gpkg", tile_size=tile_size, overlap=overlap, batch_size=batch_size)
    truth = truth_of(labels)
    assert rows_of(folder / "out.gpkg") == truth
    assert summary.buildings == len(truth)
    assert summary.area_m2 == pytest.approx((labels > 0).sum() * 0.25, rel=2e-3)  # the map's scale is not exactly 1
    assert sorted(path.name for path in folder.iterdir()) == ["out.gpkg", "town.tif"]


def test_the_same_run_writes_the_same_file_content(tmp_path):
    labels = town(3)
    raster = write_label_raster(tmp_path / "town.tif", labels)
    layers = []
    for name in ("a.gpkg", "b.gpkg"):
        detect(raster, tmp_path / name, batch_size=3)
        layers.append(geopandas.read_file(tmp_path / name))
    assert layers[0].equals(layers[1])


class Impatient(LabelPredictor):
    """Takes several calls at once, each as long as it likes, as a GPU's thread may."""

    calls_at_once = 3

    def __init__(self) -> None:
        super().__init__()
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def predict(self, tiles):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.001 * (int(tiles.sum()) % 20))
        found = super().predict(tiles)
        with self.lock:
            self.inside -= 1
        return found


@pytest.mark.slow
def test_rows_and_their_order_do_not_depend_on_how_many_threads_work(tmp_path):
    raster = write_label_raster(tmp_path / "town.tif", town(3, 400, 400))
    detect(raster, tmp_path / "one.gpkg", outline="regular")
    expected = geopandas.read_file(tmp_path / "one.gpkg")
    for workers in (1, 2, 8):
        predictor = Impatient()
        engine.detect(raster, tmp_path / "out.gpkg", predictor=predictor, overlap=32, min_area=0, workers=workers, batch_size=2)
        assert 1 < predictor.most <= 3
        assert geopandas.read_file(tmp_path / "out.gpkg").equals(expected)


@pytest.mark.parametrize("name", ["out.gpkg", "out.geojson", "out.fgb", "Häuser in der Stadt.gpkg"])
def test_formats_and_names(tmp_path, name):
    labels = town(4)
    summary = detect(write_label_raster(tmp_path / "town.tif", labels), tmp_path / name)
    layer = geopandas.read_file(tmp_path / name)
    assert len(layer) == summary.buildings == len(truth_of(labels))
    assert set(layer.columns) >= {"score", "area_m2", "geometry"}
    assert layer.is_valid.all()


def test_nothing_to_find_is_an_empty_layer(tmp_path):
    summary = detect(write_label_raster(tmp_path / "town.tif", np.zeros((90, 90), int)), tmp_path / "out.gpkg")
    assert summary.buildings == 0
    assert len(geopandas.read_file(tmp_path / "out.gpkg")) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (63, 65)])
def test_rasters_smaller_than_a_tile(tmp_path, shape):
    labels = np.ones(shape, int)
    detect(write_label_raster(tmp_path / "town.tif", labels), tmp_path / "out.gpkg")
    assert rows_of(tmp_path / "out.gpkg") == truth_of(labels)


def test_tiles_without_data_are_not_shown_to_the_model(tmp_path):
    labels = np.zeros((256, 256), int)
    labels[100:140, 100:140] = 1
    raster = write_label_raster(tmp_path / "town.tif", labels)
    with rasterio.open(raster, "r+") as dataset:
        mask = np.zeros((256, 256), np.uint8)
        mask[96:144, 96:120] = 255
        dataset.write_mask(mask)
    summary = detect(raster, tmp_path / "out.gpkg")
    assert summary.tiles_seen < summary.tiles / 2
    layer = geopandas.read_file(tmp_path / "out.gpkg")
    assert layer.area.sum() == 40 * 20 * 0.25  # and no building reaches where there is no data


def test_single_pixels_of_the_nodata_value_are_no_holes(tmp_path):
    labels = np.zeros((64, 64), int)
    labels[10:40, 10:40] = 1
    raster = write_label_raster(tmp_path / "town.tif", labels)
    with rasterio.open(raster, "r+") as dataset:
        mask = np.full((64, 64), 255, np.uint8)
        mask[20, 20] = mask[30, 15:17] = 0
        mask[50:, :] = 0
        dataset.write_mask(mask)

    class Blind(LabelPredictor):  # the colours are gone with the data
        def predict(self, tiles):
            shown = np.zeros_like(tiles)
            shown[:, 0, 10:40, 10:40] = 1
            return super().predict(shown)

    engine.detect(raster, tmp_path / "out.gpkg", predictor=Blind(64), outline="raw", min_area=0)
    assert rows_of(tmp_path / "out.gpkg") == truth_of(labels)


def test_uncertain_instances_are_left_out(tmp_path):
    labels = town(5)
    raster = write_label_raster(tmp_path / "town.tif", labels)
    detect(raster, tmp_path / "out.gpkg", score=0.511)
    assert rows_of(tmp_path / "out.gpkg") == {row for row in truth_of(labels) if row[1] >= 0.511}


def test_small_ones_are_left_out(tmp_path):
    labels = np.zeros((64, 64), int)
    labels[4:7, 4:8], labels[20:24, 20:25], labels[40:60, 40:60] = 1, 2, 3
    raster = write_label_raster(tmp_path / "town.tif", labels)
    for arguments, count in [({"min_area": 0}, 3), ({"min_area": 4.5}, 2), ({"min_area": None}, 2), ({"min_area": 6}, 1)]:
        assert detect(raster, tmp_path / "out.gpkg", **arguments).buildings == count


class TestAreas:
    labels = connected((np.indices((200, 200)) // 20 % 2).all(axis=0).astype(int))  # 25 squares, 10 m apart

    def write(self, folder, crs, geometry):
        path = folder / "area.gpkg"
        geopandas.GeoDataFrame(geometry=[geometry], crs=UTM).to_crs(crs).to_file(path)
        return path

    @pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
    def test_an_area_in_any_crs_keeps_what_is_mostly_inside(self, tmp_path, crs):
        raster = write_label_raster(tmp_path / "town.tif", self.labels)
        # The second square begins at 30 m, ends at 40 m: 4 m of it are inside.
        area = shapely.box(500_000, 5_000_000 - 100, 500_034, 5_000_000)
        detect(raster, tmp_path / "out.gpkg", aoi=self.write(tmp_path, crs, area))
        assert len(geopandas.read_file(tmp_path / "out.gpkg")) == 5
        area = shapely.box(500_000, 5_000_000 - 100, 500_036, 5_000_000)
        detect(raster, tmp_path / "out.gpkg", aoi=self.write(tmp_path, crs, area))
        layer = geopandas.read_file(tmp_path / "out.gpkg")
        assert len(layer) == 10
        assert set(layer.area) == {100.0}  # whole buildings

    def test_an_extent(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", self.labels)
        summary = detect(raster, tmp_path / "out.gpkg", extent=(500_000, 4_999_900, 500_036, 5_000_000))
        assert summary.buildings == 10
        assert rows_of(tmp_path / "out.gpkg") <= truth_of(self.labels)

    def test_an_area_with_a_hole_looks_at_few_tiles(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town(1, 600, 600))
        ring = shapely.box(500_000, 4_999_700, 500_300, 5_000_000).boundary.buffer(8)
        summary = detect(raster, tmp_path / "out.gpkg", aoi=self.write(tmp_path, UTM, ring))
        assert summary.tiles_seen < summary.tiles

    def test_an_area_beside_the_raster(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", self.labels)
        area = self.write(tmp_path, "EPSG:4326", shapely.box(0, 0, 10, 10))
        with pytest.raises(engine.errors.VectorError):
            detect(raster, tmp_path / "out.gpkg", aoi=area)
        assert {path.name for path in tmp_path.iterdir()} == {"town.tif", "area.gpkg"}


class TestGeoreference:
    def test_rotated(self, tmp_path):
        transform = TRANSFORM @ Affine.rotation(30)
        labels = town(7)
        detect(write_label_raster(tmp_path / "town.tif", labels, transform=transform), tmp_path / "out.gpkg")
        layer = geopandas.read_file(tmp_path / "out.gpkg")
        truth = geopandas.GeoSeries([polygon for polygon, _ in known_polygons(labels, transform)], crs=UTM)
        assert len(layer) == len(truth)
        assert layer.union_all().symmetric_difference(truth.union_all()).area < 1e-3

    def test_degrees(self, tmp_path):
        labels = connected(town(8))
        transform = Affine(5e-6, 0, 13.4, 0, -5e-6, 52.5)
        summary = detect(
            write_label_raster(tmp_path / "town.tif", labels, crs="EPSG:4326", transform=transform), tmp_path / "o.gpkg"
        )
        layer = geopandas.read_file(tmp_path / "o.gpkg")
        assert layer.crs == "EPSG:4326"
        truly = layer.to_crs("EPSG:25833").area.sum()
        assert summary.area_m2 == pytest.approx(truly, rel=2e-3)
        assert layer["area_m2"].sum() == pytest.approx(truly, rel=2e-3)

    def test_none_at_all(self, tmp_path):
        labels = town(9)
        raster = write_label_raster(tmp_path / "town.tif", labels, crs=None, transform=Affine.identity())
        detect(raster, tmp_path / "out.gpkg")
        assert geopandas.read_file(tmp_path / "out.gpkg").area.sum() == (labels > 0).sum()


class TestErrors:
    def test_an_output_that_cannot_be_is_said_before_any_work(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town())
        for output in (tmp_path / "nowhere" / "out.gpkg", tmp_path, tmp_path / "out.doc"):
            predictor = LabelPredictor(64)
            with pytest.raises((OutputError, ArgumentError)):
                engine.detect(raster, output, predictor=predictor)
            assert predictor.batches == []
        assert [path.name for path in tmp_path.iterdir()] == ["town.tif"]

    def test_a_predictor_that_fails_surfaces_once_and_leaves_the_old_output_alone(self, tmp_path):
        class Failing(LabelPredictor):
            def predict(self, tiles):
                if len(self.batches) == 4:
                    raise RuntimeError("the model tripped")
                return super().predict(tiles)

        raster = write_label_raster(tmp_path / "town.tif", town())
        detect(raster, tmp_path / "out.gpkg")
        before = (tmp_path / "out.gpkg").read_bytes()
        with pytest.raises(RuntimeError, match="the model tripped"):
            engine.detect(raster, tmp_path / "out.gpkg", predictor=Failing(64))
        assert (tmp_path / "out.gpkg").read_bytes() == before
        assert not any(thread.name.startswith("maskdino") for thread in threading.enumerate())
        assert not list(tmp_path.glob("*.part*"))

    def test_what_is_read_is_never_replaced(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.gpkg", town())
        mosaic = tmp_path / "mosaic.vrt"
        with rasterio.open(raster) as source:
            rasterio.shutil.copy(source, mosaic, driver="VRT")
        before = raster.read_bytes()
        for name in (raster, mosaic):
            with pytest.raises(ArgumentError, match="read too"):
                detect(name, raster)
        assert raster.read_bytes() == before

        area = tmp_path / "area.gpkg"
        geopandas.GeoSeries([shapely.box(500_000, 4_999_950, 500_050, 5_000_000)], crs=UTM).to_file(area)
        before = area.read_bytes()
        with pytest.raises(ArgumentError, match="read too"):
            detect(raster, area, aoi=f"{area}|layername=area")
        assert area.read_bytes() == before
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gpkg", ".gpkg", ".vrt"]

    def test_names_that_a_run_might_use_for_itself_are_left_to_others(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town())
        areas = [tmp_path / f"out{end}" for end in (".part.gpkg", ".gpkg.part", "-part.gpkg", ".tmp.gpkg")]
        for area in areas:
            geopandas.GeoSeries([shapely.box(500_000, 4_999_950, 500_050, 5_000_000)], crs=UTM).to_file(area, driver="GPKG")
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        for area in areas:
            detect(raster, tmp_path / "out.gpkg", aoi=area)
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != "out.gpkg"} == before

    @pytest.mark.parametrize("mode", ["delete", "wal", "persist", "truncate"])
    def test_what_a_crashed_program_left_beside_the_output_does_not_get_into_the_new_one(self, tmp_path, mode):
        raster, output = write_label_raster(tmp_path / "town.tif", town()), tmp_path / "out.gpkg"
        detect(raster, output)
        crash = f"""
import os, sqlite3
c = sqlite3.connect({str(output)!r}, isolation_level=None)
c.execute("pragma journal_mode = {mode}"); c.execute("pragma cache_size = 5"); c.execute("begin")
c.execute("update gpkg_contents set description = 'edited'"); c.execute("create table filler (a)")
for _ in range(2000):
    c.execute("insert into filler values (?)", ("x" * 500,))
if {mode!r} == "wal":
    c.execute("commit")
os._exit(9)"""
        subprocess.run([sys.executable, "-c", crash])
        assert len(list(tmp_path.glob("out.gpkg-*"))) >= 1
        summary = detect(raster, output)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gpkg", "town.tif"]
        with closing(sqlite3.connect(output)) as database:
            assert database.execute("select count(*) from buildings").fetchone() == (summary.buildings,)
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)

    def test_journals_without_their_database_are_left_alone(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town())
        for end in ("-journal", "-wal"):
            path = tmp_path / f"out.gpkg{end}"
            path.write_bytes(b"\xd9\xd5\x05\xf9" + bytes(600))
            with pytest.raises(OutputError, match=path.name):
                detect(raster, tmp_path / "out.gpkg")
            assert [name for name in (path.name,) if (tmp_path / name).stat().st_size == 604] == [path.name]
            path.unlink()
        assert [path.name for path in tmp_path.iterdir()] == ["town.tif"]

    @pytest.mark.parametrize("mode", ["delete", "wal"])
    @pytest.mark.parametrize("kind", ["immediate", "exclusive"])
    def test_a_transaction_under_way_in_another_program_is_not_lost(self, tmp_path, kind, mode):
        raster, output = write_label_raster(tmp_path / "town.tif", town()), tmp_path / "out.gpkg"
        detect(raster, output)
        with closing(sqlite3.connect(output, isolation_level=None)) as editing:
            editing.execute(f"pragma journal_mode = {mode}")
            editing.execute(f"begin {kind}")
            editing.execute("create table edits (a)")
            editing.execute("insert into edits values (42)")
            with pytest.raises(OutputError, match="open in another program"):
                detect(raster, output)
            editing.execute("commit")
        with closing(sqlite3.connect(output)) as database:
            assert database.execute("select a from edits").fetchall() == [(42,)]

    def test_a_second_run_is_refused_and_harms_the_first_in_no_way(self, tmp_path):
        raster, output = write_label_raster(tmp_path / "town.tif", town(2, 500, 500)), tmp_path / "out.gpkg"
        (tmp_path / "link.gpkg").symlink_to(output)
        refused = []

        def try_again(progress):
            for name in ("out.gpkg", "link.gpkg"):
                with pytest.raises(OutputError, match="Another run is writing"):
                    detect(raster, tmp_path / name)
                refused.append(name)

        predictor = LabelPredictor(64, seconds=0.01)
        options = {"outline": "raw", "min_area": 0, "overlap": 32}
        engine.detect(raster, output, predictor=predictor, progress=try_again, **options)
        assert len(refused) > 4
        assert rows_of(output) == truth_of(town(2, 500, 500))
        assert pyogrio.read_info(output)["layer_metadata"]["model"] == "labels"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link.gpkg", "out.gpkg", "town.tif"]

    def test_a_link_as_output_is_written_through(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town())
        (tmp_path / "disk").mkdir()
        for name in ("out.gpkg", "out.geojson"):
            (tmp_path / name).symlink_to(tmp_path / "disk" / name)
            for _ in range(2):
                detect(raster, tmp_path / name)
            assert (tmp_path / name).is_symlink()
            assert len(geopandas.read_file(tmp_path / "disk" / name)) > 0

    def test_a_truncated_raster(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town(0, 600, 600, "noise"))
        raster.write_bytes(raster.read_bytes()[: raster.stat().st_size * 2 // 3])
        with pytest.raises(RasterError):
            detect(raster, tmp_path / "out.gpkg")
        assert [path.name for path in tmp_path.iterdir()] == ["town.tif"]

    @pytest.mark.parametrize(
        "arguments",
        [{"score": 1.5}, {"score": "high"}, {"batch_size": 0}, {"workers": 0}, {"overlap": 64}, {"overlap": -1},
         {"gsd": 0}, {"gsd": -1}, {"gsd": float("nan")}, {"bands": "1,x"}, {"bands": (0, 1, 2)}, {"bands": (9,)},
         {"min_area": -1}, {"outline": "fancy"}, {"extent": (1, 2)}, {"extent": (5, 5, 1, 1)},
         {"extent": (0, 0, 1, 1), "aoi": "x.gpkg"}],
    )  # fmt: skip
    def test_values_that_cannot_be(self, tmp_path, arguments):
        raster = write_label_raster(tmp_path / "town.tif", town())
        with pytest.raises(ArgumentError) as caught:
            detect(raster, tmp_path / "out.gpkg", **arguments)
        assert next(iter(arguments)) in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ["town.tif"]


class TestCancel:
    def run_until(self, tmp_path, count, **arguments):
        """Cancel as soon as so many tiles are done."""
        cancel = threading.Event()
        raster = tmp_path / "town.tif"
        if not raster.exists():
            write_label_raster(raster, town(2, 500, 500))

        class Cancelling(LabelPredictor):
            def predict(self, tiles):
                if len(self.batches) == count:
                    cancel.set()
                return super().predict(tiles)

        return engine.detect(
            raster, tmp_path / "out.gpkg", predictor=Cancelling(64, seconds=0.02), outline="raw", min_area=0, overlap=32,
            cancel=cancel, **arguments,
        )  # fmt: skip

    def test_what_was_found_is_written_and_the_rest_can_follow(self, tmp_path):
        summary = self.run_until(tmp_path, 20)
        assert summary.cancelled
        assert 0 < summary.tiles_seen < summary.tiles
        layer = geopandas.read_file(tmp_path / "out.gpkg")
        assert len(layer) == summary.buildings > 0
        assert layer.is_valid.all()
        assert (tmp_path / "out.gpkg.progress").exists()
        summary = self.run_until(tmp_path, -1, resume=True)
        assert not summary.cancelled
        assert summary.tiles_seen < summary.tiles
        labels = town(2, 500, 500)
        assert rows_of(tmp_path / "out.gpkg") == truth_of(labels)
        assert {path.name for path in tmp_path.iterdir()} == {"town.tif", "out.gpkg"}

    def test_before_anything_was_opened(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town())
        cancel = threading.Event()
        cancel.set()
        try:
            assert detect(raster, tmp_path / "out.gpkg", cancel=cancel).cancelled
        except CancelledError:
            assert [path.name for path in tmp_path.iterdir()] == ["town.tif"]

    def test_a_slow_model_is_not_waited_for(self, tmp_path):
        raster = write_label_raster(tmp_path / "town.tif", town())
        started = threading.Event()

        class Slow(LabelPredictor):
            def predict(self, tiles):
                started.set()
                threading.Event().wait(6)
                return super().predict(tiles)

        began = time.monotonic()
        summary = engine.detect(raster, tmp_path / "out.gpkg", predictor=Slow(64), cancel=started.is_set)
        assert summary.cancelled
        assert time.monotonic() - began < 3
        assert len(geopandas.read_file(tmp_path / "out.gpkg")) == 0


@pytest.mark.parametrize("extent", [None, (500_000, 4_999_900, 500_030, 5_000_000)], ids=["all", "a third"])
def test_progress_counts_up_to_the_end(tmp_path, extent):
    raster = write_label_raster(tmp_path / "town.tif", town(2, 300, 300))
    seen = []
    predictor = LabelPredictor(64, seconds=0.02)
    summary = engine.detect(raster, tmp_path / "out.gpkg", predictor=predictor, progress=seen.append, overlap=32, extent=extent)
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert seen[-1].done == seen[-1].total == summary.tiles
    assert seen[-1].seconds_left == 0
    # Rows of the layer are counted: of what lies beside the area nothing was ever promised.
    assert [progress.buildings for progress in seen] == sorted(progress.buildings for progress in seen)
    assert seen[-1].buildings == summary.buildings > 0


def test_batches_are_as_large_as_asked_for(tmp_path):
    raster = write_label_raster(tmp_path / "town.tif", town(2, 300, 300))
    predictor = LabelPredictor(64)
    summary = engine.detect(raster, tmp_path / "out.gpkg", predictor=predictor, batch_size=4, overlap=32)
    assert set(predictor.batches[:-1]) == {4}
    assert sum(predictor.batches) == summary.tiles_seen == summary.tiles


def test_whoever_writes_a_predictor_finds_what_it_needs_in_one_place(tmp_path):
    """``Instances`` and ``Predictor`` live in ``engine.detection``; three attributes and one method make a predictor."""

    class Blocks:
        tile_size, gsd, bands = 64, None, 3

        def predict(self, tiles):
            return [
                Instances(scores=np.ones(1, np.float32), labels=np.zeros(1, np.int64), masks=tile[:1] > 0) for tile in tiles
            ]

    assert set(Predictor.__annotations__) == {"tile_size", "gsd", "bands"}
    labels = np.zeros((100, 100), np.int32)
    labels[20:90, 30:70] = 1
    raster = write_label_raster(tmp_path / "town.tif", labels)
    engine.detect(raster, tmp_path / "out.gpkg", predictor=Blocks(), overlap=32, outline="raw", min_area=0)
    assert len(rows_of(tmp_path / "out.gpkg")) == 1


def test_a_predictor_that_derives_from_the_class_says_what_it_wants_alone(tmp_path):
    class Derived(Predictor):
        tile_size, gsd, bands, batch_size = 64, None, 3, 3

        def __init__(self):
            self.batches = []

        def predict(self, tiles):
            self.batches.append(len(tiles))
            return [Instances(np.zeros(0), np.zeros(0), np.zeros((0, 64, 64))) for _ in tiles]

    predictor = Derived()
    assert (as_predictor(predictor), predictor.device, predictor.calls_at_once) == (predictor, "cpu", 1)
    assert predictor.identity.endswith("Derived")
    stand_in = as_predictor(LabelPredictor(64, identity="town"))
    assert (stand_in.tile_size, stand_in.batch_size, stand_in.identity) == (64, 1, "town")
    raster = write_label_raster(tmp_path / "town.tif", np.zeros((64, 400), np.int32))
    engine.detect(raster, tmp_path / "out.gpkg", predictor=predictor, overlap=0)
    assert predictor.batches == [3, 3, 1]


def test_a_header_is_read_once(tmp_path, scene, tiny_model, monkeypatch):
    read, reading = [], model_file.parse_header
    monkeypatch.setattr(model_file, "parse_header", lambda document: read.append(document) or reading(document))
    engine.detect(scene, tmp_path / "out.gpkg", model=tiny_model)
    assert len(read) == 1


def test_a_model_that_finds_no_instances_is_refused(tmp_path, scene, tiny_model, monkeypatch):
    monkeypatch.setattr(FAMILIES["mask_dino"], "tasks", lambda config: frozenset({"semantic"}), raising=False)
    with pytest.raises(ArgumentError, match="'untrained' gives each pixel a class and finds no instances"):
        engine.detect(scene, tmp_path / "out.gpkg", model=tiny_model)


class Noise(LabelPredictor):
    """An untrained model at its worst: every mask is thousands of specks, each of which would be a building."""

    def predict(self, tiles):
        super().predict(tiles)
        masks = np.random.default_rng(0).random((5, self.tile_size // 4, self.tile_size // 4)) < 0.35
        masks = masks.repeat(4, axis=1).repeat(4, axis=2)
        return [Instances(np.full(5, 0.9, np.float32), np.zeros(5, np.int64), masks) for _ in tiles]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
def test_a_cancel_is_quick_whatever_the_masks_are(tmp_path, workers):
    raster = write_label_raster(tmp_path / "town.tif", np.zeros((1500, 1500), int))
    predictor, cancelled = Noise(512), []

    def cancel():
        if len(predictor.batches) > 3 and not cancelled:
            cancelled.append(time.monotonic())
        return bool(cancelled)

    summary = engine.detect(raster, tmp_path / "out.gpkg", predictor=predictor, min_area=0, cancel=cancel, workers=workers)
    assert time.monotonic() - cancelled[0] < 5  # two seconds, on a machine that has nothing else to do
    assert summary.cancelled
    assert len(geopandas.read_file(tmp_path / "out.gpkg")) == summary.buildings > 1000


class Answers:
    """A predictor that gives the same instances for every tile."""

    tile_size, gsd, bands = 64, None, 3

    def __init__(self, scores, labels, masks) -> None:
        self.instances = Instances(scores=scores, labels=labels, masks=masks)

    def predict(self, tiles):
        return [self.instances] * len(tiles)


def test_what_a_predictor_gives_may_be_plain_lists(tmp_path):
    raster = write_label_raster(tmp_path / "town.tif", np.ones((64, 64), np.int32))
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 10:30] = 255
    for found, count in ((Answers([], [], []), 0), (Answers([0.9], [0], [mask]), 1)):
        engine.detect(raster, tmp_path / "out.gpkg", predictor=found, outline="raw")
        assert len(rows_of(tmp_path / "out.gpkg")) == count


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Answers([0.9], [0, 0], np.ones((2, 64, 64), bool)), "1 scores, 2 labels and 2 masks"),
        (Answers([0.9], [0], np.ones((1, 50, 64), bool)), r"shape \(50, 64\) of a tile of 64"),
    ],
)
def test_what_a_predictor_gives_has_to_fit(tmp_path, found, message):
    raster = write_label_raster(tmp_path / "town.tif", np.ones((64, 64), np.int32))
    with pytest.raises(ArgumentError, match=message):
        engine.detect(raster, tmp_path / "out.gpkg", predictor=found)
    assert [path.name for path in tmp_path.iterdir()] == ["town.tif"]
