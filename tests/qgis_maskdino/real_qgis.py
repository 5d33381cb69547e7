"""Run a scenario in a real QGIS window on a virtual screen, with a profile of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
# A scenario is a generator that yields milliseconds to wait, in QGIS's own event loop, and fills `told`.
_DRIVER = """
import json, os, sys, traceback
sys.path.insert(0, {project!r})
from qgis.core import *
from qgis.gui import *
from qgis.PyQt.QtCore import *
from qgis.PyQt.QtGui import *
from qgis.PyQt.QtWidgets import *
from qgis.utils import iface
import qgis.utils

told = {{}}

{scenario}

def end(error=None):
    if error is not None:
        told["error"] = "".join(traceback.format_exception(*error))
    with open({answer!r}, "w") as file:
        json.dump(told, file)
    os._exit(0)  # an unsaved project would ask

def advance(steps):
    try:
        wait = next(steps)
    except StopIteration:
        end()
    except BaseException:
        end(sys.exc_info())
    else:
        QTimer.singleShot(wait, lambda: advance(steps))

sys.excepthook = lambda *error: end(error)
qgis.utils.showException = lambda kind, error, trace, *more, **others: end((kind, error, trace))  # a dialog would wait
qgis.utils.available_plugins.append("qgis_maskdino")  # QGIS keeps count of the modules of those it has found
QTimer.singleShot(1000, lambda: advance(scenario()))
"""


def run_in_qgis(folder: Path, scenario: str, *, seconds: float = 120, size: str = "1366x768", **variables: str) -> dict:
    """Run ``def scenario():`` in QGIS and return what it told.

    Args:
        folder: for the profile and the files of this run.
        scenario: Python; it finds ``iface``, ``told``, and the names of ``qgis.core``, ``qgis.gui`` and Qt.
        variables: of the environment.
    """
    if not shutil.which("xvfb-run") or not shutil.which("qgis"):
        pytest.fail("qgis and xvfb-run are not there: `make test` names the packages")
    script, answer = folder / "scenario.py", folder / "answer.json"
    script.write_text(
        _DRIVER.format(project=str(PROJECT), scenario=textwrap.dedent(scenario), answer=str(answer)), encoding="utf-8"
    )
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **variables}
    environment.pop("QT_QPA_PLATFORM", None)
    command = ["xvfb-run", "-a", "-s", f"-screen 0 {size}x24", "qgis", "--nologo", "--noversioncheck", "--noplugins"]
    process = subprocess.Popen(
        [*command, "--profiles-path", str(folder / "profiles"), "--code", str(script)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the virtual screen and QGIS too
        output, _ = process.communicate()
        pytest.fail(f"QGIS did not come to an end within {seconds:.0f} s:\n{output[-4000:]}")
    if not answer.exists():
        pytest.fail(f"QGIS ended with status {process.returncode} and told nothing:\n{output[-4000:]}")
    told = json.loads(answer.read_text(encoding="utf-8"))
    assert "error" not in told, told["error"]
    return told
