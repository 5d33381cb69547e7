"""Mask DINO's panoptic and semantic models learn; test_parity.py of the losses holds them against the published ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import engine
from engine.errors import ArgumentError, ConfigError
from engine.model.config import SegmentationConfig
from tests.engine.model.small_model import SMALL_CONFIG, SMALL_PANOPTIC, SMALL_SEMANTIC
from training.losses import DenoisingConfig, LossConfig, Target
from training.objectives import objective_of
from training.objectives.mask_dino import MaskDinoObjective

FEW_POINTS = LossConfig(points=200)


def objective(config: SegmentationConfig, losses: LossConfig = FEW_POINTS) -> MaskDinoObjective:
    torch.manual_seed(0)
    return objective_of(config).build(engine.build_model(config).train(), losses)


def batch() -> tuple[Tensor, list[Target]]:
    """Two images, of which one has two regions and the other none."""
    images = torch.rand(2, 3, 128, 160, generator=torch.Generator().manual_seed(0)) * 255
    masks = torch.zeros(2, 128, 160, dtype=torch.bool)
    masks[0, 10:60, 20:70] = True
    masks[1, 70:] = True
    boxes = torch.tensor([[20, 10, 70, 60], [0, 70, 160, 128]], dtype=torch.float32)
    regions = Target.from_pixels(torch.tensor([1, 4]), boxes, masks)
    nothing = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), torch.zeros(0, 128, 160, dtype=torch.bool))
    return images, [regions, nothing]


@pytest.mark.parametrize("config", [SMALL_PANOPTIC, SMALL_SEMANTIC], ids=lambda config: config.task)
def test_a_few_steps_lower_the_loss_and_reach_every_weight(config: SegmentationConfig) -> None:
    trained = objective(config)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=5e-4)
    images, targets = batch()
    totals = []
    for _ in range(4):
        losses = trained(images, targets)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < totals[0]
    assert all(parameter.grad is not None for parameter in trained.parameters())
    empty = trained(images, [targets[1]] * 2)
    assert empty.keys() == losses.keys()  # logs and workers want the same names in every step
    assert all(torch.isfinite(loss) for loss in empty.values())


def test_learned_queries_have_no_losses_of_proposals_and_are_denoised_from_the_first_layer_on() -> None:
    """As the official criterion names them: it starts at 1 where there is no two-stage selection."""
    terms = {"loss_ce", "loss_mask", "loss_dice", "loss_bbox", "loss_giou"}
    of_kind = {config.task: set(objective(config)(*batch())) for config in (SMALL_PANOPTIC, SMALL_SEMANTIC)}
    layers = ("", "_0", "_1", "_dn", "_dn_1")
    assert of_kind["semantic"] == {term + layer for term in terms for layer in layers}
    assert of_kind["panoptic"] == of_kind["semantic"] | {term + layer for term in terms for layer in ("_dn_0", "_interm")}


def test_a_softmax_is_trained_by_cross_entropy_whatever_else_is_changed() -> None:
    trained = objective(SMALL_SEMANTIC, LossConfig(points=50, no_object_weight=0.3, denoising=DenoisingConfig(mode="no")))
    assert trained.criterion.config.classification == "cross_entropy"
    assert trained.criterion.config.class_cost == "focal"  # as published
    assert trained.criterion.empty_weight.tolist() == pytest.approx([1, 1, 1, 1, 1, 0.3])
    with pytest.raises(ArgumentError, match=r"cross_entropy.*none is for no object"):
        objective(SMALL_CONFIG, LossConfig(classification="cross_entropy"))


def test_only_selected_queries_need_places_in_a_crop() -> None:
    objective_of(SMALL_SEMANTIC).check_crops(SMALL_SEMANTIC, 32)
    with pytest.raises(ConfigError, match="fewer than the model's 300 queries"):
        objective_of(SMALL_PANOPTIC).check_crops(SMALL_PANOPTIC, 64)
