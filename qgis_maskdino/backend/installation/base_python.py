"""Find a Python that the engine's private environment can be made with."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator

from qgis.PyQt.QtCore import QStandardPaths

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.program import run_program
from qgis_maskdino.backend.variables import engine_variables
from qgis_maskdino.translation import tr

OLDEST = (3, 10)
NEWEST = (3, 14)  # the last that the wheels of torch are made for

_QUESTION = "import sys, venv, ensurepip, struct; print('maskdino', *sys.version_info[:2], struct.calcsize('P') * 8)"


def find_python(*, on_log: Callable[[str], None]) -> str:
    """Return an interpreter of this machine that can make environments: QGIS's own where it is new enough.

    Each candidate is asked, not believed: inside QGIS, ``sys.executable`` may be QGIS itself.

    Raises:
        EngineError: there is none; the hint says what to install.
    """
    seen = set()
    lacks_venv = False
    for candidate in _candidates():
        real = os.path.realpath(candidate)
        if real in seen or not os.path.isfile(candidate):
            continue
        seen.add(real)
        try:
            answer = run_program(candidate, ["-I", "-c", _QUESTION], variables=engine_variables(), seconds=20)
        except EngineError as error:
            on_log(error.message)
            continue
        said = re.search(r"^maskdino (\d+) (\d+) (\d+)$", answer.output, re.MULTILINE)
        if said is None:
            lacks_venv = lacks_venv or "ensurepip" in answer.output
            on_log(f"{candidate} cannot make environments: {answer.output.strip()[-200:] or answer.status}")
            continue
        version, bits = (int(said[1]), int(said[2])), int(said[3])
        if OLDEST <= version <= NEWEST and bits == 64:
            return candidate
        on_log(f"{candidate} is Python {version[0]}.{version[1]}, {bits} bit; the engine needs 3.10 to 3.14, 64 bit.")
    raise EngineError(
        tr("There is no Python on this computer that the engine can be installed with."),
        code="python",
        hint=_way_out(lacks_venv),
    )


def find_uv() -> str | None:
    """Return the program ``uv``, which installs much faster, where it is."""
    folders = [os.path.expanduser(os.path.join("~", *parts)) for parts in ((".local", "bin"), (".cargo", "bin"))]
    return QStandardPaths.findExecutable("uv") or QStandardPaths.findExecutable("uv", folders) or None


def _candidates() -> Iterator[str]:
    """Yield the files that may be a Python: QGIS's own first, which is known to work here."""
    versions = [f"3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    if sys.platform == "win32":
        # OSGeo4W: sys.executable is qgis-bin.exe, and Python lives in apps\Python3xx.
        yield os.path.join(sys.base_prefix, "python.exe")
        yield os.path.join(sys.base_prefix, "python3.exe")
    else:
        own = f"{sys.version_info[0]}.{sys.version_info[1]}"
        for folder in (os.path.join(sys.base_prefix, "bin"), os.path.dirname(sys.executable or "")):
            yield os.path.join(folder, f"python{own}")
            yield os.path.join(folder, "python3")
    if os.path.basename(sys.executable or "").lower().startswith("python"):
        yield sys.executable
    for name in [*(f"python{version}" for version in versions), "python3", "python"]:
        found = shutil.which(name)
        # Windows ships empty programs of this name that open its store.
        if found and "WindowsApps" not in found:
            yield found
    if sys.platform == "win32":
        for version in versions:
            digits = version.replace(".", "")
            yield os.path.expandvars(rf"%LOCALAPPDATA%\Programs\Python\Python{digits}\python.exe")
            yield rf"C:\Program Files\Python{digits}\python.exe"
    elif sys.platform == "darwin":
        for version in versions:
            yield f"/Library/Frameworks/Python.framework/Versions/{version}/bin/python3"
            yield f"/opt/homebrew/bin/python{version}"


def _way_out(lacks_venv: bool) -> str:
    if lacks_venv and sys.platform.startswith("linux"):
        return tr("Install the package python3-venv (on Debian and Ubuntu: sudo apt install python3-venv) and try again.")
    return tr(
        "Install Python 3.10 to 3.14 (64 bit) from python.org or with the system's packages, or the program uv, and try again; "
        "or name an interpreter that has the engine under Settings > Options > Mask DINO."
    )
