"""Computing anew in the backward pass changes what is kept in memory, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch

from engine.model.build import build_model
from engine.model.config import ResNetConfig, SwinConfig, TimmConfig
from tests.engine.model.small_model import SMALL_CONFIG
from training.run.activation_checkpointing import checkpoint_activations

BACKBONES = {
    "frozen norms": SMALL_CONFIG.backbone,
    "batch norms": ResNetConfig(block="basic", depths=(1, 2, 1, 1), widths=(8, 16, 24, 32), norm="batch"),
    "Swin with dropped paths": SwinConfig(embed_dim=16, depths=(1, 1, 2, 1), heads=(1, 2, 2, 4), window_size=4, drop_path=0.5),
    "MobileNetV3": TimmConfig(model="mobilenetv3_small_050", channels=(8, 16, 24, 288), drop_path=0.3),
    "ConvNeXt": TimmConfig(model="convnext_atto", channels=(40, 80, 160, 320), drop_path=0.3),
    "ResNet-D": TimmConfig(model="resnet18d", channels=(64, 128, 256, 512)),
}


def small_model(backbone: str) -> torch.nn.Module:
    torch.manual_seed(0)
    config = SMALL_CONFIG.model_copy(update={"backbone": BACKBONES[backbone]})
    return build_model(config).double().train()


def train_step(model: torch.nn.Module) -> tuple[torch.Tensor, int]:
    """Run forward and backward; return the loss and the bytes that were kept between them."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)).double() * 255
    torch.manual_seed(2)  # of the dropped paths
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(images)
    loss = outputs.mask_logits.square().mean() + outputs.class_logits.square().mean() + outputs.boxes.mean()
    loss.backward()
    return loss.detach(), sum(kept.values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_and_statistics_are_those_without(backbone):
    plain, frugal = small_model(backbone), small_model(backbone)
    checkpoint_activations(frugal)
    assert frugal.state_dict().keys() == plain.state_dict().keys()
    loss, memory = train_step(plain)
    again, less = train_step(frugal)
    torch.testing.assert_close(again, loss, rtol=1e-12, atol=0)
    assert less < 0.6 * memory
    for (name, parameter), other in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        if parameter.grad is None:
            assert other.grad is None, name
        else:
            torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-9, atol=1e-12, msg=name)
    for (name, buffer), other in zip(plain.named_buffers(), frugal.buffers(), strict=True):
        torch.testing.assert_close(other, buffer, rtol=1e-12, atol=0, msg=name)


def test_a_copy_computes_with_its_own_weights():
    model = small_model("frozen norms")
    checkpoint_activations(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    train_step(other)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert any(parameter.grad is not None for parameter in other.parameters())


def test_a_model_that_only_predicts_computes_once():
    model = small_model("frozen norms").eval()
    expected = model(torch.zeros(1, 3, 64, 128, dtype=torch.float64)).mask_logits
    checkpoint_activations(model)
    calls = []
    model.decoder.layers[0].register_forward_hook(lambda *_: calls.append(1))
    found = model(torch.zeros(1, 3, 64, 128, dtype=torch.float64)).mask_logits
    found.sum().backward()
    assert len(calls) == 1
    torch.testing.assert_close(found, expected)
