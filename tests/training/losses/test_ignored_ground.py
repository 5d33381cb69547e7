"""Queries on ground where instances are not judged have no part in the classification loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.model.outputs import Outputs, Prediction
from tests.training.losses.tiny_batch import CLASSES, MAP, GridPoints, random_outputs, random_target
from training.losses import Criterion, DenoisingConfig, LossConfig, make_denoising_queries
from training.losses.ignored_ground import ignored_share, on_ignored_ground
from training.losses.target_batch import TargetBatch

SIDE = 4 * MAP


def criterion(classification: str = "focal") -> Criterion:
    denoising = DenoisingConfig(mode="seg" if classification == "focal" else "no")
    config = LossConfig(points=40, classification=classification, denoising=denoising)
    return Criterion(num_classes=CLASSES if classification == "focal" else CLASSES - 1, config=config, random=GridPoints())


def ground(rows: slice = slice(0), columns: slice = slice(None)) -> torch.Tensor:
    """Ignored ground of those rows and columns; nowhere by default."""
    ignored = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    ignored[rows, columns] = True
    return ignored


def on_ground(ignored: torch.Tensor, mask: torch.Tensor | None, box: tuple[float, float, float, float]) -> bool:
    """Whether one query with that mask (MAP, MAP) bool and box, cxcywh, lies on the ground."""
    logits = None if mask is None else torch.where(mask, 2.0, -2.0)[None, None]
    prediction = Prediction(torch.zeros(1, 1, CLASSES), torch.tensor([[box]]), logits)
    share = ignored_share(TargetBatch.of([replace(random_target(0, 1), ignored=ignored)]))
    return bool(on_ignored_ground(prediction, share))


def layers_of(outputs: Outputs) -> list[Prediction]:
    return [outputs, *outputs.auxiliary, outputs.encoder]


def with_extra_queries(outputs: Outputs, rows: slice) -> Outputs:
    """Two more queries in every layer, so unlike the targets that none is matched; their masks fill those rows of cells."""

    def extended(layer: Prediction) -> dict[str, torch.Tensor]:
        images = len(layer.boxes)
        masks = torch.full((images, 2, MAP, MAP), -30.0)
        masks[:, :, rows] = 30.0
        boxes = torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(images, 2, 4)
        classes = torch.full((images, 2, layer.class_logits.shape[-1]), -5.0)
        parts = {"class_logits": classes, "boxes": boxes, "mask_logits": masks}
        return {name: torch.cat([getattr(layer, name), part], dim=1) for name, part in parts.items()}

    return Outputs(
        **extended(outputs),
        auxiliary=[Prediction(**extended(layer)) for layer in outputs.auxiliary],
        encoder=Prediction(**extended(outputs.encoder)),
        denoising=outputs.denoising,
    )


@pytest.mark.parametrize("classification", ["focal", "cross_entropy"])
def test_none_is_the_same_as_nowhere(classification: str) -> None:
    targets = [random_target(0, 2), random_target(1, 0)]
    if classification == "cross_entropy":
        targets = [replace(target, labels=target.labels % (CLASSES - 1)) for target in targets]
    outputs = random_outputs(0)
    plain = criterion(classification)(outputs, targets)
    for others in (
        [replace(target, ignored=ground()) for target in targets],
        [replace(targets[0], ignored=ground()), targets[1]],
    ):
        losses = criterion(classification)(outputs, others)
        assert losses.keys() == plain.keys()
        assert all(torch.equal(losses[name], plain[name]) for name in plain)


@pytest.mark.parametrize("classification", ["focal", "cross_entropy"])
def test_unmatched_queries_on_ignored_ground_might_as_well_not_be_there(classification: str) -> None:
    """The other six are all matched, and so judged wherever they lie."""
    targets = [
        replace(random_target(seed, 6), labels=torch.zeros(6, dtype=torch.int64), ignored=ground(slice(0, 16)))
        for seed in (0, 1)
    ]
    denoising = None
    if classification == "focal":
        denoising = make_denoising_queries(targets, num_queries=6, num_classes=CLASSES, number=6, random=GridPoints())
    outputs = random_outputs(0, denoising=denoising)
    without = criterion(classification)(outputs, targets, denoising)
    more = with_extra_queries(outputs, slice(0, MAP // 2))
    for layer in layers_of(more):
        layer.class_logits.requires_grad_()
    losses = criterion(classification)(more, targets, denoising)
    for name, loss in without.items():
        torch.testing.assert_close(losses[name], loss, msg=lambda text, name=name: f"{name}: {text}")
    criterion(classification).total(losses).backward()
    for layer in layers_of(more):
        assert not layer.class_logits.grad[:, 6:].any()
        assert layer.class_logits.grad[:, :6].any(-1).all()
    # Where instances are judged, the same queries pay.
    judged = criterion(classification)(more, [replace(target, ignored=None) for target in targets], denoising)
    for suffix in ("", "_0", "_1", "_interm"):
        assert judged[f"loss_ce{suffix}"] != losses[f"loss_ce{suffix}"]


def test_denoising_queries_are_judged_everywhere() -> None:
    targets = [random_target(0, 2), random_target(1, 3)]
    denoising = make_denoising_queries(targets, num_queries=6, num_classes=CLASSES, number=6, random=GridPoints())
    outputs = random_outputs(0, denoising=denoising)
    plain = criterion()(outputs, targets, denoising)
    ignored = criterion()(outputs, [replace(target, ignored=~ground()) for target in targets], denoising)
    changed = {name for name in plain if not torch.equal(plain[name], ignored[name])}
    assert changed == {"loss_ce", "loss_ce_0", "loss_ce_1", "loss_ce_interm"}


@pytest.mark.parametrize("classification", ["focal", "cross_entropy"])
def test_an_image_ignored_as_a_whole_teaches_no_class(classification: str) -> None:
    outputs = random_outputs(0, images=1)
    outputs.class_logits.requires_grad_()
    loss = criterion(classification)(outputs, [replace(random_target(0, 0), ignored=~ground())])["loss_ce"]
    loss.backward()
    assert loss == 0 and not outputs.class_logits.grad.any()


def test_more_than_half_of_the_mask_decides() -> None:
    half = torch.zeros(MAP, MAP, dtype=torch.bool)
    half[2:6] = True
    inside, outside = (0.5, 0.1, 0.1, 0.1), (0.5, 0.9, 0.1, 0.1)
    assert not on_ground(ground(slice(0, 16)), half, inside)  # half of it: judged
    assert on_ground(ground(slice(0, 17)), half, outside)  # a row of pixels more: left out, wherever the box lies
    assert not on_ground(ground(), half, inside)


@pytest.mark.parametrize("mask", [None, torch.zeros(MAP, MAP, dtype=torch.bool)])
def test_without_a_mask_the_box_decides(mask: torch.Tensor | None) -> None:
    ignored = ground(slice(0, 16), slice(0, 16))  # the upper left quarter
    assert not on_ground(ignored, mask, (0.5, 0.25, 0.25, 0.25))  # half of it
    assert on_ground(ignored, mask, (0.49, 0.25, 0.25, 0.25))
    assert not on_ground(ignored, mask, (0.25, 0.25, 0.0, 0.0))  # nothing lies nowhere
    assert on_ground(ignored, mask, (0.0, 0.0, 0.9, 0.9))  # what lies beyond the image is not counted
