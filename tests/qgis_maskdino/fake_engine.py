"""Engines that behave as a test wants: packages named ``engine`` with a ``service`` that a real interpreter runs."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from qgis_maskdino.backend.installation.chosen_python import PACKAGES

# What every fake can use; `say` writes an event, `requests` yields what is asked.
_BEGINNING = """
import json, os, signal, sys, time

def say(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\\n")
    sys.stdout.flush()

def requests():
    for line in sys.stdin:
        yield json.loads(line)

"""
HELLO = 'say("hello", protocol=1, version="0.1.0", pid=os.getpid())\n'


def fake_engine(folder: Path, behaviour: str, *, hello: str = HELLO, packages: Sequence[str] = PACKAGES) -> str:
    """Write an engine that says hello and then behaves so. Return the folder to start it from.

    Args:
        packages: empty ones that stand beside it, so that any interpreter seems to have what an engine needs.
    """
    package = folder / "sources" / "engine"
    package.mkdir(parents=True, exist_ok=True)
    # Python knows a file that changed by its second and its size: `find 5` for `find 3` would not be noticed.
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "service.py").write_text(_BEGINNING + hello + textwrap.dedent(behaviour), encoding="utf-8")
    for name in packages:
        (package.parent / f"{name}.py").touch()
    return str(package.parent)
