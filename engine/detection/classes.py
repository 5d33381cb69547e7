"""What the layer that objects go to is called, by their classes."""

from __future__ import annotations

from collections.abc import Sequence

from engine.tiles.classes import BUILDING


def layer_name(classes: Sequence[str]) -> str:
    """Return the name of the layer that objects of some classes go to."""
    return "buildings" if finds_buildings_alone(classes) else "instances"


def finds_buildings_alone(classes: Sequence[str]) -> bool:
    """Return whether the one class there is is that of buildings."""
    return tuple(name.casefold() for name in classes) == BUILDING
