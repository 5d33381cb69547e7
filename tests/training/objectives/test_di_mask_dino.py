"""DI-MaskDINO is trained as its makers train it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ConfigError
from engine.model.build import build_model
from engine.model.families.registry import family_of
from engine.model.outputs import Outputs
from tests.engine.model.families.dimaskdino.small import OFFICIAL_WIDTH, SMALL_DI, filled
from tests.training.losses.golden import FixedRandom
from training.losses import Criterion, LossConfig, Target
from training.losses.target_batch import TargetBatch
from training.objectives import objective_of
from training.objectives.di_mask_dino import DiMaskDinoObjective

GOLDEN = Path(__file__).parent / "golden" / "di_mask_dino_small_step.npz"


@dataclass
class Steps:
    """Two steps of ours on what the official code was given, in float32 or float64."""

    dtype: torch.dtype

    def __post_init__(self) -> None:
        arrays = dict(np.load(GOLDEN))
        self.meta = json.loads(str(arrays["meta"]))
        images, self.targets = [], []
        for i in range(2):
            images.append(torch.from_numpy(arrays[f"image{i}"]).permute(2, 0, 1).to(self.dtype))
            masks = np.unpackbits(arrays[f"masks{i}"], axis=-1, count=images[i].shape[-1]).astype(bool)
            boxes = torch.from_numpy(arrays[f"boxes_xyxy{i}"]).to(self.dtype)
            self.targets.append(Target.from_pixels(torch.from_numpy(arrays[f"labels{i}"]), boxes, torch.from_numpy(masks)))
        model = filled(OFFICIAL_WIDTH, self.meta["suffix"]).to(self.dtype).train()
        self.objective = DiMaskDinoObjective(model, LossConfig(), random=FixedRandom(fixed_points=False))
        self.outputs: list[Outputs] = []
        model.register_forward_hook(lambda module, given, made: self.outputs.append(made))
        self.losses = [self.objective(images, self.targets)]
        sum(self.losses[0].values()).backward()
        names = family_of(OFFICIAL_WIDTH).published_names
        self.gradient_norms = {
            min(names(name, OFFICIAL_WIDTH)): p.grad.double().norm().item() for name, p in model.named_parameters()
        }
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-3 * parameter.grad
        self.losses.append(self.objective(images, self.targets))

    @cached_property
    def matches(self) -> list[list[list[list[int]]]]:
        """Of the last layer, the token interaction, the layers before the last and the proposals, step after step."""
        found = []
        for outputs in self.outputs:
            batch = TargetBatch.of(self.targets, size=(96, 128))
            predictions = [outputs, *outputs.interaction, *outputs.auxiliary, outputs.encoder]
            matches = self.objective.criterion.matcher(predictions, batch)
            found += [[[match.queries.tolist(), match.targets.tolist()] for match in layer] for layer in matches]
        return found


@pytest.fixture(scope="module", params=[torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)], ids=str)
def steps(request: pytest.FixtureRequest) -> Steps:
    return Steps(request.param)


def test_the_losses_of_two_steps_are_the_published_ones(steps: Steps) -> None:
    double = steps.dtype == torch.float64
    expected = steps.meta["losses_f64" if double else "losses"]
    for found, published in zip(steps.losses, expected, strict=True):
        assert found.keys() == published.keys()
        for name, loss in found.items():
            assert loss.item() == pytest.approx(published[name], rel=1e-6 if double else 1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("steps", [torch.float64], indirect=True)
def test_every_layer_is_matched_as_published(steps: Steps) -> None:
    """In float64, where no scores tie by which the queries are numbered."""
    assert steps.matches == steps.meta["matches"]


def test_gradients_are_as_long_as_published(steps: Steps) -> None:
    double = steps.dtype == torch.float64
    expected = steps.meta["gradient_norms_f64" if double else "gradient_norms"]
    assert steps.gradient_norms.keys() == expected.keys()
    errors = np.array([abs(steps.gradient_norms[name] - norm) / norm for name, norm in expected.items()])
    # Where a sampling point crosses from one pixel to the next its gradient jumps.
    bounds = (1e-6, 1e-4, 1e-4) if double else (1e-4, 2e-3, 5e-3)
    assert (np.percentile(errors, (50, 99, 100)) <= bounds).all()


def batch() -> tuple[torch.Tensor, list[Target]]:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    masks = torch.zeros(1, 64, 96, dtype=torch.bool)
    masks[0, 8:40, 16:30] = True
    target = Target(torch.tensor([1]), torch.tensor([[0.24, 0.375, 0.146, 0.5]]), masks)
    nothing = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), torch.zeros(0, 64, 96, dtype=torch.bool))
    return images, [target, nothing]


def test_training_lowers_the_loss_and_takes_images_without_instances() -> None:
    torch.manual_seed(0)
    objective = objective_of(SMALL_DI).build(build_model(SMALL_DI).train(), LossConfig(points=400))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-4)
    images, targets = batch()
    totals = []
    for _ in range(6):
        losses = objective(images, targets)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < totals[0]
    assert all(parameter.grad is not None for parameter in objective.parameters())
    empty = objective(images, [targets[1]] * 2)
    assert empty.keys() == losses.keys()  # logs and workers want the same names in every step
    assert all(torch.isfinite(loss) for loss in empty.values())


def test_the_token_interaction_is_trained_as_a_detector_and_left_out_without_deep_supervision() -> None:
    images, targets = batch()
    outputs = filled(SMALL_DI, "").train()(images)
    criterion = Criterion(num_classes=SMALL_DI.num_classes, config=LossConfig(points=50))
    losses = criterion(outputs, targets)
    names = {name for name in losses if name.startswith("oldm")}
    assert names == {f"oldm_loss_{term}_{layer}" for term in ("ce", "bbox", "giou") for layer in range(2)}
    assert [criterion.weight(f"oldm_loss_{term}_1") for term in ("ce", "bbox", "giou")] == [4.0, 5.0, 2.0]
    alone = Criterion(num_classes=SMALL_DI.num_classes, config=LossConfig(points=50, deep_supervision=False))
    assert not any(name.startswith("oldm") for name in alone(outputs, targets))


def test_crops_have_as_many_places_as_are_selected_first() -> None:
    objective = objective_of(SMALL_DI)
    objective.check_crops(SMALL_DI, 64)
    with pytest.raises(ConfigError, match="such crops have 22 places to look at, fewer than the model's 40 queries"):
        objective.check_crops(SMALL_DI, 32)
