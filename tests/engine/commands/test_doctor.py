"""The report says what is there, and tells a broken installation from a working one."""

from __future__ import annotations

import json

import pytest

from engine.commands import answer, doctor
from engine.errors import ArgumentError
from engine.job import Job
from engine.model.model_file import embedded_models


@pytest.fixture(scope="module")
def report():
    return doctor.examine()


def test_it_is_plain_json(report):
    assert json.loads(json.dumps(report)) == report


def test_versions_of_everything_that_matters(report):
    for name in ("torch", "timm", "rasterio", "shapely", "pyogrio", "GDAL of rasterio", "GEOS", "PROJ"):
        assert report["libraries"][name]
    assert report["system"]["maskdino"]


def test_it_names_the_device_and_the_kernel_with_its_reason(report):
    assert "cpu" in report["devices"]
    assert report["operator"]


def test_the_embedded_model_is_there_and_whole(report):
    assert set(report["models"]) == set(embedded_models()) >= {"maskdino_lite"}
    for model in report["models"].values():
        assert len(model["sha256"]) == 64
        assert "error" not in model


def test_a_small_detection_succeeds(report):
    assert report["detection"]["succeeded"], report["detection"]


def test_a_detection_that_fails_is_part_of_the_report():
    failed = doctor.small_detection(device="cuda:99")
    assert failed["succeeded"] is False
    assert "cuda:99" in failed["error"]


def test_the_text_says_what_the_report_says(report):
    text = doctor.as_text(report)
    assert report["system"]["maskdino"] in text
    assert report["libraries"]["torch"] in text
    assert "succeeded" in text


def test_the_service_answers_it():
    with pytest.raises(ArgumentError, match="wobble"):
        answer("doctor", {"wobble": 1}, Job(report=print))
