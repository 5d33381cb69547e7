"""Tell which DI-MaskDINO a published state dict belongs to, from the shapes of its tensors.

They do not tell how many queries are selected, how many of them guide, and how boxes are first drawn: these come from a preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.errors import ModelFileError
from engine.model.families.dimaskdino.config import DiMaskDinoConfig
from engine.model.families.maskdino.published_config import count_layers, merged, told_by_shapes
from engine.model.families.registry import parse_model_config
from engine.model.presets import preset

if TYPE_CHECKING:
    from torch import Tensor

_DEFAULT_PRESET = "dimaskdino_r50"
_INTERACTION_LAYER = "sem_seg_head.predictor.oldm.layers.{}.linear1.weight"


def published_config(tensors: Mapping[str, Tensor], *, preset_name: str | None = None) -> DiMaskDinoConfig:
    """Work out the config of a published DI-MaskDINO; see `engine.model.families.family.Family.published_config`.

    Raises:
        ModelFileError: it is none that can be built, or not of the preset's family or backbone.
        ArgumentError: there is no such preset.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    base = preset(preset_name or _DEFAULT_PRESET)
    if not isinstance(base, DiMaskDinoConfig):
        raise ModelFileError(f"it is a DI-MaskDINO, the preset {preset_name!r} is not.")
    try:
        told = told_by_shapes(shapes)
    except (KeyError, IndexError, ValueError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else error
        raise ModelFileError(f"its tensors are not those of a DI-MaskDINO ({missing}).") from error
    told["decoder"]["interaction_layers"] = count_layers(shapes, _INTERACTION_LAYER)
    document, kind = base.model_dump(), told["backbone"]["kind"]
    if base.backbone.kind != kind:
        if preset_name is not None:
            raise ModelFileError(f"it has a {kind} backbone, the preset {preset_name!r} a {base.backbone.kind}.")
        document["backbone"] = {}
    return parse_model_config(merged(document, told))
