"""Where a training starts from: nothing, a model file, or what others have published."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.errors import CheckpointMismatchError, ModelFileError
from engine.model.config import AnyModelConfig
from engine.model.file_errors import about_file
from engine.model.maskdino import MaskDino
from engine.model.model_file import METADATA_KEY, find_model_file, load_model
from engine.model.official import load_official
from engine.model.published_config import published_config
from engine.model.published_file import read_published
from training.backbone_names import backbone_tensors, is_backbone
from training.dino_names import is_dino
from training.dino_start import dino_tensors

log = logging.getLogger(__name__)

Kind = Literal["nothing", "a model file", "a published Mask DINO checkpoint", "a published DINO detector", "a backbone"]

# What may differ between a model file and the model to train: it shapes no tensor, and no tensor was trained for it alone.
_FREE = {
    *("num_classes", "detections_per_image", "size_divisibility", "backbone.norm", "backbone.drop_path"),
    *("decoder.queries", "decoder.box_initialisation"),
}
_CLASS_HEADS = ("heads.classify.", "label_embedding.")
# What a norm has counted and how a window is indexed: no weights.
_BOOKKEEPING = ("num_batches_tracked", "relative_position_index")


@dataclass(frozen=True)
class StartReport:
    """What a training starts with.

    Attributes:
        source: the file, as it was named; None for fresh weights.
        loaded: how many of the model's tensors were filled.
        skipped: names in the file of what was not taken.
        missing: names in the model of what starts fresh.
    """

    source: str | None
    kind: Kind
    loaded: int
    skipped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say it in a sentence for a log or a model card."""
        if self.source is None:
            return "Starting from fresh weights."
        parts = [f"Starting from {self.source}, {self.kind}: {self.loaded} tensors taken"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} of its own left out ({_listed(self.skipped)})")
        if self.missing:
            parts.append(f"{len(self.missing)} of the model's start fresh ({_listed(self.missing)})")
        return "; ".join(parts) + "."


def start_from(model: nn.Module, source: str | os.PathLike[str] | None) -> StartReport:
    """Fill a model with what a training shall start from. Nothing is downloaded, and nothing in a file is run.

    Args:
        model: to be trained, with fresh weights.
        source: one of

            - None: the weights stay as they are;
            - a model file, or the name of an embedded model. Where it has other classes, the classifier and the label embedding
              stay fresh;
            - a published Mask DINO checkpoint, with the same exception;
            - a published DINO detector, see `training.dino_start`;
            - a backbone trained on ImageNet, see `training.backbone_names`.

    Raises:
        ModelFileError: the file is not there, broken, or none of these.
        CheckpointMismatchError: its architecture is not the model's; says in what. The model is then as it was before.
    """
    if source is None:
        return StartReport(None, "nothing", 0, missing=tuple(_weights(model)))
    path = find_model_file(source)
    with about_file("The file to start from", path):
        if _is_model_file(path):
            return _from_model_file(model, source)
    tensors = read_published(path).tensors
    with about_file("The checkpoint", path):
        if any(name.startswith("sem_seg_head.") for name in tensors):
            return _from_mask_dino(model, source, tensors)
        if is_dino(tensors):
            found, used = dino_tensors(_mask_dino(model, "a published DINO detector"), tensors)
            kind: Kind = "a published DINO detector"
        elif is_backbone(tensors):
            found, used = backbone_tensors(_weights(model), tensors)
            kind = "a backbone"
        else:
            raise ModelFileError(
                f"it is nothing to start from (it has {len(tensors)} tensors: {_listed(tensors)}).",
                hint="Give a model file, a published Mask DINO or DINO checkpoint, or a ResNet or Swin backbone.",
            )
        skipped = (name for name in tensors if name not in used and not name.endswith(_BOOKKEEPING))
        return _filled(model, found, source=source, kind=kind, skipped=skipped)


def _is_model_file(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return METADATA_KEY in (file.metadata() or {})
    except SafetensorError:
        return False


def _from_model_file(model: nn.Module, source: str | os.PathLike[str]) -> StartReport:
    other = load_model(source)
    _check_architecture(other.config, model.config)
    found = _weights(other)
    dropped = _CLASS_HEADS if other.config.num_classes != model.config.num_classes else ()
    skipped = [name for name in found if dropped and name.startswith(dropped)]
    found = {name: tensor for name, tensor in found.items() if name not in skipped}
    return _filled(model, found, source=source, kind="a model file", skipped=skipped)


def _from_mask_dino(model: nn.Module, source: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> StartReport:
    kind: Kind = "a published Mask DINO checkpoint"
    model = _mask_dino(model, kind)
    config = published_config(tensors)
    _check_architecture(config, model.config)
    other_classes = config.num_classes != model.config.num_classes
    report = load_official(model, tensors, skip_class_heads=other_classes)
    missing = [name for name in _weights(model) if other_classes and name.startswith(_CLASS_HEADS)]
    return StartReport(os.fspath(source), kind, len(_weights(model)) - len(missing), report.skipped, tuple(missing))


def _mask_dino(model: nn.Module, kind: Kind) -> MaskDino:
    if not isinstance(model, MaskDino):
        raise CheckpointMismatchError(f"it is {kind}, and the model to train is no Mask DINO.", hint="Start from a backbone.")
    return model


def _check_architecture(found: AnyModelConfig, wanted: AnyModelConfig) -> None:
    """Compare two configs as far as tensors depend on them.

    Raises:
        CheckpointMismatchError: naming the fields that differ.
    """
    theirs, ours = _flat(found.model_dump()), _flat(wanted.model_dump())
    differ = [name for name in {**theirs, **ours} if name not in _FREE and theirs.get(name) != ours.get(name)]
    if differ:
        told = "; ".join(f"{name} is {theirs.get(name, 'not there')}, not {ours.get(name, 'there')}" for name in differ)
        raise CheckpointMismatchError(
            f"its architecture is not that of the model to train: {told}.",
            hint="Train the architecture of the file, or start from another.",
        )


def _filled(
    model: nn.Module, found: Mapping[str, Tensor], *, source: str | os.PathLike[str], kind: Kind, skipped: Iterable[str]
) -> StartReport:
    """Copy tensors into the model by our names, all or none."""
    weights = _weights(model)
    faults = [
        f"{name} has shape {tuple(tensor.shape)}, the model's {tuple(weights[name].shape)}"
        for name, tensor in found.items()
        if tensor.shape != weights[name].shape
    ]
    faults += [f"{name} holds values that are not finite" for name, tensor in found.items() if not tensor.isfinite().all()]
    # A detector's own parts may start fresh, Swin's output norms among them; half a backbone is another backbone.
    faults += [f"it has no {name}" for name in weights if name not in found and re.match(r"backbone\.(?!norms\.)", name)]
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise CheckpointMismatchError(f"it does not fit the model: {'; '.join(faults[:4])}{more}.")
    with torch.no_grad():
        for name, tensor in found.items():
            weights[name].copy_(tensor)
    missing = tuple(name for name in weights if name not in found)
    return StartReport(os.fspath(source), kind, len(found), tuple(skipped), missing)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_BOOKKEEPING)}


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _listed(names: Iterable[str], count: int = 12) -> str:
    """List the modules that tensors belong to, no deeper than a layer."""
    modules = list(dict.fromkeys(".".join(name.split(".")[:-1][:3]) or name for name in names))
    return ", ".join(modules[:count]) + (", ..." if len(modules) > count else "")
