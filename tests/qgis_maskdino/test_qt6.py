"""The plugin's names of Qt exist in Qt 6, which QGIS 4 is built with: as far as PyQt6 can tell without a QGIS 4."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# In a process of its own: no process should load both versions of Qt.
RESOLVE = """
import importlib, json, sys
from functools import reduce

def is_there(name):
    module, _, attributes = name.partition(":")
    try:
        reduce(getattr, attributes.split("."), importlib.import_module("PyQt6." + module))
    except (ImportError, AttributeError):
        return False
    return True

print(json.dumps([name for name in json.load(sys.stdin) if not is_there(name)]))
"""


def names_of_qt(path: Path) -> Iterator[str]:
    """Yield what a file uses of Qt as ``QtCore:Qt.ItemFlag.ItemIsEnabled``; of a name that has two homes, both."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    homes: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qgis.PyQt"):
            module = node.module.removeprefix("qgis.PyQt").strip(".")
            for alias in node.names:
                homes.setdefault(alias.asname or alias.name, []).append(f"{module}:{alias.name}" if module else alias.name)
    for name, places in homes.items():
        yield from (f"{place}:__name__" if ":" not in place else place for place in places)
        chains = {chain for node in ast.walk(tree) for chain in _chain(node, name)}
        yield from (f"{place}.{chain}" for place in places if ":" in place for chain in chains)


def _chain(node: ast.AST, root: str) -> Iterator[str]:
    """Yield the attributes that are asked of a name, where they look like an enumeration: ``ItemFlag.ItemIsEnabled``."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if names and isinstance(node, ast.Name) and node.id == root and names[0][0].isupper():
        yield ".".join(names)


@pytest.mark.skipif(importlib.util.find_spec("PyQt6") is None, reason="PyQt6 is not here: pip install PyQt6")
def test_what_the_plugin_uses_of_qt_is_in_qt_6(project):
    files = sorted((project / "qgis_maskdino").rglob("*.py"))
    names = sorted({name for path in files for name in names_of_qt(path)})
    assert len(names) > 100
    command = [sys.executable, "-c", RESOLVE]
    done = subprocess.run(command, input=json.dumps(names), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    moved = {"QtWidgets:QAction"}  # it is in QtGui there, which plugin.py looks at first
    assert set(json.loads(done.stdout)) == moved


def test_names_are_found(tmp_path):
    """What the other test would overlook would never fail."""
    path = tmp_path / "some.py"
    path.write_text(
        "from qgis.PyQt import sip\nfrom qgis.PyQt.QtCore import Qt, QUrl\n"
        "Qt.AlignmentFlag.AlignRight | Qt.AlignLeft\nQUrl.fromLocalFile('x')\n"
    )
    assert sorted(names_of_qt(path)) == [
        "QtCore:QUrl", "QtCore:Qt", "QtCore:Qt.AlignLeft", "QtCore:Qt.AlignmentFlag", "QtCore:Qt.AlignmentFlag.AlignRight",
        "sip:__name__",
    ]  # fmt: skip
