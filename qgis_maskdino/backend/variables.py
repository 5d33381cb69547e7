"""The environment variables of a program that is started from QGIS and is no part of it."""

from __future__ import annotations

import os
import sys

from qgis.PyQt.QtCore import QProcessEnvironment

# QGIS's own Python, GDAL, PROJ and Qt announce themselves here; another Python that believed them would load theirs.
_QGIS_ONLY = (
    "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONUSERBASE", "PYTHONOPTIMIZE",
    "PYTHONWARNINGS", "PYTHONINSPECT", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "GEOTIFF_CSV", "OSGEO4W_ROOT",
    "QT_PLUGIN_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH", "QML2_IMPORT_PATH",
)  # fmt: skip
_QGIS_PREFIXES = ("PROJ_", "GDAL_", "OGR_", "QGIS_")
_KEPT_PREFIXES = ("GDAL_HTTP_",)  # how this machine reaches the network, not where QGIS keeps its files
# Searched before a program's own libraries. What points into QGIS's bundle goes; what an administrator set stays.
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


def engine_variables(sources: str | None = None) -> QProcessEnvironment:
    """Return the variables to start a Python with that is not QGIS's.

    Args:
        sources: a folder with packages that it imports before those that are installed.
    """
    variables = QProcessEnvironment.systemEnvironment()
    for name in variables.keys():  # noqa: SIM118 - not a dict
        upper = name.upper()  # on Windows a name may be written in any case
        if upper in _QGIS_ONLY or (upper.startswith(_QGIS_PREFIXES) and not upper.startswith(_KEPT_PREFIXES)):
            variables.remove(name)
        elif upper in _LIBRARY_PATHS:
            _leave_out_qgis(variables, name)
    variables.insert("PYTHONNOUSERSITE", "1")  # packages of the user's own Python are no part of the engine
    variables.insert("PYTHONUTF8", "1")
    if sources is not None:
        variables.insert("PYTHONPATH", sources)
    return variables


def _leave_out_qgis(variables: QProcessEnvironment, name: str) -> None:
    bundle = _bundle()
    if bundle is None:
        return
    kept = [part for part in variables.value(name).split(os.pathsep) if not os.path.realpath(part).startswith(bundle)]
    if kept:
        variables.insert(name, os.pathsep.join(kept))
    else:
        variables.remove(name)


def _bundle() -> str | None:
    """Return the folder that QGIS and its own Python live in together; None where they are part of the system."""
    prefix = os.path.realpath(sys.base_prefix)
    return None if prefix in ("/", "/usr", "/usr/local") else os.path.join(prefix, "")
