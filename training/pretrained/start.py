"""Where a training starts from: nothing, a model file, or what others have published."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.errors import CheckpointMismatchError, ModelFileError
from engine.model.checkpoints.published_state import check_published, load_official, weights_of, without_bookkeeping
from engine.model.checkpoints.reader import read_published
from engine.model.config import FamilyConfig, TimmConfig
from engine.model.families.family import Family
from engine.model.families.family_model import FamilyModel
from engine.model.families.registry import FAMILIES, family_of
from engine.model.file_errors import about_file
from engine.model.model_file import METADATA_KEY, find_model_file, load_model
from training.config.schema import FittingParts
from training.pretrained.backbone_names import backbone_tensors, is_backbone
from training.pretrained.dino_names import is_dino
from training.pretrained.dino_start import DINO_FITS, dino_tensors
from training.pretrained.imagenet_packages import PACKAGES, package_file, under_timm_names

Source = str | os.PathLike[str] | FittingParts

# Swin's output norms belong to the detector, not to the backbone that was trained on ImageNet.
_BEYOND_BACKBONE = r"(?!backbone\.).*|backbone\.norms\..*"


@dataclass(frozen=True)
class StartReport:
    """What a training starts with.

    Attributes:
        source: the file, as it was named; None for fresh weights.
        kind: what it is, in words.
        loaded: how many of the model's tensors were filled.
        skipped: names in the file of what was not taken.
        missing: names in the model of what starts fresh.
    """

    source: str | None
    kind: str
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


def start_from(model: FamilyModel, source: Source | None) -> StartReport:
    """Fill a model with what its training shall start from. Nothing is downloaded, and nothing in a file is run.

    Args:
        model: to be trained, with fresh weights.
        source: one of

            - None: the weights stay as they are;
            - a model file, or the name of an embedded model. Where it has other classes, what depends on them starts fresh;
            - a published checkpoint of the model's family, with the same exception (of Mask R-CNN, torchvision's);
            - a published DINO detector, see `training.pretrained.dino_start`;
            - a backbone trained on ImageNet, see `training.pretrained.backbone_names`, or the name of an installed package that
              carries one, see `training.pretrained.imagenet_packages`;
            - `FittingParts` of a model file of another architecture.

    Raises:
        ModelFileError: the file is not there, broken, or none of these.
        CheckpointMismatchError: its architecture is not the model's; says in what. The model is then as it was before.
    """
    if source is None:
        return StartReport(None, "fresh weights", 0, missing=tuple(weights_of(model)))
    if isinstance(source, FittingParts):
        return _from_parts(model, source)
    if source in PACKAGES:
        return _from_package(model, os.fspath(source))
    path = find_model_file(source)
    if is_model_file(path):
        other = load_model(path)
        with about_file("The model file", path):
            _check_architecture(other.config, model.config)
            return _with_class_heads(model, weights_of(other), source, "a model file")
    tensors = read_published(path).tensors
    with about_file("The checkpoint", path):
        return _from_published(model, tensors, source)


def start_from_each(model: FamilyModel, sources: Sequence[Source]) -> list[StartReport]:
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


def _from_parts(model: FamilyModel, source: FittingParts) -> StartReport:
    path = find_model_file(source.file)
    if not is_model_file(path):
        raise ModelFileError(
            f"{source.file!r} is to be taken in part, and is no model file.",
            hint="Convert it: `maskdino models convert`; or name it without `parts`.",
        )
    other, weights = load_model(path), weights_of(model)
    own_backbone = not any(name.startswith("backbone.") for name in _differences(other.config, model.config))
    theirs = weights_of(other)
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


def _from_package(model: FamilyModel, package: str) -> StartReport:
    path, backbone = package_file(package), model.config.backbone
    if not (isinstance(backbone, TimmConfig) and backbone.model == PACKAGES[package]):
        ours = backbone.model if isinstance(backbone, TimmConfig) else f"a {backbone.kind}"
        raise CheckpointMismatchError(
            f"The package {package!r} holds {PACKAGES[package]}, and the backbone of the model to train is {ours}."
        )
    published = read_published(path).tensors
    with about_file("The checkpoint", path):
        tensors = without_bookkeeping(under_timm_names(package, published))
        found, used = backbone_tensors(weights_of(model), tensors)
        skipped = (name for name in tensors if name not in used)
        kind = "a backbone trained on ImageNet"
        return _filled(model, found, package, kind, skipped=skipped, may_be_fresh=_BEYOND_BACKBONE)


def is_model_file(path: Path) -> bool:
    """Tell a model file of ours from other checkpoints."""
    try:
        with safe_open(path, framework="pt") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):  # whoever reads it as a checkpoint says what is wrong
        return False


def _from_published(model: FamilyModel, tensors: Mapping[str, Tensor], source: Source) -> StartReport:
    tensors = without_bookkeeping(tensors)
    for family in FAMILIES.values():
        if family.recognises(tensors):
            return _from_family(model, family, tensors, source)
    if is_dino(tensors):
        kind = "a published DINO detector"
        _require(model, FAMILIES[DINO_FITS], kind)
        found, used = dino_tensors(model, tensors)
    elif is_backbone(weights_of(model), tensors):
        kind = "a backbone"
        found, used = backbone_tensors(weights_of(model), tensors)
    else:
        titles = ", ".join(family.title for family in FAMILIES.values())
        raise ModelFileError(
            f"it is nothing to start from: it has {len(tensors)} tensors of {_modules(tensors)}.",
            hint=f"Give a model file, a published checkpoint ({titles} or DINO), or a backbone: a ResNet, a Swin Transformer "
            "or, under timm's names, the model's own.",
        )
    skipped = (name for name in tensors if name not in used)
    return _filled(model, found, source, kind, skipped=skipped, may_be_fresh=_BEYOND_BACKBONE)


def _from_family(model: FamilyModel, family: Family, tensors: Mapping[str, Tensor], source: Source) -> StartReport:
    kind = f"a published {family.title} checkpoint"
    _require(model, family, kind)
    config = family.published_config(tensors)
    _check_architecture(config, model.config)
    other_classes = config.num_classes != model.config.num_classes
    report = load_official(model, tensors, skip_class_heads=other_classes)
    weights = weights_of(model)
    missing = [name for name in weights if other_classes and re.fullmatch(family.class_heads, name)]
    return StartReport(os.fspath(source), kind, len(weights) - len(missing), report.skipped, tuple(missing))


def _with_class_heads(model: FamilyModel, found: Mapping[str, Tensor], source: Source, kind: str) -> StartReport:
    """Fill a model of the same architecture; if one of the class heads is of another shape, they all start fresh."""
    weights, heads = weights_of(model), family_of(model.config).class_heads
    class_heads = [name for name in found if name in weights and re.fullmatch(heads, name)]
    skipped = class_heads if any(found[name].shape != weights[name].shape for name in class_heads) else []
    kept = {name: tensor for name, tensor in found.items() if name not in skipped}
    return _filled(model, kept, source, kind, skipped=skipped, may_be_fresh=heads if skipped else "")


def _require(model: FamilyModel, family: Family, kind: str) -> None:
    if family_of(model.config) is not family:
        raise CheckpointMismatchError(
            f"it is {kind}, and the model to train is of the kind {model.config.kind}.",
            hint="Any model can start from its backbone, or from a model file of its own kind.",
        )
    check_published(model)


def _check_architecture(found: FamilyConfig, wanted: FamilyConfig) -> None:
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


def _differences(found: FamilyConfig, wanted: FamilyConfig) -> dict[str, tuple[Any, Any]]:
    """Return the fields that tensors depend on and that differ, with the values in both."""
    theirs, ours = _flat(found.model_dump()), _flat(wanted.model_dump())
    return {
        name: (theirs.get(name, "not there"), ours.get(name, "there"))
        for name in {**theirs, **ours}
        if name not in family_of(wanted).tensorless and theirs.get(name) != ours.get(name)
    }


def _filled(
    model: FamilyModel,
    found: Mapping[str, Tensor],
    source: Source,
    kind: str,
    *,
    skipped: Iterable[str],
    may_be_fresh: str,
) -> StartReport:
    """Copy tensors into the model by our names, all or none; what ``may_be_fresh`` does not match has to be among them."""
    weights = weights_of(model)
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


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _modules(names: Iterable[str], count: int = 12) -> str:
    """List the modules that tensors belong to, no deeper than a layer."""
    modules = list(dict.fromkeys(".".join(name.split(".")[:-1][:3]) or name for name in names))
    return ", ".join(modules[:count]) + (", ..." if len(modules) > count else "")
