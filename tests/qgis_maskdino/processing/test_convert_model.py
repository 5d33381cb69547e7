"""``maskdino:convertmodel`` with the real engine, on a small checkpoint under the published names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from qgis.core import QgsApplication

from qgis_maskdino import settings
from qgis_maskdino.backend.model_card import read_model_card
from tests.qgis_maskdino.processing.algorithm_runs import Feedback, Run, failure, process_events, refusal, run
from tests.qgis_maskdino.published_checkpoint import write_checkpoint

pytestmark = pytest.mark.usefixtures("provider")

CONVERT = "maskdino:convertmodel"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, engine_python, project) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("downloads") / "town.pth", engine_python=engine_python, project=project)


@pytest.fixture(autouse=True)
def model_folder(tmp_path) -> Path:
    """A folder of models that nobody has made yet."""
    folder = tmp_path / "my models"
    settings.set_model_folder(str(folder))
    return folder


def models_offered() -> list[str]:
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("maskdino:detectbuildings")
    return algorithm.parameterDefinition("MODEL").options()


def test_a_published_checkpoint_becomes_a_model_that_can_be_chosen(checkpoint, model_folder):
    assert "town" not in models_offered()
    done = run(CONVERT, {"INPUT": str(checkpoint), "CLASSES": "house, shed", "GSD": 0.25})
    assert done.results["OUTPUT"] == str(model_folder / "town.safetensors")
    assert "Mask DINO for instance segmentation" in done.results["TAKEN_FOR"]
    assert any(done.results["TAKEN_FOR"] in line for line in done.feedback.said)
    assert "town" in models_offered()
    card = read_model_card("town")
    assert (card.classes, card.gsd) == (("house", "shed"), 0.25)
    assert card.bytes == (model_folder / "town.safetensors").stat().st_size


def test_a_model_without_its_classes_says_that_it_has_to_be_trained(checkpoint, tmp_path):
    output = tmp_path / "start.safetensors"
    done = run(CONVERT, {"INPUT": str(checkpoint), "DROP_CLASSES": True, "OUTPUT": str(output)})
    assert any("before it is trained" in line for line in done.feedback.warned)
    card = read_model_card(str(output))
    assert card.classes == ("building",) and "untrained" in card.limits


def test_a_model_that_is_there_is_not_replaced_unasked(checkpoint, model_folder):
    run(CONVERT, {"INPUT": str(checkpoint)})
    before = (model_folder / "town.safetensors").stat().st_mtime_ns
    assert "town already" in refusal(CONVERT, {"INPUT": str(checkpoint)})
    assert (model_folder / "town.safetensors").stat().st_mtime_ns == before
    assert not refusal(CONVERT, {"INPUT": str(checkpoint), "OUTPUT": str(model_folder / "other.safetensors")})


def test_a_model_of_the_plugin_keeps_its_name(checkpoint, tmp_path):
    shutil.copy(checkpoint, tmp_path / "maskdino_lite.pth")
    assert "maskdino_lite already" in refusal(CONVERT, {"INPUT": str(tmp_path / "maskdino_lite.pth")})


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    assert "no file" in refusal(CONVERT, {"INPUT": str(tmp_path / "gone.pth")})


def test_what_is_no_checkpoint_is_refused_by_its_name(tmp_path, model_folder):
    (tmp_path / "holiday.pth").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    assert "holiday.pth" in failure(CONVERT, {"INPUT": str(tmp_path / "holiday.pth")})
    assert not list(model_folder.iterdir())


def test_words_of_the_command_line_are_named_as_in_the_dialog(checkpoint):
    said = failure(CONVERT, {"INPUT": str(checkpoint), "NUM_CLASSES": 7})
    assert "trained on 2 classes, and 7 are asked for" in said
    assert "--drop-classes" not in said and "'Leave its own classes out, to fine-tune it for others'" in said


def test_a_conversion_that_is_cancelled_brings_nothing(checkpoint, model_folder, engine):
    engine("""
asked = requests()
request = next(asked)
say("progress", id=request["id"], done=1, total=4, unit="steps")
assert next(asked)["command"] == "cancel"
say("cancelled", id=request["id"], message="Cancelled; nothing was written.")
""")
    feedback = Feedback(cancel_at=lambda progress: progress > 0)
    started = Run(CONVERT, {"INPUT": str(checkpoint)}, feedback)
    process_events(lambda: started.ok is not None, 60)
    assert started.results == {}
    assert "town" not in models_offered()
