"""``maskdino:detectbuildings`` with a real engine, on the layers that users have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)

from tests.qgis_maskdino.processing.algorithm_runs import Run, failure, polygon_layer, refusal, run
from tests.qgis_maskdino.tile_server import TileServer

pytestmark = pytest.mark.usefixtures("provider")

DETECT = "maskdino:detectbuildings"
UTM = QgsCoordinateReferenceSystem("EPSG:32633")
# The scene's roofs: three columns of four, 16.2 x 10.8 m each; this is the first column.
FIRST_COLUMN = QgsRectangle(500_009, 4_999_915, 500_032, 4_999_998)
ROOF = 16.2 * 10.8


@pytest.fixture
def project_in_mercator():
    project = QgsProject.instance()
    before = project.crs()
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    yield project
    project.setCrs(before)


def text(rectangle: QgsRectangle, crs: str) -> str:
    """Return a rectangle as an extent parameter."""
    return f"{rectangle.xMinimum()},{rectangle.xMaximum()},{rectangle.yMinimum()},{rectangle.yMaximum()} [{crs}]"


def brought(rectangle: QgsRectangle, crs: str) -> QgsRectangle:
    """Return a rectangle of the scene in another CRS."""
    target = QgsCoordinateReferenceSystem(crs)
    return QgsCoordinateTransform(UTM, target, QgsProject.instance()).transformBoundingBox(rectangle)


def copy_without_crs(raster: Path, path: Path) -> None:
    """Copy a raster that then says nothing of its CRS."""
    gdal.Translate(str(path), str(raster))
    dataset = gdal.Open(str(path), gdal.GA_Update)
    dataset.SetProjection("")


def roofs(layer: QgsVectorLayer) -> list[QgsGeometry]:
    return [feature.geometry() for feature in layer.getFeatures()]


@pytest.mark.slow
def test_every_roof_becomes_a_polygon_with_score_and_area(scene):
    done = run(DETECT, {"INPUT": str(scene), "OUTPUT": "TEMPORARY_OUTPUT"})
    layer = done.layer()
    assert [field.name() for field in layer.fields()] == ["score", "area_m2"]
    assert layer.crs() == UTM
    features = list(layer.getFeatures())
    assert len(features) == done.results["COUNT"] == 12
    assert all(feature.geometry().isGeosValid() and 0.5 <= feature["score"] <= 1 for feature in features)
    assert all(feature["area_m2"] == pytest.approx(ROOF, rel=0.2) for feature in features)
    assert done.results["AREA"] == pytest.approx(sum(feature["area_m2"] for feature in features))
    assert done.results["SECONDS"] > 0
    assert any("12 buildings" in line for line in done.feedback.said)


@pytest.mark.slow
def test_project_layer_and_extent_may_each_have_a_crs_of_their_own(scene, project_in_mercator):
    layer = QgsRasterLayer(str(scene), "scene")
    project_in_mercator.addMapLayer(layer)
    extent = text(brought(FIRST_COLUMN, "EPSG:4326"), "EPSG:4326")
    done = run(DETECT, {"INPUT": layer.id(), "EXTENT": extent, "OUTPUT": "memory:"})
    found = roofs(done.layer())
    project_in_mercator.removeMapLayer(layer.id())
    assert done.layer().crs() == UTM
    assert len(found) == 4
    assert all(roof.intersects(QgsGeometry.fromRect(FIRST_COLUMN)) for roof in found)


@pytest.mark.slow
def test_a_layer_without_crs_in_a_read_only_folder_with_an_accented_name(scene, tmp_path):
    folder = tmp_path / "Données de référence"
    folder.mkdir()
    path = folder / "Zürich Süd — été 2024.tif"
    copy_without_crs(scene, path)
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    layer = QgsRasterLayer(str(path), "bare")
    layer.setCrs(QgsCoordinateReferenceSystem())
    QgsProject.instance().addMapLayer(layer)
    output = tmp_path / "Gebäude ü.gpkg"
    extent = text(FIRST_COLUMN, "")[:-3]  # in the layer's own coordinates, without a CRS
    done = run(DETECT, {"INPUT": layer.id(), "EXTENT": extent, "OUTPUT": str(output)})
    QgsProject.instance().removeMapLayer(layer.id())
    folder.chmod(0o755)
    assert done.results["COUNT"] == 4
    assert done.layer().crs().authid() == ""  # GeoPackage's own way of saying that there is none
    assert sorted(folder.iterdir()) == before  # also where the superuser runs the tests: nothing is written beside the image


@pytest.mark.slow
def test_a_crs_set_by_hand_is_that_of_the_buildings(scene, tmp_path):
    path = tmp_path / "bare.tif"
    copy_without_crs(scene, path)
    layer = QgsRasterLayer(str(path), "bare")
    layer.setCrs(UTM)
    QgsProject.instance().addMapLayer(layer)
    extent = text(brought(FIRST_COLUMN, "EPSG:4326"), "EPSG:4326")
    done = run(DETECT, {"INPUT": layer.id(), "EXTENT": extent, "OUTPUT": "memory:"})
    QgsProject.instance().removeMapLayer(layer.id())
    assert done.layer().crs() == UTM
    assert [feature["area_m2"] for feature in done.layer().getFeatures()] == pytest.approx([ROOF] * 4, rel=0.2)


@pytest.mark.slow
def test_inside_the_selected_polygons_and_the_extent_alone(scene):
    """Two polygons in another CRS, one of them selected; the extent cuts that to two roofs."""
    first = QgsGeometry.fromRect(FIRST_COLUMN)
    second = QgsGeometry.fromRect(QgsRectangle(500_036, 4_999_915, 500_060, 4_999_998))
    transform = QgsCoordinateTransform(UTM, QgsCoordinateReferenceSystem("EPSG:3857"), QgsProject.instance())
    for geometry in (first, second):
        geometry.transform(transform)
    areas = polygon_layer("EPSG:3857", first.asWkt(), second.asWkt())
    areas.selectByIds([1])
    QgsProject.instance().addMapLayer(areas)
    upper_half = text(brought(QgsRectangle(500_000, 4_999_955, 500_090, 5_000_000), "EPSG:4326"), "EPSG:4326")
    done = run(
        DETECT,
        {
            "INPUT": str(scene),
            "AOI": QgsProcessingFeatureSourceDefinition(areas.id(), selectedFeaturesOnly=True),
            "EXTENT": upper_half,
            "OUTPUT": "memory:",
        },
    )
    QgsProject.instance().removeMapLayer(areas.id())
    found = roofs(done.layer())
    assert len(found) == 2
    assert all(roof.centroid().asPoint().x() < 500_032 and roof.centroid().asPoint().y() > 4_999_955 for roof in found)


@pytest.mark.slow
def test_a_web_map_is_fetched_as_fine_as_the_model_wants_it(scene):
    with TileServer(scene) as server:
        layer = QgsRasterLayer(server.source, "web map", "wms")
        QgsProject.instance().addMapLayer(layer)
        done = run(DETECT, {"INPUT": layer.id(), "EXTENT": text(FIRST_COLUMN, "EPSG:32633"), "OUTPUT": "memory:"})
        QgsProject.instance().removeMapLayer(layer.id())
    found = list(done.layer().getFeatures())
    assert done.layer().crs().authid() == "EPSG:3857"
    assert len(found) == 4
    # Web mercator doubles areas at this latitude; the ground does not grow.
    assert [feature["area_m2"] for feature in found] == pytest.approx([ROOF] * 4, rel=0.25)


@pytest.mark.slow
def test_two_at_once_do_not_disturb_one_another(scene, tmp_path):
    other = tmp_path / "other.tif"
    shutil.copy(scene, other)
    second_column = QgsRectangle(500_036, 4_999_915, 500_060, 4_999_960)
    one = Run(DETECT, {"INPUT": str(scene), "EXTENT": text(FIRST_COLUMN, "EPSG:32633"), "OUTPUT": str(tmp_path / "1.gpkg")})
    two = Run(DETECT, {"INPUT": str(other), "EXTENT": text(second_column, "EPSG:32633"), "OUTPUT": str(tmp_path / "2.gpkg")})
    assert [one.wait()["COUNT"], two.wait()["COUNT"]] == [4, 2]


class TestRefusals:
    """Before any work begins, and in a sentence."""

    def test_two_bands(self, scene):
        assert "2 bands were chosen" in refusal(DETECT, {"INPUT": str(scene), "BANDS": [1, 2], "OUTPUT": "memory:"})

    def test_a_model_file_that_is_not_there(self, scene, tmp_path):
        parameters = {"INPUT": str(scene), "MODEL_FILE": str(tmp_path / "no.safetensors"), "OUTPUT": "memory:"}
        assert "no.safetensors does not exist" in refusal(DETECT, parameters)

    def test_an_output_in_a_folder_that_is_not_there(self, scene, tmp_path):
        parameters = {"INPUT": str(scene), "OUTPUT": str(tmp_path / "no" / "such.gpkg")}
        assert "does not exist" in refusal(DETECT, parameters)

    def test_an_output_over_the_image(self, scene, tmp_path):
        package = tmp_path / "town.gpkg"
        gdal.Translate(str(package), str(scene))
        assert "would be lost" in refusal(DETECT, {"INPUT": str(package), "OUTPUT": str(package)})

    def test_a_score_beyond_one(self, scene):
        assert refusal(DETECT, {"INPUT": str(scene), "SCORE": 2, "OUTPUT": "memory:"})

    def test_all_of_a_map_without_an_end(self, scene):
        with TileServer(scene) as server:
            layer = QgsRasterLayer(server.source, "web map", "wms")
            QgsProject.instance().addMapLayer(layer)
            extent = {"EXTENT": text(FIRST_COLUMN, "EPSG:32633")}
            everywhere = refusal(DETECT, {"INPUT": layer.id(), "OUTPUT": "memory:"})
            there = refusal(DETECT, {"INPUT": layer.id(), "OUTPUT": "memory:", **extent})
            QgsProject.instance().removeMapLayer(layer.id())
        assert "'web map' is a map without an end" in everywhere
        assert there == ""

    def test_an_area_without_polygons(self, scene):
        empty = polygon_layer("EPSG:32633")
        QgsProject.instance().addMapLayer(empty)
        words = failure(DETECT, {"INPUT": str(scene), "AOI": empty.id(), "OUTPUT": "memory:"})
        QgsProject.instance().removeMapLayer(empty.id())
        assert "The area has no polygons" in words

    def test_polygons_outside_the_extent(self, scene):
        areas = polygon_layer("EPSG:32633", QgsGeometry.fromRect(FIRST_COLUMN).asWkt())
        QgsProject.instance().addMapLayer(areas)
        parameters = {
            "INPUT": str(scene),
            "AOI": areas.id(),
            "EXTENT": text(QgsRectangle(500_040, 4_999_920, 500_080, 4_999_990), "EPSG:32633"),
            "OUTPUT": "memory:",
        }
        words = failure(DETECT, parameters)
        QgsProject.instance().removeMapLayer(areas.id())
        assert "outside the extent" in words
