"""Mask2Former is trained as its makers train it, and like any other model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import engine
from engine.errors import ArgumentError
from engine.model.families.mask2former.published_names import published_name
from engine.model.outputs import Outputs
from tests.engine.model.families.mask2former.small import SMALL, filled
from tests.training.losses.golden import FixedRandom
from training.losses import MASK2FORMER_LOSSES, Criterion, DenoisingConfig, LossConfig, Target, TermWeights
from training.losses.target_batch import TargetBatch
from training.objectives import objective_of
from training.objectives.mask2former import Mask2FormerObjective

GOLDEN = Path(__file__).parent / "golden" / "mask2former_small_step.npz"
UNDROPPED = SMALL.model_copy(update={"backbone": SMALL.backbone.model_copy(update={"drop_path": 0.0})})


@dataclass
class Steps:
    """Two steps of ours on what the official code was given, in float32 or float64."""

    dtype: torch.dtype

    def __post_init__(self) -> None:
        arrays = dict(np.load(GOLDEN))
        self.meta = json.loads(str(arrays["meta"]))
        images = torch.stack([torch.from_numpy(arrays[f"image{i}"]).permute(2, 0, 1) for i in range(2)]).to(self.dtype)
        self.targets = []
        for i, image in enumerate(images):
            masks = torch.from_numpy(np.unpackbits(arrays[f"masks{i}"], axis=-1, count=image.shape[-1]).astype(bool))
            labels = torch.from_numpy(arrays[f"labels{i}"])
            self.targets.append(Target(labels, torch.zeros(len(labels), 4, dtype=self.dtype), masks))
        model = filled(UNDROPPED, self.meta["suffix"]).to(self.dtype).train()
        self.objective = Mask2FormerObjective(model, LossConfig(), random=FixedRandom(fixed_points=False))
        self.outputs: list[Outputs] = []
        model.register_forward_hook(lambda module, given, made: self.outputs.append(made))
        self.losses = [self.objective(images, self.targets)]
        sum(self.losses[0].values()).backward()
        self.gradient_norms = {published_name(name): p.grad.double().norm().item() for name, p in model.named_parameters()}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-3 * parameter.grad
        self.losses.append(self.objective(images, self.targets))

    @cached_property
    def matches(self) -> list[list[list[list[int]]]]:
        found = []
        for outputs in self.outputs:
            batch = TargetBatch.of(self.targets)
            matches = self.objective.criterion.matcher([outputs, *outputs.auxiliary], batch)
            found += [[[match.queries.tolist(), match.targets.tolist()] for match in layer] for layer in matches]
        return found


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def steps(request: pytest.FixtureRequest) -> Steps:
    return Steps(request.param)


def test_the_losses_of_two_steps_are_the_published_ones(steps: Steps) -> None:
    double = steps.dtype == torch.float64
    expected = steps.meta["losses_f64" if double else "losses"]
    for found, published in zip(steps.losses, expected, strict=True):
        assert found.keys() == published.keys()
        for name, loss in found.items():
            assert loss.item() == pytest.approx(published[name], rel=1e-6 if double else 1e-4), name


def test_every_layer_is_matched_as_published(steps: Steps) -> None:
    assert steps.matches == steps.meta["matches"]


def test_gradients_are_as_long_as_published(steps: Steps) -> None:
    double = steps.dtype == torch.float64
    expected = steps.meta["gradient_norms_f64" if double else "gradient_norms"]
    assert steps.gradient_norms.keys() == expected.keys()
    errors = np.array([abs(steps.gradient_norms[name] - norm) / norm for name, norm in expected.items()])
    # Where a sampling point crosses from one pixel to the next its gradient jumps.
    bounds = (1e-6, 1e-4, 1e-4) if double else (1e-4, 2e-3, 5e-3)
    assert (np.percentile(errors, (50, 99, 100)) <= bounds).all()


def batch() -> tuple[Tensor, list[Target]]:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 8:40, 16:30] = True
    target = Target(torch.tensor([1]), torch.tensor([[0.36, 0.375, 0.22, 0.5]]), masks)
    nothing = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), torch.zeros(0, 64, 64, dtype=torch.bool))
    return images, [target, nothing]


def test_training_lowers_the_loss_and_takes_images_without_instances() -> None:
    torch.manual_seed(0)
    objective = objective_of(UNDROPPED).build(engine.build_model(UNDROPPED).train(), LossConfig(points=400))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-4)
    images, targets = batch()
    totals = []
    for _ in range(6):
        loss = sum(objective(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < totals[0]
    assert np.isfinite([sum(objective(images, [targets[1]] * 2).values()).item()]).all()


def test_what_differs_from_the_defaults_replaces_the_published_losses_and_nothing_else_does() -> None:
    model = engine.build_model(UNDROPPED)
    saved = LossConfig.model_validate(LossConfig().model_dump())  # names every default
    assert objective_of(UNDROPPED).build(model, saved).criterion.config == MASK2FORMER_LOSSES
    changed = objective_of(UNDROPPED).build(model, LossConfig(points=99, weights=TermWeights(mask=3.0))).criterion
    assert changed.config == MASK2FORMER_LOSSES.model_copy(
        update={"points": 99, "weights": MASK2FORMER_LOSSES.weights.model_copy(update={"mask": 3.0})}
    )
    assert (changed.weight("loss_mask_3"), changed.weight("loss_ce")) == (3.0, 2.0)
    with pytest.raises(ArgumentError, match=r"losses\.denoising\.mode is 'box'; Mask2Former has no denoising queries"):
        objective_of(UNDROPPED).build(model, LossConfig(denoising=DenoisingConfig(mode="box")))


def test_queries_on_ignored_ground_have_no_part_in_the_class_loss() -> None:
    """Without boxes it is the masks alone that say where a query is."""
    logits = torch.zeros(1, 2, 4)
    logits[0, 1, 0] = 9.0  # sure of an object where nobody judges
    masks = torch.full((1, 2, 4, 4), -9.0)
    masks[0, 0, :2], masks[0, 1, 2:] = 9.0, 9.0
    ground = torch.zeros(16, 16, dtype=torch.bool)
    ground[8:] = True
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, :8] = True
    criterion = Criterion(num_classes=3, config=MASK2FORMER_LOSSES)
    losses = [
        criterion(Outputs(logits, None, masks), [Target(torch.tensor([2]), torch.zeros(1, 4), mask, ignored)])
        for ignored in (None, ground)
    ]
    assert losses[0]["loss_ce"] > losses[1]["loss_ce"] == pytest.approx(np.log(4))
    assert losses[0].keys() == losses[1].keys() == {"loss_ce", "loss_mask", "loss_dice"}
