"""The engine's private environment: found, made, interrupted, repaired, removed."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from qgis_maskdino import settings
from qgis_maskdino.backend import environment as environment_module
from qgis_maskdino.backend.environment import MARKER, EngineEnvironment, State
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.installation import installer, package_index
from qgis_maskdino.backend.installation.chosen_python import PACKAGES
from tests.qgis_maskdino.backend.package_server import serving_index, write_index
from tests.qgis_maskdino.fake_engine import fake_engine

# An engine that can tell whether its packages were installed.
DOCTOR = """
for r in requests():
    import tinything, torch
    versions = {"torch": torch.__version__, "tinything": tinything.__version__}
    detection = {"succeeded": True, "seconds": 0.1, "device": "cpu"}
    say("result", id=r["id"], detection=detection, libraries=versions, python=sys.executable)
"""
NEVER = bool  # `is_cancelled` that says no


class Heard:
    """What an installation tells while it runs."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress: list[tuple[float, str]] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def report(self, fraction: float, text: str) -> None:
        self.progress.append((fraction, text))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def environment(tmp_path, monkeypatch) -> EngineEnvironment:
    """An environment that is not there yet, in a path with spaces and accents, for an engine with two small packages."""
    monkeypatch.delenv("MASKDINO_PYTHON", raising=False)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # this machine's own indices are no part of the test
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    uv = Path(sys.executable).with_name("uv")  # the faster one
    assert uv.is_file(), "`make test-qgis` installs it"
    monkeypatch.setattr(installer, "find_uv", lambda: str(uv))
    monkeypatch.setattr(EngineEnvironment, "size_estimate", lambda self: 10_000_000)
    sources = Path(fake_engine(tmp_path / "plugin", DOCTOR, packages=()))
    (sources / "requirements.txt").write_text("torch>=2.10,<3\ntinything==1.0\n")
    monkeypatch.setattr(EngineEnvironment, "source_folder", lambda self: str(sources))
    return EngineEnvironment(str(tmp_path / "Meine Umgebung für Łódź" / "environment"))


@pytest.fixture
def index(tmp_path):
    """An index with those packages, set as the plugin's."""
    write_index(tmp_path / "index", {"torch": ["2.15.0"], "tinything": ["1.0", "2.0"]})
    with serving_index(tmp_path / "index") as where:
        settings.set_package_index(f"http://{where}/")
        yield tmp_path / "index"


def create(environment: EngineEnvironment, heard: Heard, is_cancelled=NEVER) -> bool:
    return environment.create(on_log=heard.log, on_progress=heard.report, is_cancelled=is_cancelled)


class TestFinding:
    def test_nothing_is_there(self, environment):
        assert environment.state() is State.MISSING
        assert environment.python() is None
        with pytest.raises(EngineError, match="not installed") as caught:
            environment.engine()
        assert caught.value.code == "missing"

    def test_the_setting_comes_before_the_variable_and_the_variable_before_the_private_one(self, environment, monkeypatch):
        for name in PACKAGES:
            Path(environment.source_folder(), f"{name}.py").touch()
        monkeypatch.setenv("MASKDINO_PYTHON", "/usr/bin/python3")
        assert environment.python() == "/usr/bin/python3"
        assert "MASKDINO_PYTHON" in environment.condition().sentence
        settings.set_python(sys.executable)
        assert environment.python() == sys.executable
        assert not environment.condition().private

    @pytest.mark.parametrize("name", ["nothing", "notes.txt", "folder"])
    def test_a_chosen_interpreter_that_cannot_be_run_is_named(self, environment, tmp_path, name):
        (tmp_path / "notes.txt").touch(mode=0o644)
        (tmp_path / "folder").mkdir()
        chosen = str(tmp_path / name)
        settings.set_python(chosen)
        condition = environment.condition()
        assert condition.state is State.BROKEN
        assert chosen in condition.sentence
        assert environment.python() is None

    def test_the_folder_can_be_chosen(self, monkeypatch, tmp_path):
        assert "qgis-maskdino" in EngineEnvironment().folder()
        monkeypatch.setenv("MASKDINO_ENVIRONMENT", str(tmp_path / "short"))
        assert EngineEnvironment().folder() == str(tmp_path / "short")

    def test_the_sources_are_the_plugins_own(self, project, monkeypatch, plugins_folder):
        assert EngineEnvironment().source_folder() == str(project)
        inside = plugins_folder / "qgis_maskdino" / "backend" / "environment.py"
        monkeypatch.setattr(environment_module, "__file__", str(inside))
        assert EngineEnvironment().source_folder() == str(inside.parents[1] / "sources")

    def test_a_checkout_says_that_it_is_one(self, monkeypatch, tmp_path, heard):
        monkeypatch.delenv("MASKDINO_PYTHON")
        with pytest.raises(EngineError, match="make plugin"):
            create(EngineEnvironment(str(tmp_path / "environment")), heard)


