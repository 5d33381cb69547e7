"""The model of the last detection stays ready; another model, or another way to compute, takes its place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.detection import last_predictor
from engine.detection.last_predictor import LastPredictor
from engine.detection.settings import Settings
from engine.model.model_file import embedded_models, open_model_file
from tests.engine.detection.label_raster import write_label_raster
from tests.engine.detection.label_towns import shapes_town


class Made:
    """Stands in for a predictor, which takes a while to make."""

    def __init__(self, score: float) -> None:
        self.score = score
        self.model = object()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Made]:
    made: list[Made] = []

    def make(model, *, device: str, settings: Settings) -> Made:
        made.append(Made(settings.score))
        return made[-1]

    monkeypatch.setattr(last_predictor, "model_predictor", make)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(embedded_models()["maskdino_lite"], tmp_path / "mine.safetensors"))


def test_what_shapes_the_model_makes_another_and_the_score_does_not(made: list[Made], model: Path) -> None:
    last, file = LastPredictor(), open_model_file(model)
    first = last(file, device="cpu", settings=Settings(score=0.5))
    second = last(file, device="cpu", settings=Settings(score=0.3, outline="raw"))
    assert len(made) == 1 and first.model is second.model
    assert (first.score, second.score) == (0.5, 0.3)  # the first may still be at work
    for number, settings in enumerate((Settings(precision="float32"), Settings(deterministic=True), Settings(batch_size=2)), 2):
        last(file, device="cpu", settings=settings)
        assert len(made) == number
    last(file, device="auto", settings=settings)
    assert len(made) == 5


def test_a_file_that_was_written_anew_is_loaded_anew(made: list[Made], model: Path) -> None:
    last = LastPredictor()
    last(open_model_file(model), device="cpu", settings=Settings())
    model.touch()
    last(open_model_file(model), device="cpu", settings=Settings())
    assert len(made) == 2


@pytest.mark.slow
def test_the_second_detection_of_a_service_is_the_first_without_the_loading(project: Path, tmp_path: Path) -> None:
    raster = write_label_raster(tmp_path / "town.tif", shapes_town(np.random.default_rng(3), 300, 300))
    service = subprocess.Popen(
        [sys.executable, "-m", "engine.service"], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    answers = []
    for number in range(2):
        arguments = {"raster": str(raster), "output": str(tmp_path / f"{number}.geojson"), "score": 0.1, "device": "cpu"}
        service.stdin.write(json.dumps({"id": number, "command": "detect", "arguments": arguments}) + "\n")
        service.stdin.flush()
        answers.append(next(event for event in map(json.loads, service.stdout) if event["event"] in ("result", "error")))
    service.stdin.close()
    assert service.wait(timeout=10) == 0
    first, second = answers
    assert first["event"] == second["event"] == "result", answers
    assert (tmp_path / "0.geojson").read_text().partition("features")[2] == (
        (tmp_path / "1.geojson").read_text().partition("features")[2]
    )
    assert second["seconds"]["loading"] < first["seconds"]["loading"] / 4
