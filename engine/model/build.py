"""Build a model from the name of a preset or from a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import ArgumentError
from engine.model.config import FamilyConfig
from engine.model.families.registry import family_of
from engine.model.presets import preset

if TYPE_CHECKING:
    from engine.model.families.family_model import FamilyModel


def build_model(model: str | FamilyConfig, *, num_classes: int | None = None) -> FamilyModel:
    """Build a model with fresh weights.

    Args:
        model: the name of a preset, or a config.
        num_classes: instead of the preset's own number.

    Raises:
        ArgumentError: where no preset has that name, or there would be no class.
    """
    if num_classes is not None and num_classes < 1:
        raise ArgumentError(f"num_classes is {num_classes}.", hint="A model has at least 1 class.")
    if isinstance(model, str):
        config = preset(model, num_classes=num_classes)
    else:
        config = model if num_classes is None else model.model_copy(update={"num_classes": num_classes})
    return family_of(config).build(config)
