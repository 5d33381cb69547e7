"""The engine's private Python environment: found, created, checked, repaired, removed. Never on QGIS's own ``sys.path``.

It holds packages alone. The engine's own code travels with the plugin (``sources/``) and is put before them when an engine is
started, so plugin and engine are always of one version, and an update of the plugin needs no network unless the list of
packages has changed. Nothing here touches a widget; what takes long belongs into a worker thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from typing import Any

from qgis.PyQt.QtCore import QLockFile

from qgis_maskdino import settings
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.installation.chosen_python import why_not_usable
from qgis_maskdino.backend.installation.installer import Installer
from qgis_maskdino.backend.installation.package_index import cuda_of_driver
from qgis_maskdino.backend.process import EngineProcess
from qgis_maskdino.backend.warm_engine import warm_engine
from qgis_maskdino.translation import tr

FOLDER_VARIABLE = "MASKDINO_ENVIRONMENT"
PYTHON_VARIABLE = "MASKDINO_PYTHON"
MARKER = "maskdino.json"  # written last: an environment without it was never finished
# What an environment may begin with, before the file that tells it is one.
_BEGINNING = {"bin", "include", "lib", "lib64", "share", "Scripts", "Include", "Lib", ".gitignore", "CACHEDIR.TAG", ".lock"}


class State(Enum):
    """How an environment is."""

    MISSING = "missing"
    BROKEN = "broken"
    OTHER_VERSION = "other version"
    READY = "ready"


class Condition:
    """A state, and a sentence about it for a person.

    Attributes:
        state: one of ``State``.
        sentence: what is the case and what to do about it.
        python: the interpreter in question; None where there is none.
        private: whether the plugin made the environment, and so may repair and remove it.
        installable: whether the plugin's own installation can be used, where need be by forgetting the interpreter in the
            settings.
    """

    def __init__(
        self, state: State, sentence: str, *, python: str | None, private: bool, installable: bool | None = None
    ) -> None:
        self.state = state
        self.sentence = sentence
        self.python = python
        self.private = private
        self.installable = private if installable is None else installable


class EngineEnvironment:
    """The interpreter that engines are started with.

    Args:
        folder: where the private environment is or will be; by default in the user's local data, which is not
            carried around with roaming profiles, and shared by all profiles of QGIS.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = os.path.realpath(folder or os.environ.get(FOLDER_VARIABLE) or _default_folder())

    def folder(self) -> str:
        """Return the folder of the private environment, whether it exists or not."""
        return self._folder

    def source_folder(self) -> str:
        """Return the folder with the packages ``engine`` and ``training``: in the plugin, or the checkout it is part of."""
        plugin = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
        shipped = os.path.join(plugin, "sources")
        return shipped if os.path.isdir(shipped) else os.path.dirname(plugin)

    def python(self) -> str | None:
        """Return the interpreter to start engines with: the chosen one, MASKDINO_PYTHON, the private one; None if not ready."""
        condition = self.condition()
        return condition.python if condition.state is State.READY else None

    def state(self) -> State:
        """Return how the environment is, by looking at files alone."""
        return self.condition().state

    def condition(self, *, entered: str | None = None) -> Condition:
        """Return how the environment is, and say it.

        Args:
            entered: an interpreter to judge instead of the one in the settings; empty for none.
        """
        in_settings = settings.python() if entered is None else entered.strip()
        by_variable = os.environ.get(PYTHON_VARIABLE, "")
        if in_settings:
            return self._chosen(in_settings, tr("the plugin's settings"), installable=not by_variable)
        if by_variable:
            return self._chosen(by_variable, PYTHON_VARIABLE, installable=False)
        return self._private_condition()

    def engine(self, *, on_log: Callable[[str], None] | None = None) -> AbstractContextManager[EngineProcess]:
        """Start an engine, to be used in this thread and closed; where the thread keeps one, lend that.

        Raises:
            EngineError: there is no environment that is ready, or it could not be started.
        """
        condition = self.condition()
        if condition.state is not State.READY or condition.python is None:
            raise EngineError(condition.sentence, code="missing")
        start = EngineProcess if warm_engine() is None else warm_engine().lend
        return start(condition.python, sources=self.source_folder(), on_log=on_log)

    def check(self, *, is_cancelled: Callable[[], bool] | None = None) -> dict[str, Any]:
        """Return what ``maskdino doctor`` says: libraries, devices, models, and whether a small detection succeeds.

        Raises:
            EngineError: the engine did not get that far.
        """
        with self.engine() as engine:
            return engine.run("doctor", {}, is_cancelled=is_cancelled)

    def create(
        self,
        *,
        on_log: Callable[[str], None],
        on_progress: Callable[[float, str], None],
        is_cancelled: Callable[[], bool],
    ) -> bool:
        """Make the private environment, in some minutes and with some gigabytes from the network; what was there is replaced.

        Args:
            on_log: called with each line worth keeping; without passwords.
            on_progress: called with the fraction that is done, 0 to 1, and what is being done.
            is_cancelled: asked several times a second.

        Returns:
            False where it was cancelled; nothing is left of it then.

        Raises:
            EngineError: it failed; nothing is left of it, and the hint says what to do.
        """
        with self._locked():
            self._delete()
            return self._install(on_log, on_progress, is_cancelled, anew=True)

    def repair(
        self,
        *,
        on_log: Callable[[str], None],
        on_progress: Callable[[float, str], None],
        is_cancelled: Callable[[], bool],
    ) -> bool:
        """Make a broken environment anew; give one that is whole the packages that this version of the plugin needs.

        See ``create``.
        """
        with self._locked():
            installer = Installer(self._folder, on_log=on_log, on_progress=on_progress, is_cancelled=is_cancelled)
            anew = self._private_condition().state is not State.OTHER_VERSION or not installer.can_update()
            if anew:
                self._delete()
            return self._install(on_log, on_progress, is_cancelled, anew=anew)

    def remove(self) -> None:
        """Delete the private environment.

        Raises:
            EngineError: it is in use, or something else stands in its place.
        """
        with self._locked():
            self._delete()

    def size_estimate(self) -> int:
        """Return about how many bytes the private environment takes on this machine's disk when it is ready."""
        return _CUDA_BYTES if cuda_of_driver() else _CPU_BYTES

    def _chosen(self, python: str, where: str, *, installable: bool) -> Condition:
        """Return the condition of an interpreter that the user named."""
        found = shutil.which(os.path.expanduser(python))
        if found is None:
            why_not = tr("The interpreter {} of {} is not there or is no program.").format(python, where)
        else:
            why_not = why_not_usable(found, self.source_folder())
        if not why_not:
            sentence = tr("The engine runs in {}, as {} says.").format(found, where)
            return Condition(State.READY, sentence, python=found, private=False)
        way_out = tr("Choose another interpreter, or none for the plugin's own installation.")
        sentence = f"{why_not} {way_out}" if installable else why_not
        return Condition(State.BROKEN, sentence, python=None, private=False, installable=installable)

    def _private_condition(self) -> Condition:
        python = self._private_python()
        if not os.path.isdir(self._folder):
            sentence = tr("The engine is not installed yet. Open the panel Mask DINO and choose Install.")
            return Condition(State.MISSING, sentence, python=None, private=True)
        marker = self._marker()
        if marker is None or not os.path.isfile(python):
            sentence = tr("The engine's installation in {} is not complete. Choose Repair in the panel Mask DINO.")
            return Condition(State.BROKEN, sentence.format(self._folder), python=None, private=True)
        if marker.get("packages") != self._fingerprint():
            sentence = tr("This version of the plugin needs other packages. Choose Repair in the panel Mask DINO.")
            return Condition(State.OTHER_VERSION, sentence, python=python, private=True)
        return Condition(State.READY, tr("The engine is installed in {}.").format(self._folder), python=python, private=True)

    def _install(
        self,
        on_log: Callable[[str], None],
        on_progress: Callable[[float, str], None],
        is_cancelled: Callable[[], bool],
        *,
        anew: bool,
    ) -> bool:
        if not os.path.isfile(self._requirements()):
            raise EngineError(
                tr("This plugin runs from a checkout, which has no list of packages."),
                code="checkout",
                hint=tr("Set MASKDINO_PYTHON to the interpreter that `make` has set up, or install the file of `make plugin`."),
            )
        self._make_room()
        installer = Installer(self._folder, on_log=on_log, on_progress=on_progress, is_cancelled=is_cancelled)
        finished = False
        try:
            if not anew:
                os.remove(self._marker_file())
            finished = installer.install(self._requirements(), anew=anew) and self._works(on_log, on_progress, is_cancelled)
            if finished:
                self._write_marker()
        finally:
            if not finished:
                self._delete()
        return finished

    def _delete(self) -> None:
        if not os.path.lexists(self._folder):
            return
        found = set(os.listdir(self._folder)) if os.path.isdir(self._folder) else {self._folder}
        if "pyvenv.cfg" not in found and not found <= _BEGINNING:
            raise EngineError(tr("{} is no environment of this plugin; it is left alone.").format(self._folder), code="folder")
        try:
            if MARKER in found:
                os.remove(self._marker_file())  # first: what is half deleted must not look ready
            shutil.rmtree(self._folder, onerror=_allow_and_retry)
        except OSError as error:
            raise EngineError(
                tr("The environment could not be deleted: {}.").format(error),
                code="folder",
                hint=tr("Close other QGIS windows, wait for running detections, and try again."),
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other windows of QGIS from making or deleting the same environment; a window that died keeps nobody out."""
        parent = os.path.dirname(self._folder)
        try:
            os.makedirs(parent, exist_ok=True)
        except OSError as error:
            raise EngineError(tr("The folder {} cannot be used: {}.").format(parent, error), code="folder") from error
        lock = QLockFile(self._folder + ".lock")
        lock.setStaleLockTime(0)
        if not lock.tryLock(100):
            raise EngineError(
                tr("Another QGIS is installing or removing the engine in {}.").format(self._folder),
                code="folder",
                hint=tr("Wait until it has finished."),
            )
        try:
            yield
        finally:
            lock.unlock()

    def _works(
        self, on_log: Callable[[str], None], on_progress: Callable[[float, str], None], is_cancelled: Callable[[], bool]
    ) -> bool:
        """Let the new environment find something, before it is called ready."""
        on_progress(0.95, tr("Trying a small detection"))
        with EngineProcess(self._private_python(), sources=self.source_folder(), on_log=on_log) as engine:
            report = engine.run("doctor", {}, is_cancelled=is_cancelled)
        if report.get("cancelled"):
            return False
        detection = report["detection"]
        if not detection["succeeded"]:
            raise EngineError(
                tr("The engine was installed, but a small detection failed: {}").format(detection.get("error")),
                code="doctor",
                hint=tr("Details say which packages were installed; indices in pip's own settings can mix builds."),
                details=json.dumps(report, indent=2),
            )
        on_progress(1.0, tr("Ready: a small detection took {} s on {}").format(detection["seconds"], detection["device"]))
        return True

    def _make_room(self) -> None:
        """See that the disk has room for what comes."""
        parent = os.path.dirname(self._folder)
        free = shutil.disk_usage(parent).free
        needed = self.size_estimate() * _WHILE_IT_IS_MADE
        if free < needed:
            raise EngineError(
                tr("The engine needs about {:.1f} GB in {}, and {:.1f} GB are free.").format(needed / 1e9, parent, free / 1e9),
                code="disk",
                hint=tr("Free some space, or choose another folder by the environment variable {}.").format(FOLDER_VARIABLE),
            )

    def _private_python(self) -> str:
        return os.path.join(self._folder, *(("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")))

    def _requirements(self) -> str:
        return os.path.join(self.source_folder(), "requirements.txt")

    def _fingerprint(self) -> str | None:
        """Return what the list of packages is recognised by; None in a checkout, which has none."""
        if not os.path.isfile(self._requirements()):
            return None
        with open(self._requirements(), "rb") as file:
            return hashlib.sha256(file.read().replace(b"\r\n", b"\n")).hexdigest()

    def _marker_file(self) -> str:
        return os.path.join(self._folder, MARKER)

    def _marker(self) -> dict[str, Any] | None:
        try:
            with open(self._marker_file(), encoding="utf-8") as file:
                marker = json.load(file)
        except (OSError, ValueError):
            return None
        return marker if isinstance(marker, dict) else None

    def _write_marker(self) -> None:
        with open(self._marker_file(), "w", encoding="utf-8") as file:
            json.dump({"packages": self._fingerprint()}, file)


# Measured on Linux with Python 3.11: torch 2.13 for the CPU, and torch 2.15 for CUDA 13.
_CPU_BYTES = 1_600_000_000
_CUDA_BYTES = 5_800_000_000
_WHILE_IT_IS_MADE = 1.6  # the installer keeps what it has downloaded beside what it unpacks


def _default_folder() -> str:
    # Short, because Windows refuses paths beyond 260 letters and PyTorch's own are long.
    return os.path.join(settings.local_folder(), "environment")


def _allow_and_retry(function: Callable[[str], None], path: str, error: object) -> None:
    """Delete what is read-only, as files of packages may be on Windows."""
    os.chmod(path, stat.S_IRWXU)
    function(path)
