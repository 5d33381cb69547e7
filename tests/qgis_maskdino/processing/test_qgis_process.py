"""The algorithms in ``qgis_process``: a process of QGIS without any window, with the plugin as it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from qgis.core import QgsVectorLayer

from qgis_maskdino import options

pytestmark = pytest.mark.slow

PLUGIN = "qgis_maskdino"


@pytest.fixture(scope="module")
def qgis_process(plugins_folder, tmp_path_factory, engine_python):
    """Return a function that calls ``qgis_process`` in a profile of its own, with the plugin enabled."""
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    assert program, "qgis_process is part of every QGIS"
    profile = tmp_path_factory.mktemp("profile")
    environment = {
        **os.environ, "QT_QPA_PLATFORM": "offscreen", "QGIS_PLUGINPATH": str(plugins_folder),
        "QGIS_CUSTOM_CONFIG_PATH": str(profile), "MASKDINO_PYTHON": engine_python, "LC_ALL": "C.UTF-8",
    }  # fmt: skip

    def call(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=400, check=False)

    enabled = call("plugins", "enable", PLUGIN)
    assert enabled.returncode == 0, enabled.stdout + enabled.stderr
    return call


def results(done: subprocess.CompletedProcess) -> dict:
    """Return the results of a run with ``--json``."""
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("{\n") :])["results"]


def count(path: Path) -> int:
    return QgsVectorLayer(str(path), "layer", "ogr").featureCount()


def test_all_four_are_listed_and_explained(qgis_process):
    listed = qgis_process("list").stdout
    for name in ("detectbuildings", "evaluatedetections", "exporttrainingdata", "trainmodel"):
        assert f"maskdino:{name}" in listed
    explained = qgis_process("help", "maskdino:detectbuildings").stdout
    assert "GSD: Ground sampling distance [m]" in explained
    assert options.detect()["gsd"].help in explained


def test_the_main_job_on_real_ground(qgis_process, shared_data, tmp_path):
    """Detect in a small part of Banepa, and hold the result against what people have drawn there."""
    image, buildings = shared_data / "banepa" / "image.tif", shared_data / "banepa" / "buildings.gpkg"
    output, report = tmp_path / "Gebäude in Banepa.gpkg", tmp_path / "report.html"
    place = "85.5204,85.5212,27.6322,27.6328 [EPSG:4326]"
    detected = results(
        qgis_process("run", "maskdino:detectbuildings", "--json", "--", f"INPUT={image}", f"EXTENT={place}", f"OUTPUT={output}")
    )
    assert detected["COUNT"] == count(output) > 3
    assert detected["AREA"] > 100
    evaluated = results(
        qgis_process(
            "run", "maskdino:evaluatedetections", "--json", "--", f"DETECTIONS={output}", f"ANNOTATIONS={buildings}",
            f"OUTPUT={tmp_path / 'matches.gpkg'}", f"REPORT={report}",
        )
    )  # fmt: skip
    assert 0.2 < evaluated["PRECISION"] <= 1
    assert evaluated["TRUE_POSITIVES"] + evaluated["FALSE_POSITIVES"] == detected["COUNT"]
    assert count(tmp_path / "matches.gpkg") == detected["COUNT"] + evaluated["MISSED"]
    assert "<html" in report.read_text(encoding="utf-8")[:200]


def test_what_cannot_work_ends_with_a_sentence_and_an_exit_status(qgis_process, scene, tmp_path):
    elsewhere = qgis_process(
        "run",
        "maskdino:detectbuildings",
        "--",
        f"INPUT={scene}",
        "EXTENT=0,1,0,1 [EPSG:32633]",
        f"OUTPUT={tmp_path / 'a.gpkg'}",
    )
    assert elsewhere.returncode != 0
    assert "extent lies beside scene.tif" in elsewhere.stdout + elsewhere.stderr
    assert not (tmp_path / "a.gpkg").exists()
    unknown = qgis_process("run", "maskdino:detectbuildings", "--", f"INPUT={scene}", "MODEL=dreamt", "OUTPUT=x.gpkg")
    assert unknown.returncode != 0
    assert "MODEL" in unknown.stdout + unknown.stderr
