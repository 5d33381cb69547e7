"""What the plugin remembers between sessions, in QGIS's own settings. An empty answer means: nothing was chosen."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QStandardPaths

PREFIX = "maskdino/"


def python() -> str:
    """Return the interpreter that the user chose for the engine; empty where the plugin looks for one by itself."""
    return _text("python")


def set_python(path: str) -> None:
    """Choose the interpreter for the engine; empty to let the plugin look for one."""
    _set("python", path.strip())


def device() -> str:
    """Return the device that jobs run on where nothing else is asked for: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``."""
    return _text("device") or "auto"


def set_device(name: str) -> None:
    """Choose the device that jobs run on."""
    _set("device", name.strip())


def model() -> str:
    """Return the model that was used last: the name of one that comes with the plugin, or a file."""
    return _text("model")


def set_model(name: str) -> None:
    """Remember the model that was used."""
    _set("model", name)


def model_folder() -> str:
    """Return the folder with the user's own models, which need not exist: the chosen one, or one in the local data."""
    return _text("model_folder") or os.path.join(local_folder(), "models")


def set_model_folder(path: str) -> None:
    """Choose the folder with the user's own models; empty for the one in the local data."""
    _set("model_folder", path.strip())


def package_index() -> str:
    """Return the address that the engine's packages are fetched from; empty for the public ones."""
    return _text("package_index")


def set_package_index(url: str) -> None:
    """Choose the address that the engine's packages are fetched from."""
    _set("package_index", url.strip())


def remembered(key: str, default: Any) -> Any:
    """Return what a page of the panel remembered, in the type of the default."""
    return QgsSettings().value(f"{PREFIX}panel/{key}", default, type=type(default))


def remember(key: str, value: Any) -> None:
    """Let a page of the panel remember a value."""
    _set(f"panel/{key}", value)


def megapixels_per_second(device_name: str) -> float | None:
    """Return how fast the last detection was on a device; None where there was none."""
    speed = QgsSettings().value(f"{PREFIX}speed/{_safe(device_name)}", 0.0, type=float)
    return speed if speed > 0 else None


def remember_speed(device_name: str, megapixels: float) -> None:
    """Remember how fast a detection was, so that the next one can be estimated before it begins."""
    _set(f"speed/{_safe(device_name)}", megapixels)


def start_seconds() -> float:
    """Return how long the engine took the last time until it looked at something; 0 where nobody knows."""
    return QgsSettings().value(f"{PREFIX}start_seconds", 0.0, type=float)


def remember_start(seconds: float) -> None:
    """Remember how long the engine took until it looked at something: a small detection is little else."""
    _set("start_seconds", seconds)


def local_folder() -> str:
    """Return where large things are kept: not carried around with roaming profiles, shared by all profiles of QGIS."""
    location = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return os.path.join(location, "qgis-maskdino")


def model_files() -> list[str]:
    """List the models of the user's folder, by name."""
    folder = model_folder()
    if not os.path.isdir(folder):
        return []
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".safetensors"))
    return [os.path.join(folder, name) for name in names]


def _text(key: str) -> str:
    return str(QgsSettings().value(PREFIX + key, "") or "").strip()


def _set(key: str, value: Any) -> None:
    QgsSettings().setValue(PREFIX + key, value)


def _safe(name: str) -> str:
    return name.replace("/", "_")
