"""A raster layer becomes something that another program can open: its own file where it is one, an export elsewhere."""

from __future__ import annotations

import math
import shutil
import time

import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
)

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.layers.export_grid import ExportGrid, metres_per_unit
from qgis_maskdino.layers.raster_export import ExportCancelled, export_raster
from qgis_maskdino.layers.source import LayerSource
from tests.qgis_maskdino.tile_server import CoverageService, TileServer, WebMapService, plain_tile

pytestmark = pytest.mark.usefixtures("qgis_app")

UTM = QgsCoordinateReferenceSystem("EPSG:32633")
MERCATOR = QgsCoordinateReferenceSystem("EPSG:3857")


def source_of(layer: QgsRasterLayer) -> LayerSource:
    return LayerSource.of(layer, QgsProject.instance().transformContext())


def in_mercator(rectangle: QgsRectangle) -> QgsRectangle:
    return QgsCoordinateTransform(UTM, MERCATOR, QgsProject.instance()).transformBoundingBox(rectangle)


def export(source: LayerSource, path, *, area=None, gsd=0.3, margin=0, is_cancelled=lambda: False) -> list[dict]:
    events: list[dict] = []
    export_raster(source, str(path), area=area, gsd=gsd, margin=margin, on_event=events.append, is_cancelled=is_cancelled)
    return events


def pixels(path, band: int = 1) -> bytes:
    dataset = gdal.Open(str(path))
    return bytes(dataset.GetRasterBand(band).ReadRaster())


class TestPath:
    def test_a_file_is_opened_where_it_is(self, scene):
        assert source_of(QgsRasterLayer(str(scene))).path == str(scene)

    def test_spaces_and_accents_are_part_of_a_path(self, scene, tmp_path):
        copy = tmp_path / "Zürich Süd (2024) — été.tif"
        shutil.copy(scene, copy)
        assert source_of(QgsRasterLayer(str(copy))).path == str(copy)

    def test_a_relative_path_is_made_absolute_for_a_process_that_runs_elsewhere(self, scene, monkeypatch):
        monkeypatch.chdir(scene.parent)
        assert source_of(QgsRasterLayer(scene.name)).path == str(scene)

    def test_a_raster_in_a_geopackage_keeps_its_name(self, scene, tmp_path):
        package = tmp_path / "towns.gpkg"
        for table in ("east", "west"):
            gdal.Translate(str(package), str(scene), creationOptions=["APPEND_SUBDATASET=YES", f"RASTER_TABLE={table}"])
        layer = QgsRasterLayer(f"GPKG:{package}:west")
        assert layer.isValid()
        assert source_of(layer).path == f"GPKG:{package}:west"

    def test_what_lives_in_this_process_alone_is_exported(self, scene, tmp_path):
        gdal.Translate("/vsimem/town.tif", str(scene))
        try:
            source = source_of(QgsRasterLayer("/vsimem/town.tif"))
            assert source.path is None
            export(source, tmp_path / "out.tif")
            assert pixels(tmp_path / "out.tif") == pixels(scene)
        finally:
            gdal.Unlink("/vsimem/town.tif")

    def test_what_is_opened_with_options_is_exported(self, scene, tmp_path):
        layer = QgsRasterLayer(f"{scene}|option:NUM_THREADS=2")
        assert layer.isValid()
        source = source_of(layer)
        assert source.path is None
        export(source, tmp_path / "out.tif")
        assert pixels(tmp_path / "out.tif") == pixels(scene)

    def test_a_crs_set_by_hand_goes_along(self, scene, engine_python, tmp_path):
        bare = tmp_path / "no crs.tif"
        gdal.Translate(str(bare), str(scene))
        dataset = gdal.Open(str(bare), gdal.GA_Update)
        dataset.SetProjection("")
        del dataset
        layer = QgsRasterLayer(str(bare))
        layer.setCrs(QgsCoordinateReferenceSystem())
        assert source_of(layer).path == str(bare)
        layer.setCrs(UTM)
        assert source_of(layer).path == f"vrt://{bare}?a_srs=EPSG:32633"

    def test_a_broken_layer_is_refused_by_name(self, tmp_path):
        with pytest.raises(EngineError, match="'lost town' cannot be read"):
            source_of(QgsRasterLayer(str(tmp_path / "gone.tif"), "lost town"))


