"""What the toolbox, the model designer and batch runs see of our algorithms."""

from __future__ import annotations

import pytest
from qgis.core import (
    QgsApplication,
    QgsProcessingAlgorithm,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsVectorLayer,
)

from qgis_maskdino import options, settings
from tests.qgis_maskdino.processing.algorithm_runs import run

NAMES = (
    "detectbuildings",
    "segment",
    "regularizeoutlines",
    "evaluatedetections",
    "exporttrainingdata",
    "trainmodel",
    "convertmodel",
)
# Fixed for good: scripts and models of others name them.
PARAMETERS = {
    "detectbuildings": {
        "INPUT",
        "EXTENT",
        "AOI",
        "MODEL",
        "BANDS",
        "GSD",
        "SCORE",
        "MIN_AREA",
        "OUTLINE",
        "DEVICE",
        "OUTPUT",
        "CLASSES",
    },
    "regularizeoutlines": {"INPUT", "OUTLINE", "DETAIL", "OUTPUT"},
    "segment": {"INPUT", "EXTENT", "AOI", "MODEL", "CLASSES", "PROBABILITIES", "BANDS", "GSD", "DEVICE", "OUTPUT"},
    "evaluatedetections": {"DETECTIONS", "ANNOTATIONS", "AOI", "OUTPUT", "REPORT"},
    "exporttrainingdata": {"INPUT", "ANNOTATIONS", "AOI", "OUTPUT"},
    "trainmodel": {"DATASET", "MODEL", "OUTPUT"},
    "convertmodel": {"INPUT", "PRESET", "CLASSES", "NUM_CLASSES", "OUTPUT"},
}
OPTIONS = {
    "detectbuildings": options.detect,
    "evaluatedetections": options.evaluate,
    "regularizeoutlines": options.regularize,
    "segment": options.segment,
    "exporttrainingdata": options.export_dataset,
    "trainmodel": options.train,
    "convertmodel": options.models_convert,
}
FROM_THE_ENGINE = {
    "detectbuildings": {"SCORE", "OUTLINE", "BANDS", "GSD", "MIN_AREA", "DEVICE", "CLASSES"},
    "evaluatedetections": {"BOUNDARY_WIDTH"},
    "regularizeoutlines": {"OUTLINE", "DETAIL"},
    "segment": {"CLASSES", "PROBABILITIES", "BANDS", "GSD", "DEVICE"},
    "exporttrainingdata": {"TILE_SIZE", "STRIDE", "GSD", "BANDS", "SEED", "IMAGE_FORMAT"},
    "trainmodel": {"RESUME"},
    "convertmodel": {"PRESET", "CLASSES", "NUM_CLASSES", "DROP_CLASSES", "GSD", "TILE_SIZE", "HALF"},
}
OUTPUTS = {
    "detectbuildings": {"OUTPUT", "COUNT", "AREA", "SECONDS"},
    "segment": {"OUTPUT", "SECONDS"},
    "regularizeoutlines": {"OUTPUT", "REDRAWN", "KEPT", "CORNERS_BEFORE", "CORNERS_AFTER"},
    "evaluatedetections": {"OUTPUT", "REPORT", "PRECISION", "RECALL", "F1", "AP50", "AP75", "AP"},
    "exporttrainingdata": {"OUTPUT", "IMAGES", "FOOTPRINTS"},
    "trainmodel": {"OUTPUT", "TRAINED_MODEL", "AP50"},
    "convertmodel": {"OUTPUT", "TAKEN_FOR"},
}


@pytest.fixture(params=NAMES)
def algorithm(request, provider) -> QgsProcessingAlgorithm:
    return QgsApplication.processingRegistry().createAlgorithmById(f"maskdino:{request.param}")


def test_the_provider_offers_its_algorithms(provider):
    assert provider.id() == "maskdino"
    assert {algorithm.name() for algorithm in provider.algorithms()} == set(NAMES)
    assert not provider.icon().isNull()


def test_names_are_those_that_scripts_know(algorithm):
    parameters = {parameter.name() for parameter in algorithm.parameterDefinitions()}
    outputs = {output.name() for output in algorithm.outputDefinitions()}
    assert parameters >= PARAMETERS[algorithm.name()]
    assert outputs >= OUTPUTS[algorithm.name()]
    assert all(name.isupper() for name in parameters | outputs)


def test_every_parameter_is_explained_to_people(algorithm):
    assert algorithm.displayName()
    assert len(algorithm.shortHelpString()) > 200
    assert algorithm.shortDescription().endswith(".")
    for parameter in algorithm.parameterDefinitions():
        assert parameter.help().endswith("."), parameter.name()
        assert "<" not in parameter.help(), "qgis_process shows it as it is"
    assert not algorithm.icon().isNull()


