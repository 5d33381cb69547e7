"""The plugin as people install it: what the plugin repository asks of the file, and a detection in a fresh profile."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from qgis.core import QgsVectorLayer

from qgis_maskdino.backend.process import EngineProcess

REQUIRED = {
    "name", "description", "version", "qgisMinimumVersion", "author", "email", "about", "tracker", "repository", "homepage",
    "qgisMaximumVersion", "hasProcessingProvider", "icon", "tags", "changelog",
}  # fmt: skip
FOLDERS = ("qgis_maskdino", "engine", "training", "packaging", "docs", "benchmarks", "icons", "tests")
TEXTS = {".py", ".md", ".txt", ".toml", ".cfg", ".yaml", ".yml", ".json", ".in", ".sh", ".qml", ".svg", ".html", ".cff"}
SUSPICIOUS = {".exe", ".dll", ".so", ".dylib", ".bat", ".sh", ".ps1", ".cmd", ".pyc", ".pyo", ".pyd"}


@pytest.fixture(scope="module")
def names(plugin_zip) -> list[str]:
    with zipfile.ZipFile(plugin_zip) as archive:
        assert archive.testzip() is None
        return archive.namelist()


@pytest.fixture(scope="module")
def plugin(plugins_folder) -> Path:
    return plugins_folder / "qgis_maskdino"


@pytest.fixture(scope="module")
def metadata(plugin) -> dict[str, str]:
    parser = ConfigParser()  # with interpolation, as the repository reads it: a stray % would fail here
    parser.optionxform = str
    parser.read_string((plugin / "metadata.txt").read_text(encoding="utf-8"))
    return dict(parser["general"])


class TestRulesOfTheRepository:
    def test_one_folder_that_python_can_import(self, names):
        assert {name.partition("/")[0] for name in names} == {"qgis_maskdino"}
        assert {"qgis_maskdino/__init__.py", "qgis_maskdino/metadata.txt", "qgis_maskdino/LICENSE"} <= set(names)

    def test_it_is_well_below_the_largest_size(self, plugin_zip):
        assert plugin_zip.stat().st_size < 20e6

    def test_nothing_hidden_nothing_binary_nothing_left_over_from_a_build(self, names):
        parts = [part for name in names for part in name.split("/")]
        assert not [part for part in parts if part.startswith((".", "__pycache__", "__MACOSX"))]
        assert not [name for name in names if Path(name).suffix in SUSPICIOUS or ".." in name or "\\" in name]

    def test_nothing_is_executable(self, plugin_zip):
        with zipfile.ZipFile(plugin_zip) as archive:
            assert not [entry.filename for entry in archive.filelist if (entry.external_attr >> 16) & 0o111]

    def test_metadata_is_complete(self, metadata, plugin):
        assert set(metadata) >= REQUIRED
        assert all(metadata[key].strip() for key in REQUIRED)
        assert metadata["qgisMinimumVersion"] == "3.22"
        assert metadata["qgisMaximumVersion"] == "3.99"
        assert metadata["hasProcessingProvider"] == "yes"
        assert (plugin / metadata["icon"]).is_file()
        assert all(metadata[key].startswith("https://") for key in ("tracker", "repository", "homepage"))
        assert "/" not in metadata["author"]

    def test_the_version_is_one(self, metadata, plugin):
        newest = re.search(r"^## (\S+)", (plugin / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert metadata["version"] == newest[1]
        assert (plugin / "sources" / f"qgis_maskdino-{metadata['version']}.dist-info" / "METADATA").is_file()

    def test_what_has_to_be_installed_besides_is_told_before_it_is_installed(self, metadata):
        for part in ("PyTorch", "about 1.6 GB", "asks", "a folder of its own"):
            assert part in metadata["about"]

    def test_owner_and_addresses_are_in_a_few_files_and_their_list(self, project):
        """Whoever publishes the project changes them there, and nowhere else."""
        listed = {"metadata.txt", "pyproject.toml", "CITATION.cff", "mkdocs.yml"}
        placeholder = re.compile(r"github\.com/qgis-maskdino|@qgis-maskdino\.|qgis-maskdino\.org|qgis-maskdino maintainers")
        paths = [path for folder in FOLDERS for path in (project / folder).rglob("*")]
        texts = [path for path in (*paths, *project.glob("*")) if path.suffix in TEXTS and path.is_file()]
        found = {path.relative_to(project).as_posix() for path in texts if placeholder.search(path.read_text(encoding="utf-8"))}
        assert found - {Path(__file__).relative_to(project).as_posix()} == listed
        publishing = (project / "docs" / "qgis.md").read_text(encoding="utf-8").partition("## Publish")[2].partition("\n## ")[0]
        assert all(f"`{name}`" in publishing for name in listed)

    def test_bandit_finds_nothing(self, plugin, engine_python):
        """All findings, the light ones too, in the engine's sources too: the repository scans every file."""
        bandit = Path(engine_python).with_name("bandit")
        done = subprocess.run([bandit, "-r", plugin, "-f", "json", "-q"], capture_output=True, text=True)
        found = json.loads(done.stdout)
        assert [f"{issue['filename']}:{issue['line_number']} {issue['issue_text']}" for issue in found["results"]] == []
        assert found["errors"] == []

    def test_detect_secrets_finds_nothing(self, plugin, engine_python):
        scan = [
            Path(engine_python).with_name("detect-secrets"),
            "scan",
            "--all-files",
            "--exclude-files",
            r"metadata\.txt",
            ".",
        ]
        done = subprocess.run(scan, capture_output=True, text=True, cwd=plugin, check=True)
        assert json.loads(done.stdout)["results"] == {}