class TestWebMap:
    @pytest.fixture
    def web(self, scene):
        with TileServer(scene) as server:
            layer = QgsRasterLayer(server.source, "web map", "wms")
            assert layer.isValid()
            yield server, layer

    def test_it_arrives_in_the_right_place_and_fineness(self, web, scene, tmp_path):
        _, layer = web
        ground = QgsRasterLayer(str(scene)).extent()
        area = in_mercator(ground)
        source = source_of(layer)
        assert source.path is None
        events = export(source, tmp_path / "out.tif", area=area, gsd=0.3)
        exported = QgsRasterLayer(str(tmp_path / "out.tif"))
        assert exported.crs() == MERCATOR
        # A pixel of 0.3 m on the ground is a larger one in web mercator.
        latitude = math.radians(45.15)
        assert exported.rasterUnitsPerPixelX() == pytest.approx(0.3 / math.cos(latitude), rel=0.01)
        assert exported.extent().buffered(0.5).contains(area)
        assert events[0]["unit"] == "tiles fetched"
        # The middle of a roof is where it is in the file that the map was made of, and the ground beside it is not.
        transform = QgsCoordinateTransform(UTM, MERCATOR, QgsProject.instance())
        roof, _ = exported.dataProvider().sample(transform.transform(500_000 + 67 * 0.3, 5_000_000 - 38 * 0.3), 1)
        between, _ = exported.dataProvider().sample(transform.transform(500_000 + 20 * 0.3, 5_000_000 - 10 * 0.3), 1)
        assert abs(roof - 176) < 8
        assert abs(between - 84) < 8

    def test_where_the_map_ends_there_is_no_data(self, web, scene, tmp_path):
        _, layer = web
        area = in_mercator(QgsRasterLayer(str(scene)).extent().buffered(30))
        export(source_of(layer), tmp_path / "out.tif", area=area)
        exported = QgsRasterLayer(str(tmp_path / "out.tif"))
        alphas = [exported.dataProvider().sample(place, 4)[0] for place in (area.center(), exported.extent().center())]
        assert alphas == [255, 255]
        assert pixels(tmp_path / "out.tif", 4)[0] == 0

    def test_absurd_sizes_are_refused_with_a_figure(self, web, tmp_path):
        server, layer = web
        with pytest.raises(EngineError, match=r"'web map' would have to be fetched as .* megapixels.*Choose an area"):
            export(source_of(layer), tmp_path / "out.tif")
        assert server.requests == []

    def test_without_a_fineness_it_cannot_be_fetched(self, web, scene, tmp_path):
        _, layer = web
        area = in_mercator(QgsRasterLayer(str(scene)).extent())
        with pytest.raises(EngineError, match="Nothing says how fine 'web map' should be fetched"):
            export(source_of(layer), tmp_path / "out.tif", area=area, gsd=None)

    def test_the_layer_may_be_gone_meanwhile(self, web, scene, tmp_path):
        _, layer = web
        QgsProject.instance().addMapLayer(layer)
        source = source_of(layer)
        QgsProject.instance().removeMapLayer(layer.id())
        export(source, tmp_path / "out.tif", area=in_mercator(QgsRasterLayer(str(scene)).extent()))
        assert (tmp_path / "out.tif").exists()


