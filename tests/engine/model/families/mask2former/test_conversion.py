"""From a published checkpoint to a model file and back, without a word about which model it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import engine
from engine.errors import ModelFileError
from engine.model.checkpoints.conversion import convert_published
from engine.model.checkpoints.segmentation_classes import (
    ADE20K_CLASSES,
    ADE20K_THINGS,
    CITYSCAPES_CLASSES,
    CITYSCAPES_THINGS,
    COCO_PANOPTIC_CLASSES,
    COCO_THINGS,
)
from engine.model.config import DinatConfig, ResNetConfig
from engine.model.families.mask2former.config import Mask2FormerConfig
from engine.model.families.mask2former.published_config import published_config
from engine.model.model_file import load_model
from tests.engine.model.families.mask2former.small import NARROW


def sized(classes: int, queries: int, **changes: object) -> Mask2FormerConfig:
    decoder = NARROW.decoder.model_copy(update={"queries": queries})
    return NARROW.model_copy(update={"num_classes": classes, "decoder": decoder, "task": "instance", "things": (), **changes})


@pytest.mark.parametrize(
    "config",
    [
        sized(80, 200),
        sized(100, 200),
        sized(8, 200),
        sized(133, 200, task="panoptic", things=COCO_THINGS),
        sized(150, 200, task="panoptic", things=ADE20K_THINGS),
        sized(19, 200, task="panoptic", things=CITYSCAPES_THINGS),
        sized(150, 100, task="semantic"),
        sized(19, 100, task="semantic"),
        sized(80, 200, backbone=ResNetConfig(widths=(8, 16, 24, 32))),
    ],
)
def test_shapes_tell_every_published_config(config: Mask2FormerConfig) -> None:
    with torch.device("meta"):
        tensors = engine.export_official(engine.build_model(config))
    assert published_config(tensors) == config


def test_what_shapes_do_not_tell_comes_from_the_preset_that_is_named() -> None:
    with torch.device("meta"):
        tensors = engine.export_official(engine.build_model(sized(150, 200)))
    assert published_config(tensors, preset_name="mask2former_dinatl_semantic").task == "semantic"
    # a preset with other classes says nothing about these
    assert published_config(tensors, preset_name="mask2former_dinatl_panoptic").things == ADE20K_THINGS
    with pytest.raises(ModelFileError, match="it is a Mask2Former, the preset 'maskdino_r50' is not"):
        published_config(tensors, preset_name="maskdino_r50")


def test_a_dinat_of_another_depth_is_refused_for_nothing_tells_its_dilations() -> None:
    backbone = DinatConfig(embed_dim=24, heads=(1, 2, 4, 8), depths=(1, 1, 1, 1), dilations=((1,), (1,), (1,), (1,)))
    with torch.device("meta"):
        tensors = engine.export_official(engine.build_model(sized(80, 200, backbone=backbone)))
    with pytest.raises(ModelFileError, match=r"\[1, 1, 1, 1\] blocks, whose dilations no preset knows"):
        published_config(tensors)
    tensors.pop("sem_seg_head.pixel_decoder.mask_features.weight")
    with pytest.raises(ModelFileError, match="not those of a Mask2Former"):
        published_config(tensors)


def test_a_checkpoint_becomes_a_model_file(tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = engine.build_model(NARROW).eval()
    torch.save({"model": engine.export_official(model), "iteration": 3}, tmp_path / "published.pth")
    conversion = convert_published(tmp_path / "published.pth", tmp_path / "model.safetensors")
    assert not conversion.left_out
    assert conversion.header.classes == COCO_PANOPTIC_CLASSES
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.config == NARROW
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        assert torch.equal(loaded(image).mask_logits, model(image).mask_logits)
    assert {name: tensor.tolist() for name, tensor in engine.export_official(loaded).items() if tensor.ndim == 1} == {
        name: tensor.tolist() for name, tensor in engine.export_official(model).items() if tensor.ndim == 1
    }


def test_a_checkpoint_of_other_classes_can_be_started_from(tmp_path: Path) -> None:
    torch.save(engine.export_official(engine.build_model(NARROW)), tmp_path / "published.pth")
    conversion = convert_published(tmp_path / "published.pth", tmp_path / "model.safetensors", drop_classes=True)
    assert conversion.header.classes == ("building",)
    assert "sem_seg_head.predictor.class_embed.weight" in conversion.left_out
    found = load_model(tmp_path / "model.safetensors").instances(torch.rand(1, 3, 64, 64) * 255)
    assert set(found[0].labels.tolist()) <= {0}


def test_class_names_are_as_many_as_published_and_distinct() -> None:
    for classes, things, count in (
        (COCO_PANOPTIC_CLASSES, COCO_THINGS, (133, 80)),
        (ADE20K_CLASSES, ADE20K_THINGS, (150, 100)),
        (CITYSCAPES_CLASSES, CITYSCAPES_THINGS, (19, 8)),
    ):
        assert (len(classes), len(things)) == count
        assert len(set(classes)) == len(classes)
    assert [ADE20K_CLASSES[index] for index in ADE20K_THINGS[:3]] == ["bed", "window", "cabinet"]
    assert CITYSCAPES_CLASSES[CITYSCAPES_THINGS[0]] == "person"
