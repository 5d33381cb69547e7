"""The baseline is torchvision's Mask R-CNN, and a model like any other."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2
from typer.testing import CliRunner

import engine
from engine.commands.models import command as models_command
from engine.errors import ArgumentError, ConfigError, ModelFileError
from engine.model.config import ResNetConfig
from engine.model.families.mask_rcnn.config import MaskRcnnConfig
from engine.model.families.registry import parse_model_config
from engine.model.header import ModelHeader
from engine.model.inference import InferenceModel
from engine.model.model_file import read_header, save_model
from tests.engine.model.families.small_mask_rcnn import SMALL_MASK_RCNN


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = engine.build_model(SMALL_MASK_RCNN).eval()
    torch.nn.init.constant_(model.roi_heads.mask_predictor.mask_fcn_logits.bias, 5.0)  # masks that fill their boxes
    return model


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 70, 100, generator=torch.Generator().manual_seed(1)) * 255


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    header = ModelHeader(name="baseline", config=model.config, classes=("building", "greenhouse"), gsd=0.3, tile_size=128)
    return save_model(tmp_path_factory.mktemp("model") / "baseline.safetensors", model, header)


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("scores", "labels", "boxes", "masks"))


@pytest.mark.slow
def test_weights_and_results_are_torchvisions():
    """Given torchvision's anchors, and images that torchvision does not resize."""
    torch.manual_seed(0)
    official = maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=3, min_size=96, max_size=128,
        image_mean=[123.675, 116.28, 103.53], image_std=[58.395, 57.12, 57.375],
    ).eval()  # fmt: skip
    for module in official.modules():  # else all boxes look alike to a fresh classifier
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    model = engine.build_model(MaskRcnnConfig(num_classes=2, backbone=ResNetConfig(norm="batch"))).eval()
    model.load_state_dict({name.replace("backbone.fpn.", "fpn."): tensor for name, tensor in official.state_dict().items()})
    image = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(2)) * 255
    with torch.inference_mode():
        (expected,) = official([image])
    (found,) = model.instances([image])
    assert len(found.scores) == len(expected["scores"]) > 0
    torch.testing.assert_close(found.scores, expected["scores"])
    torch.testing.assert_close(found.boxes, expected["boxes"])
    assert torch.equal(found.labels + 1, expected["labels"])
    assert torch.equal(found.masks, expected["masks"][:, 0] > 0.5)


def test_instances_have_the_size_of_their_image_and_the_classes_of_the_model(model, images):
    for found in model.instances(images):
        count = len(found.scores)
        assert 0 < count <= 20
        assert found.masks.shape == (count, 70, 100)
        assert found.masks.dtype == torch.bool
        assert set(found.labels.tolist()) <= {0, 1}
        assert (found.scores.diff() <= 0).all()
        assert (found.boxes >= 0).all() and (found.boxes[:, [0, 2]] <= 100).all() and (found.boxes[:, [1, 3]] <= 70).all()


def test_count_and_threshold_take_the_best(model, images):
    (everything,) = model.instances(images[:1])
    (few,) = model.instances(images[:1], count=3)
    assert torch.equal(few.scores, everything.scores[:3])
    middle = everything.scores.median().item()
    (sure,) = model.instances(images[:1], threshold=middle)
    assert torch.equal(sure.scores, everything.scores[everything.scores > middle])
    assert same(model.instances(images[:1])[0], everything), "a call must not depend on the one before"


def test_instances_in_another_size_are_scaled(model, images):
    (found,) = model.instances(images[:1])
    (twice,) = model.instances(images[:1], output_sizes=[(140, 200)])
    assert twice.masks.shape[1:] == (140, 200)
    torch.testing.assert_close(twice.boxes, 2 * found.boxes)


def test_images_of_several_sizes(model, images):
    small, large = model.instances([images[0, :, :33, :20], images[1]])
    assert small.masks.shape[1:] == (33, 20)
    assert large.masks.shape[1:] == (70, 100)


def test_what_is_no_image_is_refused(model):
    with pytest.raises(ArgumentError, match="images of shape"):
        model.instances(torch.zeros(1, 4, 64, 64))


def test_a_saved_model_finds_the_same(model, images, model_file):
    assert read_header(model_file).config == SMALL_MASK_RCNN
    loaded = engine.load_model(model_file)
    assert not loaded.training
    assert all(same(a, b) for a, b in zip(model.instances(images), loaded.instances(images), strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_sizes": (24, 12, 48, 96, 192)}, "anchor_sizes"),
        ({"anchor_sizes": (0, 12, 48, 96, 192)}, "anchor_sizes"),
        ({"decoder": {}}, "decoder"),
        ({"kind": "mask_scnn"}, "of kind 'mask_scnn'"),
    ],
)
def test_a_config_that_does_not_hold_is_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse_model_config({**SMALL_MASK_RCNN.model_dump(), **changes})


@pytest.mark.parametrize("part", [{"backbone": {"depths": (10**9, 1, 1, 1)}}, {"hidden_dim": 2**40}, {"box_features": -1}])
def test_a_file_whose_config_is_beyond_its_tensors_is_refused_before_memory_is_taken(model_file, tmp_path, part):
    with safe_open(model_file, "pt") as file:
        document = json.loads(file.metadata()["maskdino"])
    for key, value in part.items():
        document["config"][key] = {**document["config"][key], **value} if isinstance(value, dict) else value
    path = tmp_path / "hostile.safetensors"
    save_file(load_file(model_file), path, metadata={"maskdino": json.dumps(document)})
    with pytest.raises(ModelFileError, match=r"hostile\.safetensors"):
        engine.load_model(path)


def test_the_copy_for_inference_finds_the_same(model, images):
    """Its norms are folded into convolutions; those of a trained model have statistics."""
    trained = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(4)
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(1 + 0.1 * torch.rand(module.num_features, generator=generator))
    faster = InferenceModel(trained)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in faster.modules())
    for found, expected in zip(faster.instances(images), trained.instances(images), strict=True):
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-3, atol=1e-2)


def test_the_command_line_names_it(model_file):
    listed = CliRunner().invoke(models_command, ["list"])
    assert "maskrcnn_r50: Mask R-CNN, resnet backbone, 1 class" in listed.output
    assert "kind: mask_rcnn" in CliRunner().invoke(models_command, ["info", str(model_file)]).output
    with pytest.raises(ModelFileError, match="Train it"):
        engine.load_model("maskrcnn_r50")


def test_detection_runs_end_to_end(model_file, scene, tmp_path):
    summary = engine.detect(scene, tmp_path / "buildings.gpkg", model=model_file, score=0.05, device="cpu")
    assert summary.tiles_seen == summary.tiles > 1
    assert (tmp_path / "buildings.gpkg").is_file()
    assert summary.buildings > 0