def test_a_web_map_service_is_asked_for_maps_of_a_bearable_size(scene, tmp_path):
    """Servers refuse large maps; and many small ones join without a seam."""
    area = in_mercator(QgsRasterLayer(str(scene)).extent().buffered(60))
    with WebMapService(scene) as server:
        layer = QgsRasterLayer(server.source, "service", "wms")
        assert layer.isValid(), layer.error().message()
        export(source_of(layer), tmp_path / "out.tif", area=area)
    exported = QgsRasterLayer(str(tmp_path / "out.tif"))
    assert exported.width() > 512
    assert len(server.sizes) > 1
    assert max(max(size) for size in server.sizes) <= 1024
    whole = gdal.Warp(
        "", gdal.Open(str(scene)), format="MEM", dstSRS="EPSG:3857", width=exported.width(), height=exported.height(),
        outputBounds=[float(side) for side in exported.extent().toString(9).replace(":", ",").split(",")],
        resampleAlg="bilinear",
    )  # fmt: skip
    wanted, got = bytes(whole.GetRasterBand(1).ReadRaster()), pixels(tmp_path / "out.tif")
    unlike = sum(abs(a - b) > 40 for a, b in zip(wanted, got, strict=True))
    assert unlike < 0.01 * len(got)  # edges of roofs, by a rounded pixel


class TestBadWebMap:
    AREA = QgsRectangle(1_669_000, 5_621_000, 1_669_200, 5_621_200)

    @pytest.mark.parametrize(
        "tile",
        [plain_tile(0, 0, 0), plain_tile(0, 0, 0, 0), None, plain_tile(255, 255, 255)],
        ids=["black", "transparent", "missing", "white"],
    )
    def test_a_map_without_a_picture_is_refused(self, tile, tmp_path):
        with TileServer(paint=lambda z, x, y: tile) as server:
            layer = QgsRasterLayer(server.source, "dead map", "wms")
            with pytest.raises(EngineError, match="'dead map' shows nothing here"):
                export(source_of(layer), tmp_path / "out.tif", area=self.AREA)
        assert not (tmp_path / "out.tif").exists()

    def test_holes_are_told_of(self, tmp_path):
        """The west is black, the east a chequered board of whole tiles."""
        middle = (self.AREA.center().x() / 20037508.342789244 + 1) / 2

        def paint(z, x, y):
            if (x + 1) / 2**z <= middle:
                return plain_tile(0, 0, 0)
            return plain_tile(200 if (x + y) % 2 else 90, 100, 100)

        with TileServer(paint=paint) as server:
            layer = QgsRasterLayer(server.source, "half map", "wms")
            events = export(source_of(layer), tmp_path / "out.tif", area=self.AREA.buffered(200))
        warnings = [event["message"] for event in events if event.get("level") == "warning"]
        assert len(warnings) == 1
        assert "tiles of 'half map' came empty" in warnings[0]

    def test_a_cancel_is_heard_while_a_tile_is_awaited(self, tmp_path):
        def paint(z, x, y):
            time.sleep(5)
            return plain_tile(1, 2, 3)

        began = time.monotonic()
        with TileServer(paint=paint) as server:
            layer = QgsRasterLayer(server.source, "slow map", "wms")
            with pytest.raises(ExportCancelled):
                export(
                    source_of(layer), tmp_path / "out.tif", area=self.AREA,
                    is_cancelled=lambda: time.monotonic() - began > 1,
                )  # fmt: skip
        assert time.monotonic() - began < 4.5
        assert not (tmp_path / "out.tif").exists()