class TestMaking:
    @pytest.mark.parametrize("tool", ["pip", "uv"])
    def test_it_is_made_checked_and_removed(self, environment, heard, index, monkeypatch, tool):
        if tool == "pip":
            monkeypatch.setattr(installer, "find_uv", lambda: None)
        assert create(environment, heard)
        assert environment.state() is State.READY
        assert environment.python().startswith(environment.folder())
        report = environment.check()
        assert report["libraries"] == {"torch": "2.15.0", "tinything": "1.0"}
        assert report["python"].startswith(environment.folder())
        fractions = [fraction for fraction, _ in heard.progress]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        environment.remove()
        assert environment.state() is State.MISSING
        assert not os.path.exists(environment.folder())

    def test_cancelled_it_leaves_nothing(self, environment, heard, index):
        assert not create(environment, heard, is_cancelled=lambda: len(heard.progress) > 1)
        assert environment.state() is State.MISSING
        assert not os.path.exists(environment.folder())

    def test_killed_in_the_middle_it_does_not_look_ready(self, environment, heard, index):
        create(environment, heard)
        os.remove(os.path.join(environment.folder(), MARKER))  # what is written last
        assert environment.state() is State.BROKEN
        assert environment.python() is None
        assert environment.repair(on_log=heard.log, on_progress=heard.report, is_cancelled=NEVER)
        assert environment.state() is State.READY

    def test_an_update_of_the_plugin_that_needs_other_packages(self, environment, heard, index):
        create(environment, heard)
        made = os.stat(environment.python()).st_ino, os.path.getmtime(os.path.join(environment.folder(), "pyvenv.cfg"))
        requirements = Path(environment.source_folder(), "requirements.txt")
        requirements.write_text("torch>=2.10,<3\ntinything==2.0\n")
        assert environment.state() is State.OTHER_VERSION
        assert environment.python() is None
        assert environment.repair(on_log=heard.log, on_progress=heard.report, is_cancelled=NEVER)
        assert environment.check()["libraries"]["tinything"] == "2.0"
        # Only what changed was fetched: a plugin's update must not cost gigabytes.
        assert made == (
            os.stat(environment.python()).st_ino,
            os.path.getmtime(os.path.join(environment.folder(), "pyvenv.cfg")),
        )

    def test_an_update_where_the_uv_that_made_it_is_gone(self, environment, heard, index, monkeypatch):
        """uv makes environments without a pip."""
        create(environment, heard)
        Path(environment.source_folder(), "requirements.txt").write_text("torch>=2.10,<3\ntinything==2.0\n")
        monkeypatch.setattr(installer, "find_uv", lambda: None)
        assert environment.repair(on_log=heard.log, on_progress=heard.report, is_cancelled=NEVER)
        assert environment.check()["libraries"]["tinything"] == "2.0"

    def test_the_same_list_with_other_line_ends_is_the_same(self, environment, heard, index):
        create(environment, heard)
        requirements = Path(environment.source_folder(), "requirements.txt")
        requirements.write_bytes(requirements.read_bytes().replace(b"\n", b"\r\n"))
        assert environment.state() is State.READY

    def test_an_environment_whose_interpreter_is_gone(self, environment, heard, index):
        """As after an update of the system's Python."""
        create(environment, heard)
        os.remove(environment.python())
        assert environment.state() is State.BROKEN

    def test_an_engine_that_does_not_work_is_not_called_ready(self, environment, heard, index, tmp_path):
        fails = DOCTOR.replace('"succeeded": True', '"succeeded": False, "error": "no kernel"')
        fake_engine(tmp_path / "plugin", fails, packages=())
        with pytest.raises(EngineError, match="small detection failed: no kernel") as caught:
            create(environment, heard)
        assert "torch" in caught.value.details
        assert environment.state() is State.MISSING

    def test_two_windows_at_once(self, environment, heard, index):
        def from_the_other_window(line: str) -> None:
            with pytest.raises(EngineError, match="Another QGIS"):
                create(environment, Heard())
            heard.log(line)

        assert environment.create(on_log=from_the_other_window, on_progress=heard.report, is_cancelled=NEVER)
        assert heard.lines

    def test_a_full_disk_is_seen_before(self, environment, heard, monkeypatch):
        monkeypatch.setattr(EngineEnvironment, "size_estimate", lambda self: 10**18)
        with pytest.raises(EngineError, match=r"1600000000\.0 GB") as caught:
            create(environment, heard)
        assert caught.value.code == "disk"


class TestFailing:
    def test_no_network(self, environment, heard):
        settings.set_package_index("http://127.0.0.1:9/simple")
        with pytest.raises(EngineError, match="cannot be reached") as caught:
            create(environment, heard)
        assert caught.value.code == "network"
        assert caught.value.hint
        assert environment.state() is State.MISSING

    def test_pytorchs_own_index_is_not_there_and_pypi_is(self, environment, heard, index, monkeypatch):
        where = settings.package_index()
        settings.set_package_index("")
        monkeypatch.setenv("UV_DEFAULT_INDEX", where)
        monkeypatch.setattr(package_index, "PYTORCH", "http://127.0.0.1:9/whl/")
        assert create(environment, heard)
        assert "PyPI has PyTorch too" in heard.text

    def test_a_package_that_the_index_does_not_have(self, environment, heard, index):
        shutil.rmtree(index / "tinything")
        with pytest.raises(EngineError, match="no package that fits"):
            create(environment, heard)


class TestRemoving:
    def test_what_is_not_ours_is_left_alone(self, environment):
        os.makedirs(environment.folder())
        precious = Path(environment.folder(), "thesis.odt")
        precious.write_text("years of work")
        with pytest.raises(EngineError, match="left alone"):
            environment.remove()
        assert precious.read_text() == "years of work"

    def test_read_only_files_go_too(self, environment):
        folder = Path(environment.folder(), "lib")
        folder.mkdir(parents=True)
        Path(environment.folder(), "pyvenv.cfg").touch()
        (folder / "module.py").touch()
        (folder / "module.py").chmod(stat.S_IREAD)
        environment.remove()
        assert not os.path.exists(environment.folder())

    def test_nothing_to_remove(self, environment):
        environment.remove()
