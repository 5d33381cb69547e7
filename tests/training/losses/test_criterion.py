from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.model.families.maskdino.model import DenoisingQueries
from engine.model.outputs import Outputs
from tests.training.losses.tiny_batch import (
    CLASSES,
    GridPoints,
    perfect_prediction,
    permuted,
    random_outputs,
    random_prediction,
    random_target,
)
from training.errors import DivergedError
from training.losses import Criterion, DenoisingConfig, LossConfig, Target, make_denoising_queries
from training.losses.target_batch import TargetBatch

TERMS = {"loss_ce", "loss_mask", "loss_dice", "loss_bbox", "loss_giou"}


def make_criterion(**config: object) -> Criterion:
    return Criterion(num_classes=CLASSES, config=LossConfig(points=40, **config), random=GridPoints())


def noised(targets: list[Target], number: int = 6) -> DenoisingQueries | None:
    return make_denoising_queries(
        targets, num_queries=6, num_classes=CLASSES, number=number, noise_scale=0.4, random=GridPoints()
    )


def assert_same(losses: dict[str, torch.Tensor], others: dict[str, torch.Tensor], rtol: float = 1e-5) -> None:
    assert losses.keys() == others.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, others[name], rtol=rtol, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_every_layer_has_every_term() -> None:
    """Nine decoder layers give the 105 losses of the published logs."""
    targets = [random_target(0, 2), random_target(1, 3)]
    denoising = noised(targets)
    losses = make_criterion()(random_outputs(0, layers=9, denoising=denoising), targets, denoising)
    layers = ["", *(f"_{i}" for i in range(9))]
    suffixes = [*layers, *(f"_dn{layer}" for layer in layers), "_interm"]
    assert losses.keys() == {term + suffix for term in TERMS for suffix in suffixes}
    assert len(losses) == 105
    assert all(loss.isfinite() and loss >= 0 for loss in losses.values())


@pytest.mark.parametrize("box_loss", ["iou", "diou", "ciou"])
def test_another_box_loss_changes_that_term_alone(box_loss: str) -> None:
    """The name in logs stays, and so do the matches: all other losses are the same to the last bit."""
    targets = [random_target(0, 2), random_target(1, 3)]
    denoising = noised(targets)
    outputs = random_outputs(0, denoising=denoising)
    published, other = (make_criterion(box_loss=kind)(outputs, targets, denoising) for kind in ("giou", box_loss))
    assert published.keys() == other.keys()
    for name, loss in published.items():
        assert torch.equal(loss, other[name]) != name.startswith("loss_giou")


def test_the_total_is_weighted() -> None:
    targets = [random_target(0, 2)]
    denoising = noised(targets)
    criterion = make_criterion()
    losses = criterion(random_outputs(0, images=1, denoising=denoising), targets, denoising)
    assert {criterion.weight(name) for name in losses if name.startswith("loss_ce")} == {4.0}
    assert criterion.weight("loss_giou_dn_1") == 2.0
    expected = sum(criterion.weight(name) * loss for name, loss in losses.items())
    torch.testing.assert_close(criterion.total(losses), expected)


def test_a_perfect_prediction_costs_nothing() -> None:
    """Masks are compared inside whole cells here: along their rims a map of stride 4 cannot be exact."""
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :, :16] = True
    masks[1, :, :] = True
    boxes = torch.tensor([[0.0, 0.0, 16.0, 32.0], [0.0, 0.0, 32.0, 32.0]])
    target = Target.from_pixels(torch.tensor([1, 2]), boxes, masks)

    class AwayFromRims(GridPoints):
        def candidate_points(self, masks: int, count: int, device: torch.device) -> torch.Tensor:
            points = 0.1 + 0.8 * super().candidate_points(masks, count, device)
            return torch.where((points - 0.5).abs() < 0.1, points + 0.25, points)

        uniform_points = candidate_points

    criterion = Criterion(num_classes=CLASSES, config=LossConfig(points=40), random=AwayFromRims())
    losses = criterion(Outputs(**vars(perfect_prediction([target], queries=4))), [target])
    for name in TERMS:
        assert losses[name] == pytest.approx(0, abs=1e-4), name


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_images_queries_and_targets_means_nothing(seed: int) -> None:
    targets = [random_target(seed, 2), random_target(seed + 50, 0), random_target(seed + 99, 4)]
    outputs = random_outputs(seed, images=3)
    losses = make_criterion()(outputs, targets)

    images, queries = torch.tensor([2, 0, 1]), torch.randperm(6)
    shuffled_targets = [targets[i] for i in images]
    order = torch.randperm(4)
    last = shuffled_targets[0]
    shuffled_targets[0] = Target(last.labels[order], last.boxes[order], last.masks[order])
    shuffled = Outputs(
        **vars(permuted(outputs, images=images, queries=queries)),
        auxiliary=[permuted(layer, images=images, queries=queries) for layer in outputs.auxiliary],
        encoder=permuted(outputs.encoder, images=images, queries=queries),
    )
    assert_same(losses, make_criterion()(shuffled, shuffled_targets))


