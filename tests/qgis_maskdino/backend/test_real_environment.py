"""The engine's environment with all its packages, from the network."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_real_one_is_made_and_detects(plugins_folder, scene, tmp_path):
    """All the packages, from the public indices, by the installed plugin, in paths with spaces and accents."""
    try:
        socket.create_connection(("pypi.org", 443), timeout=10).close()
    except OSError as error:
        pytest.skip(f"pypi.org cannot be reached: {error}")
    if shutil.disk_usage(tmp_path).free < 15e9:
        pytest.skip("less than 15 GB are free here")
    program = f"""
import json, sys
sys.path.insert(0, {str(plugins_folder)!r})
from qgis.core import QgsApplication
application = QgsApplication([], False)
application.initQgis()
from qgis_maskdino.backend.environment import EngineEnvironment
environment = EngineEnvironment()
lines = []
made = environment.create(on_log=lines.append, on_progress=lambda *a: None, is_cancelled=lambda: False)
print(*lines, sep="\\n", file=sys.stderr)
with environment.engine() as engine:
    result = engine.run("detect", {{"raster": {str(scene)!r}, "output": {str(tmp_path / "Häuser.gpkg")!r}, "device": "cpu"}})
print(json.dumps([made, environment.state().value, environment.python(), environment.source_folder(), result["output"]]))
"""
    folder = tmp_path / "Prófil mit Leerzeichen" / "environment"
    variables = {
        **os.environ,
        "MASKDINO_ENVIRONMENT": str(folder),
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "config"),
        # With uv, the faster one; pip is tried with small packages in test_environment.py.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }
    for name in ("MASKDINO_PYTHON", "VIRTUAL_ENV"):
        variables.pop(name, None)
    try:
        done = subprocess.run(["/usr/bin/python3", "-c", program], capture_output=True, text=True, env=variables, timeout=1500)
        assert done.returncode == 0, done.stderr
        made, state, python, sources, output = json.loads(done.stdout.splitlines()[-1])
        assert (made, state) == (True, "ready")
        assert python.startswith(str(folder))
        assert sources.startswith(str(plugins_folder))
        assert output == str(tmp_path / "Häuser.gpkg")
        assert (tmp_path / "Häuser.gpkg").is_file()
    finally:
        for gigabytes in (folder, tmp_path / "cache"):
            shutil.rmtree(gigabytes, ignore_errors=True)
