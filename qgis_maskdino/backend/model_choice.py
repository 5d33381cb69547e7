"""Which models there are to choose from, and what the engine is told of the choice."""

from __future__ import annotations

import os
from itertools import chain, count

from qgis_maskdino import settings
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.options import detect
from qgis_maskdino.translation import tr

DEFAULT = str(detect()["model"].default)
_SUFFIX = ".safetensors"
_RESERVED = '<>:"/\\|?*'  # in names of files, on one system or another


def model_names() -> list[str]:
    """List the models by name: those that come with the plugin, the default first, then those in the user's folder."""
    shipped = sorted(_shipped(), key=lambda name: (name != DEFAULT, name))
    return list(dict.fromkeys([*shipped, *own_model_names()]))


def own_model_names() -> list[str]:
    """List the models of the user's folder by name, those aside that a model of the plugin has the name of."""
    shipped = _shipped()
    return [name for name in map(_name, settings.model_files()) if name not in shipped]


def new_model_file(name: str) -> str:
    """Return the file that a new model of a name gets, in the user's folder."""
    return os.path.join(settings.model_folder(), name + _SUFFIX)


def why_not_a_new_model(name: str) -> str:
    """Return why no new model can have a name; empty where it can."""
    if not name.strip():
        return tr("Give the new model a name.")
    if name != name.strip() or name.startswith(".") or not name.isprintable() or any(sign in name for sign in _RESERVED):
        return tr("A model cannot be called '{}'. Use letters, digits, spaces, - and _.").format(name)
    if name.lower() in map(str.lower, model_names()):
        return tr("There is a model called {} already. Give another name.").format(name)
    return ""


def free_model_name(name: str) -> str:
    """Return a name that no model has yet: town, town_2, town_3 ..."""
    taken = set(map(str.lower, model_names()))
    endings = chain([""], (f"_{number}" for number in count(2)))
    return next(name + ending for ending in endings if (name + ending).lower() not in taken)


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
