"""The model as a whole: what it takes and gives, how it is stored, what it refuses."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

import engine
from engine.errors import CheckpointMismatchError, ConfigError, ModelFileError
from engine.model.config import ResNetConfig
from engine.model.families.mask2former.model import Mask2Former
from engine.model.families.registry import parse_model_config
from engine.model.header import ModelHeader
from engine.model.model_file import METADATA_KEY, load_model, read_header, save_model
from tests.engine.model.families.mask2former.small import SMALL, SMALL_SEMANTIC, filled

CLASSES = ("road", "roof", "tree", "water", "sky")


@pytest.fixture(scope="module")
def model() -> Mask2Former:
    torch.manual_seed(2)
    return engine.build_model(SMALL).eval()


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(3, *size, generator=generator) * 255 for size in ((64, 96), (45, 70), (33, 96))]


@torch.inference_mode()
def test_outputs_have_the_shapes_that_they_promise(model: Mask2Former, images: list[torch.Tensor]) -> None:
    outputs = model(images, intermediate=True)
    for layer in (outputs, *outputs.auxiliary):
        assert layer.class_logits.shape == (3, 30, 6)
        assert layer.mask_logits.shape == (3, 30, 16, 24)
    assert len(outputs.auxiliary) == 7  # the learned queries and all layers but the last
    for image, found in zip(images, model.instances(images), strict=True):
        assert found.masks.shape[1:] == image.shape[1:]
        assert len(found.scores) == len(found.boxes) == len(found.labels) == len(found.masks) <= 20


@torch.inference_mode()
def test_an_image_is_seen_alike_alone_and_in_a_batch(model: Mask2Former, images: list[torch.Tensor]) -> None:
    same = [images[0], images[0].flip(2)]
    together = model(same)
    for index, image in enumerate(same):
        alone = model([image])
        # A pixel at the rim of a mask may be seen in one and not in the other, which moves single queries.
        assert (together.class_logits[index] - alone.class_logits[0]).abs().median() < 1e-4


def test_every_weight_is_trained() -> None:
    torch.manual_seed(0)
    model = engine.build_model(SMALL).train()
    outputs = model([torch.rand(3, 64, 64) * 255])
    layers = [outputs, *outputs.auxiliary]
    sum(layer.class_logits.square().mean() + layer.mask_logits.square().mean() for layer in layers).backward()
    still = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not still


def test_the_published_names_lead_there_and_back(model: Mask2Former) -> None:
    state = engine.export_official(model)
    other = engine.build_model(SMALL)
    engine.load_official(other, state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    with pytest.raises(CheckpointMismatchError, match=r"missing sem_seg_head\.predictor\.query_feat\.weight"):
        engine.load_official(other, {name: value for name, value in state.items() if "query_feat" not in name})
    with pytest.raises(CheckpointMismatchError, match="left over static_query"):
        engine.load_official(other, state | {"static_query": torch.zeros(1)})


def test_the_class_head_alone_can_be_left_out(model: Mask2Former) -> None:
    other = engine.build_model(SMALL, num_classes=2)
    fresh = other.heads.classify.weight.clone()
    report = engine.load_official(other, engine.export_official(model), skip_class_heads=True)
    assert {name.rpartition(".")[0] for name in report.skipped} == {"criterion", "sem_seg_head.predictor.class_embed"}
    assert torch.equal(other.heads.classify.weight, fresh)
    assert torch.equal(other.decoder.content.weight, model.decoder.content.weight)


@torch.inference_mode()
def test_a_model_file_gives_the_same_model(model: Mask2Former, images: list[torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "segments.safetensors"
    save_model(path, model, ModelHeader(name="segments", config=model.config, classes=CLASSES))
    assert read_header(path).config == SMALL
    loaded = load_model(path)
    assert torch.equal(loaded(images).mask_logits, model(images).mask_logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": {"dilations": [[10**6, 6], [1, 3], [1, 2, 1], [1, 1]]}}, "less than or equal to 32"),
        ({"backbone": {"dilations": [[6], [1, 3], [1, 2, 1], [1, 1]]}}, "do not fit depths"),
        ({"backbone": {"kernel": 1001}}, "kernel"),
        ({"backbone": {"heads": [3, 2, 2, 4]}}, "cannot be shared by 3 heads"),
        ({"decoder": {"queries": 10**9}}, "queries is 1e"),
        ({"decoder": {"layers": 10**6}}, "layers"),
        ({"decoder": {"queries": 31}}, "decoder.content.weight has shape"),
        ({"task": "semantic"}, "things are named"),
        ({"something": 1}, "something"),
    ],
)
def test_a_file_whose_config_does_not_fit_is_refused(model: Mask2Former, tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, model, ModelHeader(name="model", config=model.config, classes=CLASSES))
    _rewrite(path, change)
    with pytest.raises(ModelFileError, match=message):
        load_model(path)


def _rewrite(path: Path, change: dict) -> None:
    """Change the config in a model file's header."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    entries = json.loads(content[8 : 8 + length])
    document = json.loads(entries["__metadata__"][METADATA_KEY])
    for key, value in change.items():
        document["config"][key] = document["config"].get(key, {}) | value if isinstance(value, dict) else value
    entries["__metadata__"][METADATA_KEY] = json.dumps(document)
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_a_config_survives_json_and_says_what_it_cannot_be() -> None:
    for config in (SMALL, SMALL_SEMANTIC):
        assert parse_model_config(json.loads(config.model_dump_json())) == config
    with pytest.raises(ConfigError, match=r"mask2former.*queries|queries"):
        parse_model_config({"kind": "mask2former", "decoder": {"queries": 0}})


@torch.inference_mode()
def test_other_backbones_fit(images: list[torch.Tensor]) -> None:
    backbone = ResNetConfig(depths=(1, 1, 1, 1), widths=(8, 16, 24, 32))
    model = engine.build_model(SMALL.model_copy(update={"backbone": backbone})).eval()
    assert len(model.instances(images)) == 3
    state = engine.export_official(model)
    assert "backbone.res2.0.conv1.weight" in state
    engine.load_official(model, state)


def test_detection_runs_end_to_end(scene: Path, tmp_path: Path) -> None:
    header = ModelHeader(name="segments", config=SMALL, classes=CLASSES, gsd=0.3, tile_size=128)
    path = save_model(tmp_path / "segments.safetensors", filled(SMALL, ""), header)
    summary = engine.detect(scene, tmp_path / "found.gpkg", model=path, score=0.05, device="cpu")
    assert summary.tiles_seen == summary.tiles > 1
    assert summary.buildings > 0