class TestContents:
    def test_the_same_checkout_gives_the_same_bytes(self, project, engine_python, tmp_path):
        for name in ("one.zip", "two.zip"):
            subprocess.run([engine_python, project / "packaging" / "build_plugin.py", "-o", tmp_path / name], check=True)
        assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()

    def test_every_module_is_in_it(self, project, plugin):
        for package, root in (
            ("qgis_maskdino", plugin),
            ("engine", plugin / "sources/engine"),
            ("training", plugin / "sources/training"),
        ):
            modules = {path.relative_to(project / package) for path in (project / package).rglob("*.py")}
            assert modules
            assert [module for module in modules if not (root / module).is_file()] == []

    def test_the_embedded_model_and_the_training_configs_are_in_it(self, plugin):
        assert (plugin / "sources/engine/weights/maskdino_lite.safetensors").stat().st_size > 1e6
        assert list((plugin / "sources/training/config/ready").glob("*.yaml"))

    def test_the_face_is_python_3_9(self, plugin):
        """QGIS 3.22 for Windows brings 3.9: newer syntax there ends the plugin before its first line."""
        for path in plugin.rglob("*.py"):
            if "sources" not in path.relative_to(plugin).parts:
                tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))
                future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
                assert future or not any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree)), path

    def test_the_sources_are_a_distribution_to_any_python(self, plugin, metadata):
        """What the engine asks of Python's metadata is there without having been installed."""
        code = (
            "from importlib.metadata import entry_points, version\n"
            "print(version('qgis-maskdino'), *sorted(e.name for e in entry_points(group='maskdino.commands')))"
        )
        variables = {**os.environ, "PYTHONPATH": str(plugin / "sources")}
        done = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, env=variables, check=True)
        version, *commands = done.stdout.split()
        assert version == metadata["version"]
        assert {"evaluate", "export-dataset", "train"} <= set(commands)

    def test_the_engine_runs_from_the_sources(self, plugin, engine_python):
        with EngineProcess(engine_python, sources=str(plugin / "sources")) as engine:
            report = engine.run("doctor", {"device": "cpu"})
        assert report["detection"]["succeeded"]
        assert report["models"]["maskdino_lite"]["file"].startswith(str(plugin))


@pytest.mark.slow
def test_a_fresh_profile_enables_it_and_detects(plugin_zip, scene, engine_python, tmp_path):
    """As a person does: a new profile, install from the file, enable, run, in a path with spaces and accents."""
    config = tmp_path / "Prófil mit Leerzeichen"
    plugins = config / "profiles" / "default" / "python" / "plugins"
    plugins.mkdir(parents=True)
    with zipfile.ZipFile(plugin_zip) as archive:
        archive.extractall(plugins)
    variables = {
        **os.environ, "QGIS_CUSTOM_CONFIG_PATH": str(config), "QT_QPA_PLATFORM": "offscreen", "MASKDINO_PYTHON": engine_python,
    }  # fmt: skip
    variables.pop("PYTHONPATH", None)
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")

    def qgis_process(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, env=variables, cwd=tmp_path, timeout=300)

    enabled = qgis_process("plugins", "enable", "qgis_maskdino")
    assert "* qgis_maskdino" in enabled.stdout, enabled.stderr
    output = tmp_path / "Häuser.gpkg"
    done = qgis_process("run", "maskdino:detectbuildings", "--", f"INPUT={scene}", f"OUTPUT={output}", "DEVICE=cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    layer = QgsVectorLayer(str(output), "buildings", "ogr")
    assert layer.isValid()
    assert re.search(rf"COUNT:\s+{layer.featureCount()}\b", done.stdout), done.stdout
    assert {"score", "area_m2"} <= set(layer.fields().names())
