"""What is told of a raster layer before a model sees it."""

from __future__ import annotations

import math

import pytest
from qgis.core import QgsCoordinateReferenceSystem, QgsRasterLayer, QgsRectangle

from qgis_maskdino.layers.raster_facts import ground_megapixels, in_crs, raster_facts


@pytest.fixture
def raster(tmp_path):
    """Write an empty raster with pixels of a size, around a place, in some CRS."""
    from osgeo import gdal, osr

    def write(*, crs: str | None, origin: tuple[float, float], pixel: float, size: int = 100, bands: int = 3):
        path = str(tmp_path / "raster.tif")
        dataset = gdal.GetDriverByName("GTiff").Create(path, size, size, bands)
        if crs is not None:
            system = osr.SpatialReference()
            system.SetFromUserInput(crs)
            dataset.SetProjection(system.ExportToWkt())
        dataset.SetGeoTransform((origin[0], pixel, 0, origin[1], 0, -pixel))
        dataset.FlushCache()
        del dataset
        return QgsRasterLayer(path, "raster")

    return write


def test_a_metric_raster(raster):
    facts = raster_facts(raster(crs="EPSG:32633", origin=(500_000, 5_000_000), pixel=0.3, bands=4))
    assert (facts.width, facts.height, facts.bands, facts.crs) == (100, 100, 4, "EPSG:32633")
    assert facts.gsd == pytest.approx(0.3, rel=1e-3)
    assert facts.megapixels == pytest.approx(0.01)


def test_web_mercator_is_measured_on_the_ground(raster):
    facts = raster_facts(raster(crs="EPSG:3857", origin=(0, 8_399_738), pixel=1.0))  # 60 degrees north
    assert facts.gsd == pytest.approx(0.5, rel=0.01)


def test_degrees_are_measured_on_the_ground(raster):
    pixel = 1e-5
    facts = raster_facts(raster(crs="EPSG:4326", origin=(10, 60), pixel=pixel))
    north, east = 111_412 * pixel, 55_800 * pixel
    assert facts.gsd == pytest.approx(math.sqrt(north * east), rel=0.01)


def test_without_a_crs_nothing_is_claimed(raster):
    facts = raster_facts(raster(crs=None, origin=(0, 100), pixel=0.3))
    assert (facts.gsd, facts.crs) == (None, "")


def test_the_pixels_of_an_area_are_counted_at_the_models_resolution():
    utm = QgsCoordinateReferenceSystem("EPSG:32633")
    square = QgsRectangle(500_000, 5_000_000, 500_300, 5_000_300)
    assert ground_megapixels(square, utm, 0.3) == pytest.approx(1.0, rel=0.01)
    assert ground_megapixels(square, QgsCoordinateReferenceSystem(), 0.3) is None


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_the_whole_earth_has_an_area(crs):
    earth = in_crs(
        QgsRectangle(-180, -85, 180, 85), QgsCoordinateReferenceSystem("EPSG:4326"), QgsCoordinateReferenceSystem(crs)
    )
    assert ground_megapixels(earth, QgsCoordinateReferenceSystem(crs), 1000) == pytest.approx(510, rel=0.1)


def test_an_area_goes_to_another_crs_and_back():
    utm, degrees = QgsCoordinateReferenceSystem("EPSG:32633"), QgsCoordinateReferenceSystem("EPSG:4326")
    square = QgsRectangle(500_000, 5_000_000, 500_300, 5_000_300)
    there = in_crs(square, utm, degrees)
    assert there.contains(QgsRectangle(15.0001, 45.1536, 15.0035, 45.156))
    assert in_crs(there, degrees, utm).contains(square)


def test_an_area_that_does_not_exist_in_a_crs():
    degrees, mercator = QgsCoordinateReferenceSystem("EPSG:4326"), QgsCoordinateReferenceSystem("EPSG:3857")
    assert in_crs(QgsRectangle(0, 91, 10, 95), degrees, mercator) is None
