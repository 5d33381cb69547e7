"""Fill a model with a state dict under its published names, and give its state under them.

Which names these are is the family's business. A published state dict may name shared parameters several times, and carry
constants that a model computes itself. Both are written by `export_official`; `load_official` asks for the former and does
without the latter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.errors import CheckpointMismatchError
from engine.model.families.registry import family_of

if TYPE_CHECKING:
    from engine.model.families.family_model import FamilyModel

# What a norm has counted and how a window is indexed: no weights.
_BOOKKEEPING = ("num_batches_tracked", "relative_position_index")


@dataclass(frozen=True)
class LoadReport:
    """What a load left out, by published name: empty unless the class heads were to be left out."""

    skipped: tuple[str, ...] = ()


def export_official(model: FamilyModel) -> dict[str, Tensor]:
    """Return the model's state under its published names, aliases and constants included.

    Raises:
        CheckpointMismatchError: a part of the model comes from another package.
    """
    check_published(model)
    family = family_of(model.config)
    state = {
        alias: tensor for name, tensor in weights_of(model).items() for alias in family.published_names(name, model.config)
    }
    return state | family.published_constants(model)


def load_official(model: FamilyModel, state_dict: Mapping[str, Tensor], *, skip_class_heads: bool = False) -> LoadReport:
    """Fill the model with a published state dict.

    Args:
        model: of the same architecture.
        state_dict: tensors (or arrays) by published name.
        skip_class_heads: leave what depends on the classes, such as the model's classifier, as it is, for a checkpoint
            trained on other classes.

    Raises:
        CheckpointMismatchError: naming what is missing, left over, of another shape or contradicts itself, or a part of
            the model that comes from another package. The model is then as it was before.
    """
    check_published(model)
    family, tensors = family_of(model.config), weights_of(model)
    names = {name: family.published_names(name, model.config) for name in tensors}
    constants = family.published_constants(model)
    skipped, chosen, faults = [], {}, []
    known = set(constants).union(*names.values())
    for name, aliases in names.items():
        if skip_class_heads and re.fullmatch(family.class_heads, name):
            skipped += [alias for alias in aliases if alias in state_dict]
            continue
        missing = [alias for alias in aliases if alias not in state_dict]
        faults += [f"missing {alias}" for alias in missing]
        if missing:
            continue
        values = [torch.as_tensor(state_dict[alias]) for alias in aliases]
        if values[0].shape != tensors[name].shape:
            expected, found = tuple(tensors[name].shape), tuple(values[0].shape)
            faults.append(f"{aliases[0]} has shape {found}, the model {expected}")
        elif any(value is not values[0] and not torch.equal(value, values[0]) for value in values):
            faults.append(f"{aliases[0]} and the names that share its tensor hold different values")
        elif not values[0].isfinite().all():
            faults.append(f"{aliases[0]} holds values that are not finite")
        chosen[name] = values[0]
    faults += [f"left over {name}" for name in state_dict if name not in known and not name.endswith("num_batches_tracked")]
    for name in constants.keys() & state_dict.keys():
        if skip_class_heads and re.fullmatch(family.class_heads, name):
            skipped.append(name)
        elif tuple(state_dict[name].shape) != tuple(constants[name].shape):
            faults.append(f"{name} has shape {tuple(state_dict[name].shape)}, the model {tuple(constants[name].shape)}")
    if faults:
        raise CheckpointMismatchError(
            f"The state dict does not fit the model in {len(faults)} places: {_shortened(faults)}.",
            hint="Build the preset that it was trained as"
            + ("." if skip_class_heads else ", or leave its class heads out (skip_class_heads) if only these differ."),
        )
    with torch.no_grad():
        for name, value in chosen.items():
            tensors[name].copy_(value)
    return LoadReport(tuple(sorted(skipped)))


def check_published(model: FamilyModel) -> None:
    """Check that the names of a model's tensors have been published.

    Raises:
        CheckpointMismatchError: a part of the model comes from another package.
    """
    if model.config.components:
        names = " and ".join(repr(component.name) for component in model.config.components)
        raise CheckpointMismatchError(f"No published checkpoint has the names of the model's tensors: it contains {names}.")


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return what a published checkpoint stores of a model, by our names."""
    return without_bookkeeping(model.state_dict())


def without_bookkeeping(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what norms count and windows index: no weights."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(_BOOKKEEPING)}


def _shortened(faults: list[str], count: int = 8) -> str:
    more = f"; and {len(faults) - count} more" if len(faults) > count else ""
    return "; ".join(faults[:count]) + more