def test_unmatched_queries_only_learn_that_they_are_nothing() -> None:
    outputs = random_outputs(0, images=1, layers=0)
    tensors = (outputs.class_logits, outputs.boxes, outputs.mask_logits)
    for tensor in tensors:
        tensor.requires_grad_()
    target = random_target(0, 2)
    criterion = make_criterion()
    [[match]] = criterion.matcher([outputs], TargetBatch.of([target]))
    criterion.total(criterion(outputs, [target])).backward()
    unmatched = [q for q in range(6) if q not in match.queries]
    assert (outputs.class_logits.grad[0, unmatched] > 0).all()
    assert not outputs.boxes.grad[0, unmatched].any() and not outputs.mask_logits.grad[0, unmatched].any()
    assert outputs.boxes.grad[0, match.queries].any(dim=-1).all()
    assert outputs.mask_logits.grad[0, match.queries].flatten(1).any(dim=-1).all()
    assert (outputs.class_logits.grad[0, match.queries, target.labels[match.targets]] < 0).all()


def test_the_gradient_is_the_slope() -> None:
    outputs = random_outputs(3, images=1, layers=0, queries=3, dtype=torch.float64)
    target = random_target(3, 2, dtype=torch.float64)
    # Uniform points only: which points are the least certain changes by jumps.
    criterion = make_criterion(importance_sample_ratio=0.0)

    def total(class_logits: torch.Tensor, boxes: torch.Tensor, mask_logits: torch.Tensor) -> torch.Tensor:
        return criterion.total(criterion(Outputs(class_logits, boxes, mask_logits), [target]))

    tensors = [t.requires_grad_() for t in (outputs.class_logits, outputs.boxes, outputs.mask_logits)]
    assert torch.autograd.gradcheck(total, tensors)


@pytest.mark.parametrize("counts", [[0, 0], [0, 3], [1, 0], [1, 1], [9, 2]])
def test_any_number_of_targets(counts: list[int]) -> None:
    """None, one, more than queries, more than denoising queries: finite losses under the same names, and a gradient."""
    targets = [random_target(i, count) for i, count in enumerate(counts)]
    denoising = noised(targets)
    assert (denoising is None) == (max(counts) in (0, 9))
    outputs = random_outputs(0, denoising=denoising)
    outputs.class_logits.requires_grad_()
    criterion = make_criterion()
    losses = criterion(outputs, targets, denoising)
    full = [random_target(0, 2), random_target(1, 2)]
    assert losses.keys() == criterion(random_outputs(0, denoising=noised(full)), full, noised(full)).keys()
    assert all(loss.isfinite() for loss in losses.values())
    if denoising is None:
        assert not any(loss for name, loss in losses.items() if "_dn" in name)
    criterion.total(losses).backward()
    assert outputs.class_logits.grad.any()


def test_denoising_queries_answer_for_their_own_targets() -> None:
    """Right answers at each slot cost nothing but the class of padding slots, which must be nothing."""
    targets = [random_target(0, 1), random_target(1, 3)]
    denoising = noised(targets, number=9)
    assert denoising.groups == 3
    copies = [perfect_prediction([target], queries=3) for target in targets]
    right = [torch.cat([getattr(copy, name) for copy in copies]).repeat(1, 3, *[1] * rest) for name, rest in
             (("class_logits", 1), ("boxes", 1), ("mask_logits", 2))]  # fmt: skip
    outputs = random_outputs(0, layers=0, denoising=denoising)
    outputs.denoising = [type(outputs.encoder)(*right)]
    losses = make_criterion()(outputs, targets, denoising)
    for name in ("loss_ce_dn", "loss_bbox_dn", "loss_giou_dn"):
        assert losses[name] == pytest.approx(0, abs=2e-4), name

    # A padding slot (the first image has one target, its slots 1 and 2 hold nothing) that claims to be something pays.
    outputs.denoising[0].class_logits[0, 1, 0] = 40.0
    assert make_criterion()(outputs, targets, denoising)["loss_ce_dn"] > 1


