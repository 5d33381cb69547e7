"""Which models there are to choose from, and what the engine is told of the choice."""

from __future__ import annotations

import os

from qgis_maskdino import settings
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.options import detect

DEFAULT = str(detect()["model"].default)
_SUFFIX = ".safetensors"


def model_names() -> list[str]:
    """List the models by name: those that come with the plugin, the default first, then those in the user's folder."""
    own = [_name(path) for path in settings.model_files()]
    shipped = sorted(_shipped(), key=lambda name: (name != DEFAULT, name))
    return list(dict.fromkeys([*shipped, *own]))


def model_argument(name: str) -> str:
    """Return what the engine is told of a model: the name of one that comes with the plugin, or the path of the user's."""
    if name in _shipped():
        return name
    return next((path for path in settings.model_files() if _name(path) == name), name)


def _shipped() -> list[str]:
    folder = os.path.join(EngineEnvironment().source_folder(), "engine", "weights")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [_name(name) for name in names if name.endswith(_SUFFIX)]


def _name(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
