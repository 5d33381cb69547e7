"""A Python to make the environment with: asked, not believed."""

from __future__ import annotations

import os
import sys

import pytest

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.installation import base_python


def test_qgis_own_is_taken():
    found = base_python.find_python(on_log=lambda line: None)
    assert os.path.realpath(found) == os.path.realpath(f"/usr/bin/python3.{sys.version_info[1]}")


def test_candidates_are_asked_not_believed(monkeypatch, tmp_path):
    """QGIS itself as sys.executable, a Python of 2019, a script that fails: all passed over, and the last one taken."""
    files = {}
    for name, answer in (
        ("qgis-bin", "exit 1"),
        ("python3.8", "echo maskdino 3 8 64"),
        ("python32", "echo maskdino 3 12 32"),
    ):
        files[name] = tmp_path / name
        files[name].write_text(f"#!/bin/sh\n{answer}\n")
        files[name].chmod(0o755)
    said = []
    monkeypatch.setattr(base_python, "_candidates", lambda: [*map(str, files.values()), "/no/python", "/usr/bin/python3"])
    assert base_python.find_python(on_log=said.append) == "/usr/bin/python3"
    assert len(said) == 3
    assert "Python 3.8" in said[1]


def test_there_is_none(monkeypatch):
    monkeypatch.setattr(base_python, "_candidates", list)
    with pytest.raises(EngineError, match="no Python") as caught:
        base_python.find_python(on_log=lambda line: None)
    assert "3.10" in caught.value.hint


def test_debian_without_its_venv_package(monkeypatch, tmp_path):
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'ensurepip'\"; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(base_python, "_candidates", lambda: [str(python)])
    with pytest.raises(EngineError, match="apt install python3-venv"):
        base_python.find_python(on_log=lambda line: None)
