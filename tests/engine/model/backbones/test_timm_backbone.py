"""A convolutional network of timm as a backbone: by name, without weights, and never more than a model file justifies."""

from __future__ import annotations

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from engine.errors import ConfigError, ModelFileError
from engine.model.backbones import STRIDES, build_backbone
from engine.model.build import build_model
from engine.model.config import TimmConfig
from engine.model.families.maskdino.config import MaskDinoConfig
from engine.model.families.registry import parse_model_config
from engine.model.folded_norms import fold_norms
from engine.model.header import ModelHeader
from engine.model.model_file import METADATA_KEY, load_model, save_model
from tests.engine.model.small_model import SMALL_CONFIG, TIMM_FAMILIES

IDS = [config.model for config in TIMM_FAMILIES]
SMALL_TIMM = MaskDinoConfig.model_validate({**SMALL_CONFIG.model_dump(), "backbone": TIMM_FAMILIES[1].model_dump()})


def settled(config: TimmConfig) -> nn.Module:
    """A backbone whose norms have statistics, weights and biases as of a training."""
    torch.manual_seed(0)
    backbone = build_backbone(config)
    with torch.no_grad():
        for norm in backbone.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_(std=0.3)
                norm.running_var.uniform_(0.5, 2.0)
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(std=0.3)
    return backbone.eval()


@pytest.mark.parametrize("config", TIMM_FAMILIES, ids=IDS)
def test_maps_have_the_strides_and_widths_that_are_told(config):
    backbone = build_backbone(config).eval()
    with torch.no_grad():
        maps = backbone(torch.rand(2, 3, 64, 96))
    sizes = {name: (2, backbone.channels[name], 64 // stride, 96 // stride) for name, stride in STRIDES.items()}
    assert {name: tuple(features.shape) for name, features in maps.items()} == sizes
    assert tuple(backbone.channels.values()) == config.channels


@pytest.mark.parametrize("config", TIMM_FAMILIES, ids=IDS)
@pytest.mark.parametrize("size", [(96, 64), (97, 75)], ids=["even", "odd"])
def test_folded_norms_change_nothing(config, size):
    backbone = settled(config)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = backbone(images)
        fold_norms(backbone, lambda: backbone(images))
        found = backbone(images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    for name in STRIDES:
        assert (found[name] - expected[name]).norm() < 1e-5 * expected[name].norm(), name


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("tf_efficientnet_lite9", "has no model 'tf_efficientnet_lite9'.*tf_efficientnet_lite"),
        ("vit_tiny_patch16_224", "cannot be a backbone"),
        ("efficientvit_m0", "strides 4, 8, 16 and 32"),
        ("swin_tiny_patch4_window7_224", "cannot be a backbone"),
        ("tf_efficientnet_lite2", r"channels is \[1, 2, 3, 4\].*\[24, 48, 120, 352\]"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(model, text):
    with pytest.raises(ConfigError, match=text):
        build_backbone(TimmConfig(model=model, channels=(1, 2, 3, 4)))


def test_paths_that_are_not_there_cannot_be_dropped():
    with pytest.raises(ConfigError, match=r"drop_path is 0\.2; vgg11"):
        build_backbone(TimmConfig(model="vgg11", channels=(256, 512, 512, 512), drop_path=0.2))


@pytest.mark.parametrize("model", ["hf-hub:someone/model", "local-dir:/tmp", "../resnet18", "resnet18.a1_in1k", "", "a" * 500])
def test_a_name_is_a_name_in_the_registry_and_nothing_else(model):
    with pytest.raises(ValidationError):
        TimmConfig(model=model, channels=(1, 2, 3, 4))


def test_weights_are_fresh_and_nothing_is_downloaded(monkeypatch):
    def refused(*_arguments, **_names):
        raise AssertionError("a download was tried")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refused)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", refused, raising=False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = build_backbone(TIMM_FAMILIES[0])
        torch.manual_seed(2)
        other = build_backbone(TIMM_FAMILIES[0])
    assert not torch.equal(one.body.conv_stem.weight, other.body.conv_stem.weight)


def test_a_model_file_gives_it_back(tmp_path):
    torch.manual_seed(0)
    model = build_model(SMALL_TIMM).eval()
    header = ModelHeader(name="m", config=SMALL_TIMM, classes=("a", "b"))
    loaded = load_model(save_model(tmp_path / "m.safetensors", model, header))
    assert loaded.config.backbone == TIMM_FAMILIES[1]
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("model", "channels", "text"),
    [
        ("convnextv2_huge", (352, 704, 1408, 2816), "not those of its config"),
        ("no_such_model", (1, 2, 3, 4), "no model can be built"),
    ],
)
def test_a_file_that_names_a_large_model_takes_no_memory(tmp_path, monkeypatch, model, channels, text):
    config = {**SMALL_TIMM.model_dump(mode="json"), "backbone": {"kind": "timm", "model": model, "channels": channels}}
    document = ModelHeader(name="m", config=parse_model_config(config), classes=("a", "b")).to_json()
    path = tmp_path / "hostile.safetensors"
    save_file({f"t{number}": torch.zeros(1) for number in range(2000)}, path, metadata={METADATA_KEY: document})
    devices = []
    create = timm.create_model

    def watched(*arguments, **names):
        body = create(*arguments, **names)
        devices.extend({parameter.device.type for parameter in body.parameters()})
        return body

    monkeypatch.setattr(timm, "create_model", watched)
    with pytest.raises(ModelFileError, match=text):
        load_model(path)
    assert set(devices) <= {"meta"}
