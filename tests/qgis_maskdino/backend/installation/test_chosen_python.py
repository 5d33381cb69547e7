"""What is asked of an interpreter that the user named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from qgis_maskdino.backend.installation import chosen_python
from qgis_maskdino.backend.installation.chosen_python import why_not_usable
from tests.qgis_maskdino.fake_engine import fake_engine


@pytest.fixture
def program(tmp_path):
    """Write a program that says something."""

    def write(text: str) -> str:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\necho {text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_the_tests_own_is_usable(engine_python, project):
    assert why_not_usable(engine_python, str(project)) == ""


def test_one_without_the_packages_names_them(tmp_path):
    sources = fake_engine(tmp_path, "", packages=("typer",))
    assert why_not_usable(sys.executable, sources).endswith("lacks packages that the engine needs: torch.")


@pytest.mark.parametrize(
    ("said", "reason"), [("hello", "does not answer as a Python does"), ("maskdino 3 9", "is Python 3.9; the engine needs")]
)
def test_one_that_will_not_do_says_why(program, said, reason, tmp_path):
    assert reason in why_not_usable(program(said), str(tmp_path))


def test_it_is_asked_once_and_again_when_it_has_changed(program, tmp_path, monkeypatch):
    path = program("maskdino 3 12")
    asked = []
    ask = chosen_python._ask
    monkeypatch.setattr(chosen_python, "_ask", lambda *arguments: asked.append(1) or ask(*arguments))
    assert [why_not_usable(path, str(tmp_path)) for _ in range(3)] == ["", "", ""]
    assert len(asked) == 1
    Path(path).write_text("#!/bin/sh\nexit 1\n")
    os.utime(path, (1, 1))
    assert why_not_usable(path, str(tmp_path)) != ""


def test_a_no_is_not_believed_for_long(program, tmp_path, monkeypatch):
    monkeypatch.setattr(chosen_python, "_BELIEVED_FOR", 0.0)
    path = program("maskdino 3 12 torch")
    assert "torch" in why_not_usable(path, str(tmp_path))
    modified = os.path.getmtime(path)
    Path(path).write_text("#!/bin/sh\necho maskdino 3 12\n")
    os.utime(path, (modified, modified))
    assert why_not_usable(path, str(tmp_path)) == ""
