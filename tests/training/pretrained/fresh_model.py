"""A small model before its training starts, and what a start from somebody else's weights changed in it."""

from __future__ import annotations

import torch

from engine.model.build import build_model
from engine.model.families.maskdino.config import MaskDinoConfig
from tests.engine.model.small_model import SMALL_CONFIG
from training.pretrained.start import StartReport


def config_with(**changes) -> MaskDinoConfig:
    """Change some keys of the small config."""
    return MaskDinoConfig.model_validate({**SMALL_CONFIG.model_dump(), **changes})


def fresh(config=SMALL_CONFIG, *, seed: int = 7, **changes):
    """Build a model with the weights of its initialisation."""
    torch.manual_seed(seed)
    return build_model(config, **changes)


def weights(model) -> dict[str, torch.Tensor]:
    """Copy the weights of a model, without what norms count and windows index."""
    state = model.state_dict().items()
    return {name: tensor.clone() for name, tensor in state if not name.endswith(("tracked", "position_index"))}


def changed(model, before: dict[str, torch.Tensor]) -> set[str]:
    """Return the names of the weights that are no longer what they were."""
    return {name for name, tensor in weights(model).items() if not torch.equal(tensor, before[name])}


def check_report(report: StartReport, model, before: dict[str, torch.Tensor], source: dict[str, torch.Tensor]) -> None:
    """Fail unless a report is true of a model and its weights ``before``, and names tensors of its ``source``."""
    after = weights(model)
    assert set(report.missing) <= after.keys()
    assert report.loaded + len(report.missing) == len(after)
    assert changed(model, before).isdisjoint(report.missing)
    assert set(report.skipped) <= source.keys()
    assert all(tensor.isfinite().all() for tensor in after.values())
