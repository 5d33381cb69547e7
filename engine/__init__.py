"""Find buildings in imagery with Mask DINO.

``detect`` runs a whole raster; ``regularize`` draws the outlines of a layer anew; ``build_model``, ``load_model``,
``load_official`` and ``export_official`` make and fill models. Names are looked up at first use, so that ``import engine``
stays quick: torch alone takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.detection.pipeline import Summary, detect
    from engine.detection.polygons.regularize import regularize
    from engine.model.build import build_model
    from engine.model.checkpoints.published_state import export_official, load_official
    from engine.model.model_file import load_model

_HOMES = {
    "Summary": "engine.detection.pipeline",
    "build_model": "engine.model.build",
    "detect": "engine.detection.pipeline",
    "export_official": "engine.model.checkpoints.published_state",
    "load_model": "engine.model.model_file",
    "load_official": "engine.model.checkpoints.published_state",
    "regularize": "engine.detection.polygons.regularize",
}

__all__ = ["Summary", "build_model", "detect", "export_official", "load_model", "load_official", "regularize"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
