"""Where a training starts from: nothing, a model file, or what others have published."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.errors import CheckpointMismatchError, ModelFileError
from engine.model.checkpoints.published_file import read_published
from engine.model.config import MaskRcnnConfig, ModelConfig, TimmConfig
from engine.model.families.maskdino.published_config import published_config
from engine.model.families.maskdino.published_names import load_official
from engine.model.file_errors import about_file
from engine.model.model_file import METADATA_KEY, find_model_file, load_model
from training.config.schema import FittingParts
from training.pretrained.backbone_names import backbone_tensors, is_backbone
from training.pretrained.dino_names import is_dino
from training.pretrained.dino_start import dino_tensors
from training.pretrained.imagenet_packages import PACKAGES, package_file, under_timm_names

Source = str | os.PathLike[str] | FittingParts
Kind = Literal[
    "fresh weights",
    "a model file",
    "a model file in part",
    "a published Mask DINO checkpoint",
    "a published DINO detector",
    "a Mask R-CNN of torchvision",
    "a backbone",
    "a backbone trained on ImageNet",
]

# What may differ between a model and the one to train: it shapes no tensor, and training adapts to it.
_FREE = {
    *("num_classes", "detections_per_image", "size_divisibility", "backbone.norm", "backbone.drop_path"),
    *("decoder.queries", "decoder.box_initialisation", "anchor_sizes"),
}
_CLASS_HEADS = {
    "mask_dino": r"heads\.classify\..*|label_embedding\..*",
    "mask_rcnn": r"roi_heads\.(box_predictor|mask_predictor\.mask_fcn_logits)\..*",
}
# Swin's output norms belong to the detector, not to the backbone that was trained on ImageNet.
_BEYOND_BACKBONE = r"(?!backbone\.).*|backbone\.norms\..*"
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
        """Say it in a sentence, for a log or a model card."""
        if self.source is None:
            return "Starting from fresh weights."
        parts = [f"Starting from {self.source}, {self.kind}: {self.loaded} tensors taken"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} of its own left out ({_modules(self.skipped)})")
        if self.missing:
            parts.append(f"{len(self.missing)} of the model's start fresh ({_modules(self.missing)})")
        return "; ".join(parts) + "."


def start_from(model: nn.Module, source: Source | None) -> StartReport:
    """Fill a model with what its training shall start from. Nothing is downloaded, and nothing in a file is run.

    Args:
        model: to be trained, with fresh weights.
        source: one of

            - None: the weights stay as they are;
            - a model file, or the name of an embedded model. Where it has other classes, what depends on them starts fresh;
            - a published Mask DINO checkpoint, with the same exception; for a Mask R-CNN, one that torchvision publishes;
            - a published DINO detector, see `training.pretrained.dino_start`;
            - a backbone trained on ImageNet, see `training.pretrained.backbone_names`, or the name of an installed package that
              carries one, see `training.pretrained.imagenet_packages`;
            - `FittingParts` of a model file of another architecture.

    Raises:
        ModelFileError: the file is not there, broken, or none of these.
        CheckpointMismatchError: its architecture is not the model's; says in what. The model is then as it was before.
    """
    if source is None:
        return StartReport(None, "fresh weights", 0, missing=tuple(_weights(model)))
    if isinstance(source, FittingParts):
        return _from_parts(model, source)
    if source in PACKAGES:
        return _from_package(model, os.fspath(source))
    path = find_model_file(source)
    if is_model_file(path):
        other = load_model(path)
        with about_file("The model file", path):
            _check_architecture(other.config, model.config)
            return _with_class_heads(model, _weights(other), source, "a model file")
    tensors = read_published(path).tensors
    with about_file("The checkpoint", path):
        return _from_published(model, tensors, source)


def start_from_each(model: nn.Module, sources: Sequence[Source]) -> list[StartReport]:
    """Fill a model from several sources, the later over the earlier.

    Returns:
        A report of each; the last names what starts fresh after all of them.

    Raises:
        ModelFileError, CheckpointMismatchError: as `start_from`; what came before has filled the model then.
    """
    reports = [start_from(model, source) for source in sources] or [start_from(model, None)]
    missing = set(reports[0].missing).intersection(*(report.missing for report in reports))
    last = tuple(name for name in reports[-1].missing if name in missing)
    return [*(replace(report, missing=()) for report in reports[:-1]), replace(reports[-1], missing=last)]


def _from_parts(model: nn.Module, source: FittingParts) -> StartReport:
    path = find_model_file(source.file)
    if not is_model_file(path):
        raise ModelFileError(
            f"{source.file!r} is to be taken in part, and is no model file.",
            hint="Convert it: `maskdino models convert`; or name it without `parts`.",
        )
    other, weights = load_model(path), _weights(model)
    own_backbone = not any(name.startswith("backbone.") for name in _differences(other.config, model.config))
    theirs = _weights(other)
    found = {
        name: tensor
        for name, tensor in theirs.items()
        if name in weights and tensor.shape == weights[name].shape and (own_backbone or not name.startswith("backbone."))
    }
    with about_file("The model file", path):
        if not found:
            raise CheckpointMismatchError("none of its tensors fits the model to train.", hint="Leave it out.")
        skipped = (name for name in theirs if name not in found)
        return _filled(model, found, source.file, "a model file in part", skipped=skipped, may_be_fresh=".*")


def _from_package(model: nn.Module, package: str) -> StartReport:
    path, backbone = package_file(package), model.config.backbone
    if not (isinstance(backbone, TimmConfig) and backbone.model == PACKAGES[package]):
        ours = backbone.model if isinstance(backbone, TimmConfig) else f"a {backbone.kind}"
        raise CheckpointMismatchError(
            f"The package {package!r} holds {PACKAGES[package]}, and the backbone of the model to train is {ours}."
        )
    published = read_published(path).tensors
    with about_file("The checkpoint", path):
        tensors = _without_bookkeeping(under_timm_names(package, published))
        found, used = backbone_tensors(_weights(model), tensors)
        skipped = (name for name in tensors if name not in used)
        kind: Kind = "a backbone trained on ImageNet"
        return _filled(model, found, package, kind, skipped=skipped, may_be_fresh=_BEYOND_BACKBONE)


def is_model_file(path: Path) -> bool:
    """Tell a model file of ours from other checkpoints."""
    try:
        with safe_open(path, framework="pt") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):  # whoever reads it as a checkpoint says what is wrong
        return False


def _from_published(model: nn.Module, tensors: Mapping[str, Tensor], source: Source) -> StartReport:
    tensors = _without_bookkeeping(tensors)
    if any(name.startswith("sem_seg_head.") for name in tensors):
        return _from_mask_dino(model, tensors, source)
    if is_dino(tensors):
        kind: Kind = "a published DINO detector"
        _require(model, ModelConfig, kind)
        found, used = dino_tensors(model, tensors)
    elif "roi_heads.mask_predictor.mask_fcn_logits.weight" in tensors:
        kind = "a Mask R-CNN of torchvision"
        _require(model, MaskRcnnConfig, kind)
        ours = {name.replace("backbone.fpn.", "fpn."): tensor for name, tensor in tensors.items()}
        return _with_class_heads(model, ours, source, kind)
    elif is_backbone(_weights(model), tensors):
        kind = "a backbone"
        found, used = backbone_tensors(_weights(model), tensors)
    else:
        raise ModelFileError(
            f"it is nothing to start from: it has {len(tensors)} tensors of {_modules(tensors)}.",
            hint="Give a model file, a published Mask DINO or DINO checkpoint, or a backbone: a ResNet, a Swin Transformer "
            "or, under timm's names, the model's own.",
        )
    skipped = (name for name in tensors if name not in used)
    return _filled(model, found, source, kind, skipped=skipped, may_be_fresh=_BEYOND_BACKBONE)


def _from_mask_dino(model: nn.Module, tensors: Mapping[str, Tensor], source: Source) -> StartReport:
    kind: Kind = "a published Mask DINO checkpoint"
    _require(model, ModelConfig, kind)
    config = published_config(tensors)
    _check_architecture(config, model.config)
    other_classes = config.num_classes != model.config.num_classes
    report = load_official(model, tensors, skip_class_heads=other_classes)
    weights = _weights(model)
    missing = [name for name in weights if other_classes and re.fullmatch(_CLASS_HEADS["mask_dino"], name)]
    return StartReport(os.fspath(source), kind, len(weights) - len(missing), report.skipped, tuple(missing))


def _with_class_heads(model: nn.Module, found: Mapping[str, Tensor], source: Source, kind: Kind) -> StartReport:
    """Fill a model of the same architecture; if one of the class heads is of another shape, they all start fresh."""
    weights, heads = _weights(model), _CLASS_HEADS[model.config.kind]
    class_heads = [name for name in found if name in weights and re.fullmatch(heads, name)]
    skipped = class_heads if any(found[name].shape != weights[name].shape for name in class_heads) else []
    kept = {name: tensor for name, tensor in found.items() if name not in skipped}
    return _filled(model, kept, source, kind, skipped=skipped, may_be_fresh=heads if skipped else "")


def _require(model: nn.Module, config: type[ModelConfig | MaskRcnnConfig], kind: Kind) -> None:
    if not isinstance(model.config, config):
        raise CheckpointMismatchError(
            f"it is {kind}, and the model to train is of the kind {model.config.kind}.",
            hint="Any model can start from its backbone, or from a model file of its own kind.",
        )


def _check_architecture(found: ModelConfig | MaskRcnnConfig, wanted: ModelConfig | MaskRcnnConfig) -> None:
    """Compare two configs as far as tensors depend on them."""
    if found.kind != wanted.kind:
        raise CheckpointMismatchError(f"it is of the kind {found.kind}, the model to train a {wanted.kind}.")
    differ = _differences(found, wanted)
    if differ:
        told = "; ".join(f"{name} is {theirs}, not {ours}" for name, (theirs, ours) in differ.items())
        raise CheckpointMismatchError(
            f"its architecture is not that of the model to train: {told}.",
            hint="Train the architecture of the file, or start from another.",
        )


def _differences(found: ModelConfig | MaskRcnnConfig, wanted: ModelConfig | MaskRcnnConfig) -> dict[str, tuple[Any, Any]]:
    """Return the fields that tensors depend on and that differ, with the values in both."""
    theirs, ours = _flat(found.model_dump()), _flat(wanted.model_dump())
    return {
        name: (theirs.get(name, "not there"), ours.get(name, "there"))
        for name in {**theirs, **ours}
        if name not in _FREE and theirs.get(name) != ours.get(name)
    }


def _filled(
    model: nn.Module,
    found: Mapping[str, Tensor],
    source: Source,
    kind: Kind,
    *,
    skipped: Iterable[str],
    may_be_fresh: str,
) -> StartReport:
    """Copy tensors into the model by our names, all or none; what ``may_be_fresh`` does not match has to be among them."""
    weights = _weights(model)
    faults = [f"it has {name}, the model has not" for name in found if name not in weights]
    faults += [f"it has no {name}" for name in weights if name not in found and not re.fullmatch(may_be_fresh, name)]
    for name in found.keys() & weights.keys():
        if found[name].shape != weights[name].shape:
            faults.append(f"{name} has shape {tuple(found[name].shape)}, the model's {tuple(weights[name].shape)}")
        elif not found[name].isfinite().all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise CheckpointMismatchError(f"it does not fit the model: {'; '.join(faults[:4])}{more}.")
    with torch.no_grad():
        for name, tensor in found.items():
            weights[name].copy_(tensor)
    missing = tuple(name for name in weights if name not in found)
    return StartReport(os.fspath(source), kind, len(found), tuple(skipped), missing)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return _without_bookkeeping(model.state_dict())


def _without_bookkeeping(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith(_BOOKKEEPING)}


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _modules(names: Iterable[str], count: int = 12) -> str:
    """List the modules that tensors belong to, no deeper than a layer."""
    modules = list(dict.fromkeys(".".join(name.split(".")[:-1][:3]) or name for name in names))
    return ", ".join(modules[:count]) + (", ..." if len(modules) > count else "")
