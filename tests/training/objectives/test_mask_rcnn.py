"""The baseline learns from the same targets as Mask DINO."""

from __future__ import annotations

import pytest
import torch

from engine.model.build import build_model
from engine.model.families.mask_rcnn.model import MaskRcnn
from tests.engine.model.families.small_mask_rcnn import SMALL_MASK_RCNN
from training.losses import LossConfig, Target
from training.objectives import objective_of

NAMES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}


def target(*corners: tuple[int, int, int, int], size: int = 64) -> Target:
    masks = torch.zeros(len(corners), size, size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = True
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return Target.from_pixels(torch.zeros(len(corners), dtype=torch.int64), boxes, masks)


@pytest.fixture
def objective():
    torch.manual_seed(0)
    model = build_model(SMALL_MASK_RCNN).train()
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 48  # of 512 boxes to learn from: for the sake of time
    return objective_of(model.config).build(model, LossConfig())


@pytest.mark.slow
def test_a_few_steps_on_one_image_lower_the_loss_and_find_its_building(objective):
    wanted = target((12, 20, 44, 52))
    images = torch.where(wanted.masks.any(0), 200.0, 80.0).expand(1, 3, 64, 64)
    optimizer = torch.optim.AdamW(objective.model.parameters(), lr=3e-3)
    totals = []
    for _ in range(120):  # after 60, which of its boxes is the best depends on the processor
        losses = objective(images, [wanted])
        assert losses.keys() == NAMES
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-3:]) < 0.4 * sum(totals[:3])
    (found,) = objective.model.eval().instances(images)
    overlap = (found.masks[0] & wanted.masks[0]).sum() / (found.masks[0] | wanted.masks[0]).sum()
    assert overlap > 0.7


def test_an_image_without_buildings_teaches_the_background(objective):
    losses = objective(torch.full((1, 3, 64, 64), 80.0), [target()])
    assert losses["loss_mask"] == losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)
    assert all(torch.isfinite(buffer).all() for buffer in objective.buffers())


def test_an_empty_box_is_left_out(objective):
    torch.manual_seed(1)
    whole = objective(torch.full((1, 3, 64, 64), 80.0), [target((10, 10, 30, 30))])
    torch.manual_seed(1)
    with_empty = objective(torch.full((1, 3, 64, 64), 80.0), [target((10, 10, 30, 30), (5, 5, 5, 9))])
    for name in NAMES:
        torch.testing.assert_close(with_empty[name], whole[name])


def of(objective, *, seed: int = 1, **losses) -> dict[str, torch.Tensor]:
    """Losses of a picture with two buildings; which boxes are looked at depends on the seed alone."""
    torch.manual_seed(seed)
    wanted = target((10, 10, 30, 30), (34, 8, 60, 50))
    other = objective_of(objective.model.config).build(objective.model, LossConfig(**losses))
    return other(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 255, [wanted])


def test_without_another_box_loss_all_are_torchvisions(objective):
    found = of(objective)
    torch.manual_seed(1)
    model: MaskRcnn = objective.model
    wanted = target((10, 10, 30, 30), (34, 8, 60, 50))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 255
    corners = torch.tensor([[10, 10, 30, 30], [34, 8, 60, 50]], dtype=torch.float32)
    targets = [{"boxes": corners, "labels": torch.ones(2, dtype=torch.int64), "masks": wanted.masks.byte()}]
    batch, features = model.see(images)
    proposals, of_proposals = model.rpn(batch, features, targets)
    _, of_heads = model.roi_heads(features, proposals, batch.image_sizes, targets)
    expected = {**of_heads, **of_proposals}
    assert found.keys() == expected.keys() == NAMES
    for name in NAMES:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("box_loss", ["giou", "iou", "diou", "ciou"])
def test_another_box_loss_changes_that_term_alone_and_falls_as_boxes_come_closer(objective, box_loss):
    published, other = of(objective), of(objective, box_loss=box_loss)
    for name in NAMES - {"loss_box_reg"}:
        torch.testing.assert_close(other[name], published[name])
    assert other["loss_box_reg"] != published["loss_box_reg"]
    twice = of(objective, box_loss=box_loss, weights={"giou": 4.0})
    torch.testing.assert_close(twice["loss_box_reg"], 2 * other["loss_box_reg"])
    weight = objective.model.roi_heads.box_predictor.bbox_pred.weight
    (gradient,) = torch.autograd.grad(other["loss_box_reg"], weight)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        weight -= 1e-3 * gradient / gradient.norm()
    assert of(objective, box_loss=box_loss)["loss_box_reg"] < other["loss_box_reg"]


def test_another_box_loss_of_an_image_without_buildings_is_nothing(objective):
    objective.losses = LossConfig(box_loss="ciou")
    losses = objective(torch.full((1, 3, 64, 64), 80.0), [target()])
    assert losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)
