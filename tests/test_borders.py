"""Arrows run one way: plugin -> (process) engine <- training."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What the plugin may import: it runs in QGIS's own Python, where a second numpy or a stray PROJ takes QGIS down.
PLUGIN_MAY_IMPORT = {"qgis", "qgis_maskdino"} | set(sys.stdlib_module_names)


def imports(source: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each import in a file, those inside functions and ``import_module("...")`` included."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"), source.name)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def offences(folder: Path, allowed) -> list[str]:
    """List the imports below a folder whose top-level name is not allowed."""
    return [
        f"{source.relative_to(folder.parent)}:{line} imports {name}"
        for source in sorted(folder.rglob("*.py"))
        for line, name in imports(source)
        if not allowed(name.partition(".")[0])
    ]


def test_the_engine_knows_neither_training_nor_qgis(project):
    never = {"training", "qgis", "qgis_maskdino", "PyQt5", "PyQt6", "tests"}
    assert offences(project / "engine", lambda name: name not in never) == []


def test_training_knows_no_qgis(project):
    never = {"qgis", "qgis_maskdino", "PyQt5", "PyQt6", "tests"}
    assert offences(project / "training", lambda name: name not in never) == []


def test_the_plugin_imports_qgis_and_the_standard_library_alone(project):
    assert offences(project / "qgis_maskdino", PLUGIN_MAY_IMPORT.__contains__) == []


@pytest.mark.parametrize(
    "line", ["import torch", "def f():\n    from engine.errors import X", "import_module('training.commands.demo')"]
)
def test_the_check_itself_sees_each_way_of_importing(tmp_path, line):
    (tmp_path / "face").mkdir()
    (tmp_path / "face" / "part.py").write_text(line)
    assert len(offences(tmp_path / "face", PLUGIN_MAY_IMPORT.__contains__)) == 1


def test_a_family_of_models_is_known_by_its_own_modules_alone(project):
    """All others ask the registry; Mask DINO's losses and the names of DINO, which it grew from, are Mask DINO's own."""
    knows_families = ("engine/model/families/", "engine/model/presets.py", "training/objectives/", "training/losses/")
    knows_families += ("training/pretrained/dino_",)
    known = [
        f"{path}:{line} imports {name}"
        for package in ("engine", "training")
        for source in sorted((project / package).rglob("*.py"))
        for line, name in imports(source)
        if re.fullmatch(r"engine\.model\.families\.(?!(registry|family|family_model)$).*", name)
        and not (path := source.relative_to(project).as_posix()).startswith(knows_families)
    ]
    assert known == []


@pytest.mark.parametrize("statement", ["import engine", "import engine.cli", "import engine.service, engine.errors"])
def test_importing_the_engine_loads_no_heavy_library(project, statement):
    """A plugin that asks for the engine's version, or ``maskdino --help``, must not wait for torch."""
    heavy = ["torch", "timm", "rasterio", "geopandas", "scipy", "numpy"]
    code = f"{statement}\nimport sys\nprint(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project, check=True)
    assert done.stdout.split() == []


def test_a_predictor_of_ones_own_needs_no_torch(project, scene, tmp_path):
    """It takes hundreds of megabytes and seconds."""
    code = (
        "import sys, numpy as np, engine\n"
        "from engine.detection import Instances\n"
        "class Nothing:\n"
        "    tile_size, gsd, bands, identity, classes = 128, None, 3, 'nothing', ('road', 'tree')\n"
        "    def predict(self, tiles):\n"
        "        return [Instances(np.zeros(0, 'float32'), np.zeros(0, int), np.zeros((0, 128, 128), bool)) for _ in tiles]\n"
        "    def scores(self, tiles):\n"
        "        return np.ones((len(tiles), 2, 128, 128), 'float32')\n"
        f"engine.detect({str(scene)!r}, {str(tmp_path / 'o.gpkg')!r}, predictor=Nothing())\n"
        f"engine.segment({str(scene)!r}, {str(tmp_path / 'o.tif')!r}, predictor=Nothing())\n"
        f"engine.regularize({str(tmp_path / 'o.gpkg')!r}, {str(tmp_path / 'r.gpkg')!r})\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["False"]), done.stderr


@pytest.mark.slow
def test_every_public_name_of_the_engine_is_there():
    import engine

    assert all(callable(getattr(engine, name)) for name in engine.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = engine.no_such_name