def test_options_are_those_of_the_engine(algorithm):
    """Default, bounds, choices and help; a default of the device is the user's."""
    known, number = OPTIONS[algorithm.name()](), QgsProcessingParameterNumber
    shared = {name: algorithm.parameterDefinition(name) for name in known if algorithm.parameterDefinition(name)}
    assert {parameter.name() for parameter in shared.values()} >= FROM_THE_ENGINE[algorithm.name()]
    for name in map(str.lower, FROM_THE_ENGINE[algorithm.name()]):
        parameter, option = shared[name], known[name]
        assert parameter.help() == option.help
        assert parameter.defaultValue() == option.default
        optional = QgsProcessingParameterDefinition.Flag.FlagOptional
        assert bool(parameter.flags() & optional) == (option.default is None)
        if isinstance(parameter, QgsProcessingParameterEnum):
            assert tuple(parameter.options()) == option.choices
        if isinstance(parameter, number):
            assert (parameter.dataType() == number.Type.Integer) == (option.kind == "whole number")
            assert option.minimum is None or parameter.minimum() == option.minimum
            assert parameter.maximum() == option.maximum or (option.maximum is None and parameter.maximum() > 1e9)


def test_it_runs_in_background_threads(algorithm):
    assert not algorithm.flags() & QgsProcessingAlgorithm.Flag.FlagNoThreading


def test_it_can_run_in_batches_and_in_models(algorithm):
    assert algorithm.flags() & QgsProcessingAlgorithm.Flag.FlagSupportsBatch
    assert not algorithm.flags() & QgsProcessingAlgorithm.Flag.FlagHideFromModeler


def test_choices_are_words_and_not_numbers(algorithm):
    for parameter in algorithm.parameterDefinitions():
        if isinstance(parameter, QgsProcessingParameterEnum):
            assert parameter.usesStaticStrings()
            assert parameter.defaultValue() in parameter.options()


def test_what_few_people_need_is_folded_away(provider):
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("maskdino:detectbuildings")
    advanced = QgsProcessingParameterDefinition.Flag.FlagAdvanced
    shown = {parameter.name() for parameter in algorithm.parameterDefinitions() if not parameter.flags() & advanced}
    assert shown == {"INPUT", "EXTENT", "AOI", "MODEL", "SCORE", "OUTLINE", "OUTPUT"}


def test_what_was_added_later_stands_at_the_end(provider):
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("maskdino:detectbuildings")
    assert [parameter.name() for parameter in algorithm.parameterDefinitions()][-3:] == ["OUTPUT", "CLASSES", "OVERWRITE"]


def test_models_of_the_users_folder_can_be_chosen(provider, tmp_path):
    (tmp_path / "our town.safetensors").touch()
    before = settings.model_folder()
    settings.set_model_folder(str(tmp_path))
    try:
        algorithm = QgsApplication.processingRegistry().createAlgorithmById("maskdino:detectbuildings")
        options = algorithm.parameterDefinition("MODEL").options()
    finally:
        settings.set_model_folder(before)
    assert options[0] == "maskdino_lite"
    assert "our town" in options


@pytest.mark.slow
def test_it_works_as_a_step_of_a_model(provider, scene, tmp_path):
    """A model of the designer: raster in, buildings above a score out."""
    model = QgsProcessingModelAlgorithm("town", "test")
    model.addModelParameter(QgsProcessingParameterRasterLayer("image", "Image"), QgsProcessingModelParameter("image"))
    child = QgsProcessingModelChildAlgorithm("maskdino:detectbuildings")
    child.setChildId("detect")
    source = QgsProcessingModelChildParameterSource
    child.addParameterSources("INPUT", [source.fromModelParameter("image")])
    child.addParameterSources("EXTENT", [source.fromStaticValue("500009,500032,4999955,4999998 [EPSG:32633]")])
    child.addParameterSources("SCORE", [source.fromExpression("0.25 * 2")])
    output = QgsProcessingModelOutput("buildings", "Buildings")
    output.setChildId("detect")
    output.setChildOutputName("OUTPUT")
    child.setModelOutputs({"buildings": output})
    model.addChildAlgorithm(child)
    model.initAlgorithm()
    path = tmp_path / "town.model3"
    assert model.toFile(str(path))
    read = QgsProcessingModelAlgorithm()
    assert read.fromFile(str(path))
    done = run(read, {"image": str(scene), "detect:buildings": str(tmp_path / "buildings.gpkg")})
    assert done.ok
    assert QgsVectorLayer(str(tmp_path / "buildings.gpkg"), "buildings", "ogr").featureCount() == 2
