"""The families of models by their kind, and configs of any of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Union

from pydantic import Discriminator, Tag, ValidationError

from engine.errors import ConfigError, ModelFileError
from engine.model.config import FamilyConfig
from engine.model.families.dimaskdino.family import DiMaskDinoFamily
from engine.model.families.family import Family
from engine.model.families.mask2former.family import Mask2FormerFamily
from engine.model.families.mask_rcnn.family import MaskRcnnFamily
from engine.model.families.maskdino.family import MaskDinoFamily

FAMILIES: dict[str, Family] = {
    family.kind: family for family in (MaskDinoFamily(), DiMaskDinoFamily(), Mask2FormerFamily(), MaskRcnnFamily())
}
_KIND_OF_OLD_FILES = MaskDinoFamily.kind  # they were written when there was one family, and name no kind


def family_of(config: FamilyConfig) -> Family:
    """Return the family that a config belongs to."""
    return FAMILIES[config.kind]


def recognised_family(names: Collection[str]) -> Family:
    """Return the family of a published checkpoint by the names of its tensors.

    Raises:
        ModelFileError: it is of none.
    """
    for family in FAMILIES.values():
        if family.recognises(names):
            return family
    raise ModelFileError(
        f"it holds no model of {' or '.join(family.title for family in FAMILIES.values())}, at most a backbone "
        f"(it has {len(names)} tensors: {', '.join(sorted(names)[:2])}, ...).",
        hint="`maskdino models list` names checkpoints of whole models.",
    )


def model_kind(config: Any) -> Any:
    """Return the kind of model that a document or a config describes; for pydantic, which reports what is no kind."""
    return config.get("kind", _KIND_OF_OLD_FILES) if isinstance(config, dict) else getattr(config, "kind", None)


# Members of a union that pydantic takes apart by `model_kind`.
TAGGED_CONFIGS = tuple(Annotated[family.config, Tag(kind)] for kind, family in FAMILIES.items())
AnyModelConfig = Annotated[Union[TAGGED_CONFIGS], Discriminator(model_kind)]  # noqa: UP007 - of a tuple


def parse_model_config(document: dict[str, Any]) -> FamilyConfig:
    """Make a config of a JSON document; one that names no kind is a Mask DINO's.

    Raises:
        ConfigError: naming each key that is unknown or out of range.
    """
    kind = model_kind(document)
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ConfigError(f"The model's config is of kind {kind!r}.", hint=f"There are: {', '.join(FAMILIES)}.")
    try:
        return FAMILIES[kind].config.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors()[:8])
        raise ConfigError(f"The model's config does not hold: {faults}.") from error