class TestValues:
    """Layers that hold numbers, not pictures, come as they are."""

    def test_a_virtual_raster_keeps_its_values(self, scene, tmp_path):
        layer = QgsRasterLayer(str(scene), "town")
        QgsProject.instance().addMapLayer(layer)
        try:
            uri = (
                f"?crs=EPSG:32633&extent=500000,4999910,500090,5000000&width=300&height=300"
                f"&formula=%22town%401%22&town:uri={scene}&town:provider=gdal"
            )
            virtual = QgsRasterLayer(uri, "virtual", "virtualraster")
            assert virtual.isValid()
            source = source_of(virtual)
            assert source.path is None
            export(source, tmp_path / "out.tif", gsd=0.3)
        finally:
            QgsProject.instance().removeMapLayer(layer.id())
        exported = gdal.Open(str(tmp_path / "out.tif"))
        assert (exported.RasterXSize, exported.RasterYSize, exported.RasterCount) == (300, 300, 1)
        values = memoryview(exported.GetRasterBand(1).ReadRaster(buf_type=gdal.GDT_Float64)).cast("d")
        assert [values[38 * 300 + 67], values[0]] == [176.0, 84.0]

    def test_a_coverage_keeps_its_values_and_its_pixels(self, scene, tmp_path):
        with CoverageService(scene) as server:
            layer = QgsRasterLayer(server.source, "coverage", "wcs")
            assert layer.isValid(), layer.error().message()
            source = source_of(layer)
            assert source.path is None
            export(source, tmp_path / "out.tif", gsd=0.1)  # finer than there is anything to see
        assert [pixels(tmp_path / "out.tif", band) for band in (1, 2, 3)] == [pixels(scene, band) for band in (1, 2, 3)]

    def test_16_bit_stay_16_bit(self, tmp_path):
        name = "/vsimem/deep.tif"
        raster = gdal.GetDriverByName("GTiff").Create(name, 64, 64, 4, gdal.GDT_UInt16)
        raster.SetGeoTransform((500_000, 0.3, 0, 5_000_000, 0, -0.3))
        raster.SetProjection(UTM.toWkt())
        for band in range(1, 5):
            raster.GetRasterBand(band).Fill(1000 * band)
            raster.GetRasterBand(band).SetNoDataValue(0)
            raster.GetRasterBand(band).WriteRaster(0, 0, 1, 1, b"\0\0")
        del raster
        try:
            export(source_of(QgsRasterLayer(name)), tmp_path / "out.tif")
        finally:
            gdal.Unlink(name)
        exported = gdal.Open(str(tmp_path / "out.tif"))
        assert exported.RasterCount == 4
        assert exported.GetRasterBand(4).DataType == gdal.GDT_UInt16
        assert exported.GetRasterBand(4).GetNoDataValue() == 0
        assert list(memoryview(exported.GetRasterBand(4).ReadRaster(0, 0, 2, 1)).cast("H")) == [0, 4000]


class TestGrid:
    def test_a_unit_of_web_mercator_shrinks_towards_the_pole(self):
        context = QgsProject.instance().transformContext()
        at_60 = QgsCoordinateTransform(QgsCoordinateReferenceSystem("EPSG:4326"), MERCATOR, QgsProject.instance())
        east, north = metres_per_unit(MERCATOR, at_60.transform(10, 60), context)
        assert east == pytest.approx(0.5, rel=0.01)
        assert north == pytest.approx(0.5, rel=0.01)

    def test_degrees_have_two_lengths(self):
        context = QgsProject.instance().transformContext()
        degrees = QgsCoordinateReferenceSystem("EPSG:4326")
        east, north = metres_per_unit(degrees, QgsRectangle(85, 27, 86, 28).center(), context)
        assert east == pytest.approx(111_320 * math.cos(math.radians(27.5)), rel=0.01)
        assert north == pytest.approx(110_900, rel=0.01)

    def test_without_a_crs_a_unit_has_no_length(self):
        context = QgsProject.instance().transformContext()
        assert metres_per_unit(QgsCoordinateReferenceSystem(), QgsRectangle(0, 0, 1, 1).center(), context) is None

    def test_windows_tile_the_extent(self):
        grid = ExportGrid.over(QgsRectangle(10, 20, 110, 70), (0.3, 0.3), name="town")
        left = grid.window(0, 0, 200, grid.rows)
        right = grid.window(200, 0, grid.columns - 200, grid.rows)
        assert left.xMaximum() == pytest.approx(right.xMinimum())
        assert right.xMaximum() == pytest.approx(grid.extent.xMaximum())
        assert left.yMinimum() == pytest.approx(grid.extent.yMinimum())
        assert grid.extent.xMaximum() >= 110
        assert grid.extent.yMinimum() <= 20

    def test_a_whole_number_of_pixels_stays_one(self):
        grid = ExportGrid.over(QgsRectangle(500_000, 4_999_910, 500_090, 5_000_000), (0.3, 0.3), name="town")
        assert (grid.columns, grid.rows) == (300, 300)
