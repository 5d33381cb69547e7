"""``maskdino:segment`` with the real engine and a small model, whose classes mean nothing."""

from __future__ import annotations

import subprocess

import pytest
from qgis.core import (
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterBandStats,
    QgsRasterLayer,
)

from tests.qgis_maskdino.processing.algorithm_runs import Feedback, failure, refusal, run

pytestmark = pytest.mark.usefixtures("provider")

SEGMENT = "maskdino:segment"
CLASSES = ("road", "building", "tree", "water", "grass")
_MAKE = """
import sys
from engine.model.header import ModelHeader
from engine.model.model_file import save_model
from tests.engine.model.families.mask2former.small import SMALL_SEMANTIC, filled
header = ModelHeader(name="filled", config=SMALL_SEMANTIC, classes=tuple(sys.argv[2:]), gsd=0.3, tile_size=96)
save_model(sys.argv[1], filled(SMALL_SEMANTIC, ""), header)
"""


@pytest.fixture(scope="module")
def semantic_model(engine_python, project, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "semantic.safetensors"
    subprocess.run([engine_python, "-c", _MAKE, str(path), *CLASSES], check=True, cwd=project)
    return str(path)


def test_each_pixel_gets_a_class_with_its_name_in_the_legend(scene, semantic_model, tmp_path):
    output = str(tmp_path / "classes.tif")
    definition = QgsProcessingOutputLayerDefinition(output, QgsProject.instance())
    feedback = Feedback()
    done = run(SEGMENT, {"INPUT": str(scene), "MODEL": semantic_model, "OUTPUT": definition}, feedback)
    layer, source = QgsRasterLayer(output, "classes"), QgsRasterLayer(str(scene), "scene")
    assert (layer.width(), layer.height(), layer.extent(), layer.crs()) == (300, 300, source.extent(), source.crs())
    statistics = layer.dataProvider().bandStatistics(1, QgsRasterBandStats.Stats.All)
    assert 0 <= statistics.minimumValue <= statistics.maximumValue < len(CLASSES)
    counted = [line for line in feedback.said if "pixels" in line]
    assert sum(int(line.split(": ")[1].split(" ")[0].replace(",", "")) for line in counted) == 300 * 300
    assert done.results["SECONDS"] > 0
    context: QgsProcessingContext = done.context
    details = context.layerToLoadOnCompletionDetails(output)
    details.postProcessor().postProcessLayer(layer, context, feedback)
    renderer = layer.renderer()
    assert isinstance(renderer, QgsPalettedRasterRenderer)
    labels = [entry.label for entry in renderer.classes()]
    assert set(labels) == {line.split(":")[0] for line in counted} and set(labels) <= set(CLASSES)
    assert [CLASSES.index(entry.label) for entry in renderer.classes()] == [entry.value for entry in renderer.classes()]


def test_an_area_a_choice_of_classes_and_a_probability(scene, semantic_model, tmp_path):
    extent = "500030,500060,4999930,4999970 [EPSG:32633]"
    few, likely = str(tmp_path / "few.tif"), str(tmp_path / "likely.tif")
    run(SEGMENT, {"INPUT": str(scene), "MODEL": semantic_model, "EXTENT": extent, "CLASSES": "tree", "OUTPUT": few})
    values = set(_values(few))
    assert 255 in values and values <= {2, 255}
    run(SEGMENT, {"INPUT": str(scene), "MODEL": semantic_model, "PROBABILITIES": "tree", "OUTPUT": likely})
    assert len(set(_values(likely))) > 5


def test_a_raster_that_is_there_is_replaced_when_the_new_one_is_whole(scene, semantic_model, tmp_path):
    output = tmp_path / "classes.tif"
    parameters = {"INPUT": str(scene), "MODEL": semantic_model, "OUTPUT": str(output)}
    run(SEGMENT, parameters)
    first = output.read_bytes()
    assert "has no class 'sea'" in failure(SEGMENT, {**parameters, "CLASSES": "sea"})
    assert output.read_bytes() == first
    run(SEGMENT, parameters)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.tif", "classes.tif.aux.xml"]


def test_what_cannot_work_is_refused_before_it_begins(scene, semantic_model, tmp_path):
    parameters = {"INPUT": str(scene), "MODEL": semantic_model, "OUTPUT": str(tmp_path / "classes.tif")}
    assert "does not exist" in refusal(SEGMENT, {**parameters, "MODEL": str(tmp_path / "none.safetensors")})
    assert "no GeoTIFF" in refusal(SEGMENT, {**parameters, "OUTPUT": str(tmp_path / "classes.png")})
    assert "would be lost" in refusal(SEGMENT, {**parameters, "OUTPUT": str(scene)})
    assert "2 bands were chosen" in refusal(SEGMENT, {**parameters, "BANDS": [1, 2]})
    run(SEGMENT, parameters)
    layer = QgsRasterLayer(parameters["OUTPUT"], "ground cover")
    QgsProject.instance().addMapLayer(layer)
    try:
        assert "ground cover" in refusal(SEGMENT, parameters)
    finally:
        QgsProject.instance().removeMapLayer(layer.id())


def test_a_model_of_buildings_cannot(scene, project, tmp_path):
    model = str(project / "engine" / "weights" / "maskdino_lite.safetensors")
    words = failure(SEGMENT, {"INPUT": str(scene), "MODEL": model, "OUTPUT": str(tmp_path / "classes.tif")})
    assert "instances" in words
    assert not list(tmp_path.iterdir())


def _values(path: str) -> bytes:
    layer = QgsRasterLayer(path, "values")
    provider = layer.dataProvider()
    block = provider.block(1, provider.extent(), provider.xSize(), provider.ySize())
    return bytes(block.data())
