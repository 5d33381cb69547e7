"""The real engine as a child of QGIS: never left behind, cancelled in time, two at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from qgis.core import QgsVectorLayer

from qgis_maskdino.backend.process import EngineProcess
from tests.qgis_maskdino.process_life import gone_within


def detect_in_a_process_of_its_own(project, python, scene, tmp_path, ending: str) -> subprocess.Popen:
    """Start a Python that detects with the real engine, says the engine's number, and then ends in some way."""
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(project)!r})
from qgis_maskdino.backend.process import EngineProcess
process = EngineProcess({python!r}, sources={str(project)!r})
print(process.pid, flush=True)
def heard(event):
    if event["event"] == "progress":
        print("under way", flush=True)
        {ending}
process.run("detect", {{"raster": {str(scene)!r}, "output": {str(tmp_path / "out.gpkg")!r}, "overlap": 200}}, on_event=heard)
"""
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(0)"])
def test_none_is_left_behind(project, engine_python, scene, tmp_path, ending):
    parent = detect_in_a_process_of_its_own(project, engine_python, scene, tmp_path, ending)
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline().strip() == "under way"
    parent.wait(timeout=20)
    assert gone_within(pid, 5)


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.99])
def test_cancel_keeps_a_valid_file(project, engine_python, scene, tmp_path, fraction):
    output = tmp_path / "out.gpkg"
    reached: list[float] = []

    def heard(event: dict) -> None:
        if event["event"] == "progress" and event["done"] >= int(fraction * event["total"]):
            reached.append(time.monotonic())

    arguments = {"raster": str(scene), "output": str(output), "score": 0.05, "overlap": 200, "device": "cpu"}
    with EngineProcess(engine_python, sources=str(project)) as process:
        result = process.run("detect", arguments, on_event=heard, is_cancelled=lambda: bool(reached))
        assert time.monotonic() - reached[0] < 3
        assert process.pid > 0  # it ended its job in good order, nobody had to kill it
    assert result.get("cancelled") or fraction > 0.9  # the last tile may be faster than the cancel
    if output.exists():
        assert QgsVectorLayer(str(output), "buildings", "ogr").featureCount() == result["buildings"]
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.slow
def test_two_at_once_in_threads_without_an_event_loop(project, engine_python, scene, tmp_path):
    def detect(number: int) -> dict:
        assert threading.current_thread() is not threading.main_thread()
        with EngineProcess(engine_python, sources=str(project)) as process:
            arguments = {"raster": str(scene), "output": str(tmp_path / f"{number}.gpkg"), "device": "cpu"}
            return process.run("detect", arguments)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(detect, range(2))
    assert first["buildings"] == second["buildings"]
    assert first["output"] != second["output"]