@pytest.mark.parametrize(("mode", "expected"), [("no", set()), ("box", TERMS - {"loss_mask", "loss_dice"}), ("seg", TERMS)])
def test_what_is_denoised(mode: str, expected: set[str]) -> None:
    targets = [random_target(0, 2)]
    criterion = make_criterion(denoising=DenoisingConfig(mode=mode))
    for denoising in (noised(targets), None):
        losses = criterion(random_outputs(0, images=1, layers=1, denoising=denoising), targets, denoising)
        names = {name for name in losses if "_dn" in name}
        assert names == {term + suffix for term in expected for suffix in ("_dn", "_dn_0")}


def test_without_two_stages_the_first_prediction_is_not_denoised() -> None:
    targets = [random_target(0, 2)]
    denoising = noised(targets)
    outputs = random_outputs(0, images=1, layers=2, denoising=denoising)
    losses = make_criterion()(replace(outputs, encoder=None), targets, denoising)
    assert "loss_ce_0" in losses and "loss_ce_dn_1" in losses
    assert "loss_ce_dn_0" not in losses and "loss_ce_interm" not in losses


def test_without_deep_supervision_the_last_layer_learns_alone() -> None:
    targets = [random_target(0, 2)]
    denoising = noised(targets)
    losses = make_criterion(deep_supervision=False)(random_outputs(0, images=1, denoising=denoising), targets, denoising)
    assert losses.keys() == {term + suffix for term in TERMS for suffix in ("", "_dn", "_interm")}


def test_unpadded_masks_are_padded_as_the_images_are() -> None:
    target = random_target(0, 3, size=27)
    outputs = random_outputs(0, images=1)
    assert_same(make_criterion()(outputs, [target]), make_criterion()(outputs, [target.padded(32, 32)]))


def test_half_precision_is_computed_in_single() -> None:
    targets = [random_target(0, 2), random_target(1, 3)]
    half = random_outputs(0, dtype=torch.bfloat16)

    def widened(prediction: Outputs) -> dict[str, torch.Tensor]:
        return {name: getattr(prediction, name).float() for name in ("class_logits", "boxes", "mask_logits")}

    single = Outputs(
        **widened(half),
        auxiliary=[type(half.encoder)(**widened(layer)) for layer in half.auxiliary],
        encoder=type(half.encoder)(**widened(half.encoder)),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = make_criterion()(half, targets)
    assert {loss.dtype for name, loss in losses.items() if "_dn" not in name} == {torch.float32}
    assert_same({n: v.float() for n, v in losses.items()}, {n: v.float() for n, v in make_criterion()(single, targets).items()})


def test_cross_entropy_knows_an_extra_class() -> None:
    """Certain of the right classes, and of "no object" elsewhere, it is zero; its weight for "no object" counts."""
    target = random_target(0, 2)
    prediction = random_prediction(0, images=1)
    criterion = make_criterion(classification="cross_entropy", denoising=DenoisingConfig(mode="no"))
    logits = torch.full((1, 6, CLASSES + 1), -40.0)
    outputs = Outputs(logits, prediction.boxes, prediction.mask_logits)
    [[match]] = criterion.matcher([outputs], TargetBatch.of([target]))
    logits[0, :, CLASSES] = 40.0
    logits[0, match.queries] = -40.0
    logits[0, match.queries, target.labels[match.targets]] = 40.0
    assert criterion(outputs, [target])["loss_ce"] == pytest.approx(0, abs=1e-6)

    unsure = Outputs(torch.zeros_like(logits), prediction.boxes, prediction.mask_logits)
    assert criterion(unsure, [target])["loss_ce"].item() == pytest.approx(torch.tensor(4.0).log().item())


def test_outputs_that_are_not_numbers_are_refused() -> None:
    outputs = random_outputs(0)
    outputs.auxiliary[0].boxes[:] = float("nan")
    with pytest.raises(DivergedError):
        make_criterion()(outputs, [random_target(0, 1), random_target(1, 1)])


def test_nothing_of_it_is_stored_in_a_checkpoint() -> None:
    assert not make_criterion().state_dict()
