"""What follows from shapes alone is made once, and whoever made it first, everybody can use it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.model.build import build_model
from engine.model.layers.cached_constants import cached
from tests.engine.model.small_model import SMALL_CONFIG


@cached
def _ramp(length: int, *, dtype: torch.dtype) -> Tensor:
    return torch.arange(length, dtype=dtype)


def test_it_is_made_once_for_the_same_arguments() -> None:
    assert _ramp(5, dtype=torch.float32) is _ramp(5, dtype=torch.float32)
    assert _ramp(5, dtype=torch.float64).dtype == torch.float64
    assert len(_ramp(6, dtype=torch.float32)) == 6


def test_what_detection_made_serves_training() -> None:
    with torch.inference_mode():
        _ramp(9, dtype=torch.float32)
    weight = torch.ones(9, requires_grad=True)
    (weight * _ramp(9, dtype=torch.float32)).sum().backward()
    assert torch.equal(weight.grad, torch.arange(9.0))


@pytest.mark.slow
def test_an_export_leaves_nothing_unreal_behind() -> None:
    class Tensors(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            outputs = self.model(images)
            return outputs.class_logits, outputs.mask_logits

    torch.manual_seed(0)
    model = Tensors(build_model(SMALL_CONFIG)).eval()
    images = torch.rand(1, 3, 96, 160) * 255
    with torch.no_grad():
        program = torch.export.export(model, (images,), strict=False)
        for exported, expected in zip(program.module()(images), model(images), strict=True):
            torch.testing.assert_close(exported, expected)
