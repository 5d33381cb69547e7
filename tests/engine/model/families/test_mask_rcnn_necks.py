"""The necks of Mask R-CNN: sizes of maps, the arithmetic of the papers, and models with each, saved and loaded."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import engine
from engine.errors import ConfigError, ModelFileError
from engine.model.config import TimmConfig
from engine.model.families.mask_rcnn.config import BifpnConfig, FpnConfig, MaskRcnnConfig, PanetConfig
from engine.model.families.mask_rcnn.necks import build_neck
from engine.model.families.registry import parse_model_config
from engine.model.header import ModelHeader
from engine.model.inference import InferenceModel
from engine.model.model_file import read_header, save_model
from tests.engine.model.families.small_mask_rcnn import SMALL_MASK_RCNN

NECKS = [FpnConfig(), PanetConfig(), BifpnConfig(layers=2)]
CHANNELS = {"res2": 6, "res3": 10, "res4": 12, "res5": 14}
DIM = 8
by_kind = pytest.mark.parametrize("neck", NECKS, ids=lambda neck: neck.kind)


def maps(height: int = 96, width: int = 160) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((height // stride, width // stride) for stride in (4, 8, 16, 32))
    return {
        name: torch.randn(2, CHANNELS[name], *size, generator=generator) for name, size in zip(CHANNELS, sizes, strict=True)
    }


def counted(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(neck) -> MaskRcnnConfig:
    return SMALL_MASK_RCNN.model_copy(update={"neck": neck})


@by_kind
@pytest.mark.parametrize("size", [(96, 160), (32, 32), (64, 224)])
def test_maps_keep_their_sizes_and_one_of_stride_64_is_added(neck, size):
    features = maps(*size)
    found = build_neck(neck, CHANNELS, DIM).eval()(dict(features))
    assert list(found) == [*features, "pool"]
    for name, before in features.items():
        assert found[name].shape == (2, DIM, *before.shape[-2:])
    assert found["pool"].shape == (2, DIM, *((side + 1) // 2 for side in features["res5"].shape[-2:]))


def test_parameters_are_those_of_the_papers():
    fpn, panet = (counted(build_neck(neck, CHANNELS, DIM)) for neck in NECKS[:2])
    norm, full = 2 * DIM, 9 * DIM * DIM
    assert fpn == sum(width * DIM + norm for width in CHANNELS.values()) + 4 * (full + norm)
    assert panet == fpn + 2 * 3 * (full + norm)  # of each step up, a convolution before the sum and one after it
    fusion = 9 * DIM + DIM * DIM + norm
    inputs = sum(width * DIM + norm for width in [*CHANNELS.values(), CHANNELS["res5"]])
    for layers in (1, 3):
        # Four fusions of two maps on the way down; on the way up three of three, and one of two.
        expected = inputs + layers * (4 * (fusion + 2) + 3 * (fusion + 3) + fusion + 2)
        assert counted(build_neck(BifpnConfig(layers=layers), CHANNELS, DIM)) == expected


def test_panets_path_adds_to_the_pyramid_and_leaves_its_finest_map():
    torch.manual_seed(1)
    fpn, panet = (build_neck(neck, CHANNELS, DIM).eval() for neck in NECKS[:2])
    missing, unexpected = panet.load_state_dict(fpn.state_dict(), strict=False)
    assert not unexpected and {name.split(".")[0] for name in missing} == {"down", "fuse"}
    pyramid, found = fpn(maps()), panet(maps())
    assert torch.equal(found["res2"], pyramid["res2"])
    expected = panet.fuse[0](panet.down[0](pyramid["res2"]) + pyramid["res3"])
    torch.testing.assert_close(found["res3"], expected)
    torch.testing.assert_close(found["res4"], panet.fuse[1](panet.down[1](expected) + pyramid["res4"]))


def test_bifpn_is_a_mean_whose_weights_are_never_negative():
    """With convolutions that do nothing, equal maps stay what they are; one without weight is not seen."""
    torch.manual_seed(1)
    layer = build_neck(BifpnConfig(layers=1), CHANNELS, DIM).layers[0].eval()
    for fusion in [*layer.down, *layer.up]:
        fusion.convolution = nn.Identity()
        nn.init.uniform_(fusion.weights, 0.5, 2.0)
    sizes = (32, 16, 8, 4, 2)
    ones = [torch.full((1, DIM, side, side), 3.0) for side in sizes]
    for found in layer(ones):
        torch.testing.assert_close(found, torch.full_like(found, 3.0), rtol=1e-3, atol=0)
    for fusion in layer.down:
        with torch.no_grad():
            fusion.weights[1] = -5.0  # what comes from above
    changed = [*ones[:-1], torch.full((1, DIM, 2, 2), 1e6)]
    found = layer(changed)
    for each in found[:-1]:
        torch.testing.assert_close(each, torch.full_like(each, 3.0), rtol=1e-3, atol=0)
    assert found[-1].mean() > 1e5


@by_kind
def test_each_map_depends_on_every_map_of_the_backbone_that_its_paper_says(neck):
    """A pyramid looks down alone: its coarse maps know nothing of the fine ones. The other two carry them up again."""
    module = build_neck(neck, CHANNELS, DIM).eval()
    features = {name: each.requires_grad_() for name, each in maps().items()}
    gradient = torch.autograd.grad(module(dict(features))["res5"].sum(), features["res2"], allow_unused=True)[0]
    assert (gradient is None) == (neck.kind == "fpn")
    gradient = torch.autograd.grad(module(dict(features))["res2"].square().sum(), features["res5"])[0]
    assert gradient.abs().max() > 0


@by_kind
def test_a_model_with_each_is_saved_and_finds_the_same(neck, tmp_path):
    torch.manual_seed(0)
    model = engine.build_model(small(neck)).eval()
    nn.init.constant_(model.roi_heads.mask_predictor.mask_fcn_logits.bias, 5.0)
    images = torch.rand(2, 3, 70, 100, generator=torch.Generator().manual_seed(1)) * 255
    path = save_model(
        tmp_path / "model.safetensors",
        model,
        ModelHeader(name="necks", config=model.config, classes=("a", "b"), gsd=0.3, tile_size=128),
    )
    assert read_header(path).config == small(neck)
    loaded = engine.load_model(path)
    for found, expected in zip(loaded.instances(images), model.instances(images), strict=True):
        assert len(expected.scores)
        for name in ("scores", "labels", "boxes", "masks"):
            assert torch.equal(getattr(found, name), getattr(expected, name))
    for found, expected in zip(InferenceModel(loaded).instances(images), model.instances(images), strict=True):
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-3, atol=1e-2)


def changed_file(path, target, change):
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()["maskdino"])
    change(document["config"])
    save_file(load_file(path), target, metadata={"maskdino": json.dumps(document)})
    return target


def test_files_of_before_there_were_necks_are_read(tmp_path):
    torch.manual_seed(0)
    model = engine.build_model(SMALL_MASK_RCNN)
    header = ModelHeader(name="old", config=model.config, classes=("a", "b"), gsd=0.3, tile_size=128)
    path = save_model(tmp_path / "new.safetensors", model, header)
    old = changed_file(path, tmp_path / "old.safetensors", lambda config: config.pop("neck"))
    assert engine.load_model(old).config == SMALL_MASK_RCNN


def test_a_file_that_names_another_neck_or_endless_layers_is_refused(tmp_path):
    model = engine.build_model(small(BifpnConfig(layers=1)))
    header = ModelHeader(name="x", config=model.config, classes=("a", "b"), gsd=0.3, tile_size=128)
    path = save_model(tmp_path / "model.safetensors", model, header)
    for neck in ({"kind": "fpn"}, {"kind": "panet"}, {"kind": "bifpn", "layers": 2}, {"kind": "bifpn", "layers": 10**9}):
        hostile = changed_file(path, tmp_path / "hostile.safetensors", lambda config, neck=neck: config.update(neck=neck))
        with pytest.raises(ModelFileError, match=r"hostile\.safetensors"):
            engine.load_model(hostile)


def test_a_kind_alone_stands_for_a_neck_and_others_are_refused():
    document = SMALL_MASK_RCNN.model_dump()
    for kind, expected in (("fpn", FpnConfig()), ("panet", PanetConfig()), ("bifpn", BifpnConfig())):
        assert parse_model_config({**document, "neck": kind}).neck == expected
    for neck in ("nasfpn", {"kind": "bifpn", "layers": 0}, {"kind": "panet", "layers": 2}, 3):
        with pytest.raises(ConfigError, match="neck"):
            parse_model_config({**document, "neck": neck})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "channels"),
    [
        ("mobilenetv2_035", (8, 16, 32, 112)),
        ("mobilenetv3_small_050", (8, 16, 24, 288)),
        ("mobilenetv4_conv_small_035", (16, 24, 32, 336)),
        ("tf_efficientnet_lite0", (24, 40, 112, 320)),
    ],
)
def test_a_network_of_timm_is_its_backbone(model, channels):
    config = small(PanetConfig()).model_copy(update={"backbone": TimmConfig(model=model, channels=channels)})
    found = engine.build_model(config).eval().instances(torch.rand(1, 3, 64, 96) * 255)
    assert found[0].masks.shape[1:] == (64, 96)
