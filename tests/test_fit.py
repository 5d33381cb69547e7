"""The plain training loop: it learns, it stops, and it goes on where it was."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import torch

from engine.model.build import build_model
from engine.model.config import DecoderConfig, ModelConfig, PixelDecoderConfig, ResNetConfig
from training.data.dataset import target_of_masks
from training.fit import Fit, FitSettings
from training.losses import DenoisingConfig, LossConfig

CONFIG = ModelConfig(
    num_classes=1,
    backbone=ResNetConfig(block="basic", depths=(1, 1, 1, 1), widths=(16, 16, 24, 32), norm="batch"),
    hidden_dim=32,
    pixel_decoder=PixelDecoderConfig(layers=1, feedforward=48, mask_dim=32),
    decoder=DecoderConfig(layers=2, feedforward=40, queries=10, box_initialisation="bitmask"),
)
LOSSES = LossConfig(points=64, denoising=DenoisingConfig(number=6))


def _batches(first: int):
    """One bright house a picture, at a place that follows from the number of the step."""
    for step in count(first):
        place = 8 * (step % 4)
        masks = torch.zeros(1, 64, 64, dtype=torch.bool)
        masks[0, place : place + 24, 16:44] = True
        image = 60.0 + 150.0 * masks.expand(3, -1, -1)
        yield torch.stack([image, image.flip(1)]), [target_of_masks(masks), target_of_masks(masks.flip(1))]


def _fit(folder: Path, *, seconds: float = 1e6) -> Fit:
    torch.manual_seed(0)
    return Fit(build_model(CONFIG), losses=LOSSES, settings=FitSettings(seconds=seconds, warm_up=5), folder=folder)


def test_the_loss_falls(tmp_path: Path) -> None:
    fit = _fit(tmp_path)
    totals = [fit._train(*batch)["total"] for batch, _ in zip(_batches(0), range(60), strict=False)]
    assert sum(totals[-10:]) < 0.8 * sum(totals[:10])


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path: Path) -> None:
    """Weights, averages, optimizer and step: all of it is in the checkpoint."""

    def steps(fit: Fit, number: int) -> None:
        for batch, _ in zip(_batches(fit.step), range(number), strict=False):
            torch.manual_seed(fit.step)  # points and noise are drawn from the global generator
            fit._train(*batch)

    whole = _fit(tmp_path / "whole")
    steps(whole, 6)
    first = _fit(tmp_path / "parts")
    steps(first, 3)
    first._save()
    second = _fit(tmp_path / "parts")
    assert second.step == 3
    steps(second, 3)
    for ours, theirs in ((whole.model, second.model), (whole.averaged, second.averaged)):
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_it_ends_with_a_checkpoint_a_record_and_a_validation(tmp_path: Path) -> None:
    fit = _fit(tmp_path, seconds=0.001)
    seen = []
    fit.run(_batches(0), validate=lambda model: seen.append(model) or {})
    assert fit.progress == 1 and fit.step == 1
    assert seen == [fit.averaged.module]
    assert _fit(tmp_path).step == 1


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    fit = _fit(tmp_path)
    fit._save()
    other = build_model(CONFIG.model_copy(update={"num_classes": 3}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        Fit(other, losses=LOSSES, settings=fit.settings, folder=tmp_path)
