"""The model takes images of any size, and nothing that is not images; its state goes out and in under the published names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import engine
from engine.errors import ArgumentError
from engine.model.build import build_model
from tests.engine.model.small_model import SMALL_CONFIG


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(SMALL_CONFIG).eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (33, 64), (65, 97)])
def test_images_of_any_size(model, size):
    outputs = model(torch.rand(2, 3, *size) * 255)
    height, width = (-(-side // 32) * 8 for side in size)
    assert outputs.mask_logits.shape[0] == 2
    assert outputs.mask_logits.shape[2:] == (height, width)
    assert torch.isfinite(outputs.mask_logits).all()


@torch.no_grad()
def test_images_of_several_sizes_share_the_padding_of_the_largest(model):
    outputs = model([torch.rand(3, 40, 70) * 255, torch.rand(3, 64, 32) * 255])
    assert outputs.mask_logits.shape[2:] == (16, 24)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 4, 64, 64), (0, 3, 64, 64), (1, 64, 64, 3)])
def test_what_is_no_batch_of_images_is_refused(model, shape):
    with pytest.raises(ArgumentError, match="images of shape"):
        model(torch.zeros(shape))


def test_a_model_has_a_class():
    with pytest.raises(ArgumentError, match="num_classes is 0"):
        engine.build_model("maskdino_r50", num_classes=0)


def test_an_exported_state_is_plain_numbers_of_any_kind(model):
    """As ``state_dict`` gives it: no gradient hangs on it, and arrays of another precision come back in too."""
    state = engine.export_official(model)
    assert not any(tensor.requires_grad for tensor in state.values())
    halves = {name: tensor.numpy().astype(np.float16) for name, tensor in state.items()}
    other = build_model(SMALL_CONFIG)
    engine.load_official(other, halves)
    for name, tensor in engine.export_official(other).items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, state[name], rtol=1e-3, atol=1e-3)
