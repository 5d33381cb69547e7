"""The copy of a model that is made for inference finds what the model finds."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import nn

import engine
from engine.errors import ArgumentError, DeviceError
from engine.model.build import build_model
from engine.model.config import PixelDecoderConfig, SwinConfig
from engine.model.families.mask_rcnn.build import build_mask_rcnn
from engine.model.folded_norms import fold_norms
from engine.model.inference import InferenceModel
from engine.model.postprocess import ImageInstances
from tests.engine.model.families.dimaskdino.small import SMALL_DI
from tests.engine.model.families.small_mask_rcnn import SMALL_MASK_RCNN
from tests.engine.model.instance_agreement import assert_same_instances, assert_sure_ones_are_found, picture_with_houses
from tests.engine.model.small_model import SMALL_CONFIG, TIMM_FAMILIES

SWIN_CONFIG = SMALL_CONFIG.model_copy(
    update={
        "backbone": SwinConfig(embed_dim=16, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4), window_size=4),
        "pixel_decoder": PixelDecoderConfig(
            features=("res2", "res3", "res4", "res5"), levels=5, layers=1, feedforward=48, mask_dim=32
        ),
    }
)
BATCH_CONFIG = SMALL_CONFIG.model_copy(
    update={"backbone": SMALL_CONFIG.backbone.model_copy(update={"norm": "batch", "stem": "deep", "block": "basic"})}
)


CONFIGS = {"frozen norms": SMALL_CONFIG, "batch norms": BATCH_CONFIG, "swin": SWIN_CONFIG, "DI-MaskDINO": SMALL_DI} | {
    backbone.model: SMALL_CONFIG.model_copy(update={"backbone": backbone}) for backbone in TIMM_FAMILIES
}


def _model(config) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(config)
    model(torch.rand(2, 3, 96, 96) * 255)  # statistics for the norms
    with torch.no_grad():
        model.heads.classify.bias.fill_(0.0)  # an untrained model would be sure of nothing
    return model.eval()


def _images() -> torch.Tensor:
    return torch.rand(2, 3, 96, 100, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_it_finds_the_same(config) -> None:
    model = _model(config)
    ours = InferenceModel(model, precision="float32")
    for found, expected in zip(ours.instances(_images()), model.instances(_images()), strict=True):
        assert_same_instances(found, expected, tolerance=1e-3)


def test_the_model_itself_stays_as_it_was() -> None:
    model = _model(BATCH_CONFIG)
    before = copy.deepcopy(model.state_dict())
    InferenceModel(model, precision="bfloat16").instances(_images())
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) and after[name].dtype == before[name].dtype for name in before)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_bfloat16_stays_near_on_every_backbone(config) -> None:
    model = _model(config)
    ours = InferenceModel(model, precision="bfloat16").model
    with torch.inference_mode():
        pixels, maps = ours.pixel_decoder(ours.backbone(ours.prepare(_images())))
        expected_pixels, expected_maps = model.pixel_decoder(model.backbone(model.prepare(_images())))
    for found, expected in zip([pixels, *maps], [expected_pixels, *expected_maps], strict=True):
        assert (found.float() - expected).abs().mean() < 0.1 * expected.abs().mean()  # of eighteen layers and more


def test_bfloat16_finds_the_same_buildings() -> None:
    """With trained weights, on a picture with houses on it: every sure one is found in both, and looks the same."""
    model = engine.load_model("maskdino_lite")
    picture = picture_with_houses()[None]
    (expected,) = InferenceModel(model, precision="float32").instances(picture, threshold=0.3)
    (found,) = InferenceModel(model, precision="bfloat16").instances(picture, threshold=0.3)
    assert (expected.scores > 0.5).sum() >= 5
    assert_sure_ones_are_found(found, expected)
    assert_sure_ones_are_found(expected, found)


@pytest.mark.parametrize("config", [SMALL_CONFIG, BATCH_CONFIG], ids=["frozen norms", "batch norms"])
def test_no_batch_norm_is_left_and_maps_are_the_same(config) -> None:
    backbone = _model(config).backbone
    folded = copy.deepcopy(backbone)
    images = torch.randn(1, 3, 64, 64)
    fold_norms(folded, lambda: folded(images))
    assert not any(hasattr(module, "running_mean") for module in folded.modules())
    with torch.no_grad():
        for name, expected in backbone(images).items():
            torch.testing.assert_close(folded(images)[name], expected, rtol=1e-4, atol=1e-4)


def test_another_network_computes_in_float32_alone() -> None:
    class Other(nn.Module):
        header = None

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def instances(self, images, *, count=None, threshold=0.0, output_sizes=None) -> list[ImageInstances]:
            return [ImageInstances(torch.ones(1), torch.zeros(1), torch.zeros(1, 4), torch.ones(1, 2, 2))]

    assert InferenceModel(Other()).precision == "float32"
    assert len(InferenceModel(Other()).instances(torch.zeros(1, 3, 2, 2))) == 1
    with pytest.raises(ArgumentError, match="precision is 'float8'"):
        InferenceModel(Other(), precision="float8")
    with pytest.raises(ArgumentError, match="Other computes in float32 alone"):
        InferenceModel(Other(), precision="bfloat16")


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_it_finds_the_same() -> None:
    """In bfloat16, in which a compiler was wrong."""
    model, images = _model(SMALL_CONFIG), _images()
    expected = InferenceModel(model, precision="bfloat16").instances(images, count=20)
    found = InferenceModel(model, precision="bfloat16", compile_for=tuple(images.shape)).instances(images, count=20)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.scores, other.scores, atol=0.05, rtol=0)


def test_a_compiler_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(function, **options):
        def wrong(images):
            *others, boxes, logits = function(images)
            return *others, (boxes + 0.1).clamp(0, 1), logits

        return wrong

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(DeviceError, match=r"Compiled by torch .* the model is wrong here"):
        InferenceModel(_model(SMALL_CONFIG), compile_for=(1, 3, 96, 96))


def test_a_compiler_that_is_missing_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(function, **options):
        def fails(images):
            raise RuntimeError("No working C++ compiler found\nand a page of more")

        return fails

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(DeviceError, match=r"cannot compile the model here: No working C\+\+ compiler found\. Do without"):
        InferenceModel(_model(SMALL_CONFIG), compile_for=(1, 3, 96, 96))


def test_another_network_is_not_compiled() -> None:
    with pytest.raises(ArgumentError, match="is not compiled"):
        InferenceModel(build_mask_rcnn(SMALL_MASK_RCNN).eval(), compile_for=(1, 3, 96, 96))
