"""`make test` runs every suite, also when one before it failed, and fails if any did."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")

# Stands in for Python, QGIS's Python and ruff: notes what it was asked to do, and fails where it is told to.
PROGRAM = """#!/bin/sh
echo "$0 $*" >>"$LOG"
case "$0 $*" in *"$FAILS"*) exit 1 ;; esac
"""
SUITES = ("engine/ruff check", "engine/python -m pytest", "engine/python -m pytest -q tests/engine", "qgis/python -m pytest")


@pytest.fixture
def make_test(project: Path, tmp_path: Path):
    stamps = {}
    for age, stamp in enumerate(("KERNEL", "QGIS", "READY")):
        (tmp_path / stamp).touch()
        os.utime(tmp_path / stamp, (time.time() - age, time.time() - age))  # the kernel is made after what it needs
        stamps[stamp] = tmp_path / stamp
    for program in ("engine/python", "engine/ruff", "qgis/python"):
        (tmp_path / program).parent.mkdir(exist_ok=True)
        (tmp_path / program).write_text(PROGRAM)
        (tmp_path / program).chmod(0o755)
    variables = {"BIN": tmp_path / "engine", "QGIS_BIN": tmp_path / "qgis", **stamps}

    def run(fails: str) -> tuple[int, str]:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        done = subprocess.run(
            ["make", "test", *(f"{name}={value}" for name, value in variables.items())],
            cwd=project, env={**os.environ, "LOG": str(log), "FAILS": fails}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, log.read_text()

    return run


@pytest.mark.parametrize("fails", ["nothing", "engine/python", "qgis/python", "python", "ruff check"])
def test_every_suite_runs_and_any_failure_counts(make_test, fails: str) -> None:
    status, log = make_test(fails)
    assert (status == 0) == (fails == "nothing")
    assert [suite for suite in SUITES if suite not in log] == []
