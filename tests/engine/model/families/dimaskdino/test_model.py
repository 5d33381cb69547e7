"""The model as a whole: what it takes and gives, how it is stored, what it refuses."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor

import engine
from engine.errors import ConfigError, ModelFileError
from engine.model.families.dimaskdino.model import DiMaskDino
from engine.model.families.registry import parse_model_config
from engine.model.header import ModelHeader
from engine.model.inference import InferenceModel
from engine.model.model_file import METADATA_KEY, load_model, read_header, save_model
from tests.engine.model.families.dimaskdino.small import SMALL_DI, filled
from training.losses import Target, make_denoising_queries

CLASSES = ("road", "roof", "tree", "water", "sky")


@pytest.fixture(scope="module")
def model() -> DiMaskDino:
    return filled(SMALL_DI, "")


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(3, *size, generator=generator) * 255 for size in ((64, 96), (45, 70), (33, 96))]


@torch.inference_mode()
def test_outputs_have_the_shapes_that_they_promise(model: DiMaskDino, images: list[Tensor]) -> None:
    outputs = model(images, intermediate=True)
    assert len(outputs.auxiliary) == SMALL_DI.decoder.layers
    for layer in (outputs, *outputs.auxiliary):
        assert layer.class_logits.shape == (3, 24, 5)
        assert layer.boxes.shape == (3, 24, 4)
        assert layer.mask_logits.shape == (3, 24, 16, 24)
    assert outputs.encoder.mask_logits.shape == (3, 40, 16, 24)
    assert len(outputs.interaction) == SMALL_DI.decoder.interaction_layers
    for layer in outputs.interaction:
        assert layer.class_logits.shape == (3, 40, 5)
        assert layer.boxes.shape == (3, 40, 4)
        assert layer.mask_logits is None
    for image, found in zip(images, model.instances(images), strict=True):
        assert found.masks.shape[1:] == image.shape[1:]
        assert len(found.scores) == len(found.boxes) == len(found.labels) == len(found.masks) <= 20


@torch.inference_mode()
def test_the_last_layer_alone_predicts_the_same(model: DiMaskDino, images: list[Tensor]) -> None:
    alone, last = (model(images, intermediate=intermediate) for intermediate in (False, True))
    assert not alone.auxiliary and not alone.interaction and alone.encoder is None
    for name in ("class_logits", "boxes", "mask_logits"):
        torch.testing.assert_close(getattr(alone, name), getattr(last, name), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (33, 64), (65, 97)])
def test_images_of_any_size(model: DiMaskDino, size: tuple[int, int]) -> None:
    """The smallest has fewer places than are selected, and fewer than are selected again."""
    outputs = model(torch.rand(2, 3, *size) * 255)
    height, width = (-(-side // 32) * 32 for side in size)
    places = sum(-(-height // stride) * -(-width // stride) for stride in (8, 16, 32, 64))
    assert outputs.mask_logits.shape == (2, min(24, places), height // 4, width // 4)
    assert outputs.mask_logits.isfinite().all() and outputs.boxes.isfinite().all()


@torch.inference_mode()
def test_the_second_selection_is_of_the_first(model: DiMaskDino) -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = ((2, 2), (4, 4), (8, 8))
    memory = torch.randn(2, 84, 32, generator=generator)
    pixels = torch.randn(2, 32, 16, 16, generator=generator)
    selection = model.query_selection
    first, second = (select(memory, shapes, pixels, model.heads) for select in (selection.first, selection))
    for before, after in zip(first.positions.tolist(), second.positions.tolist(), strict=True):
        assert len(set(after)) == 24 and set(after) <= set(before)


def test_guiding_changes_masks_and_memory_before_the_second_layer(model: DiMaskDino, images: list[Tensor]) -> None:
    """The initial prediction and the first layer draw over the pixel decoder's embeddings, the others over the guided ones."""
    drawn: list[Tensor] = []
    seen: list[Tensor] = []
    hooks = [model.heads.register_forward_hook(lambda module, given, made: drawn.append(given[1]))]
    hooks += [layer.register_forward_hook(lambda module, given, made: seen.append(given[3])) for layer in model.decoder.layers]
    try:
        with torch.inference_mode():
            model(images[:1], intermediate=True)
    finally:
        for hook in hooks:
            hook.remove()
    encoder, *interaction, initial, first, second, last = drawn
    assert interaction == [None, None]
    assert encoder is initial is first and second is last is not first
    assert seen[1] is seen[2] is not seen[0]


def test_denoising_queries_leave_the_others_as_they_are(model: DiMaskDino) -> None:
    """Whether or not they are there: neither attention nor guiding tokens may let their answers through."""
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 8:40, 16:30], masks[1, 40:60, 10:50] = True, True
    boxes = torch.tensor([[0.36, 0.375, 0.22, 0.5], [0.47, 0.78, 0.62, 0.31]])
    denoising = make_denoising_queries([Target(torch.tensor([1, 3]), boxes, masks)], num_queries=24, num_classes=5, number=10)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        plain, noised = model(image, intermediate=True), model(image, denoising=denoising, intermediate=True)
    assert len(noised.denoising) == 4 and noised.denoising[0].class_logits.shape == (1, 10, 5)
    for one, other in zip([*plain.auxiliary, plain], [*noised.auxiliary, noised], strict=True):
        for name in ("class_logits", "boxes", "mask_logits"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-3)


def test_the_decoder_trains_the_boxes_that_it_starts_from() -> None:
    """Unlike Mask DINO's, selected queries and boxes carry their gradient back to the token interaction, and no further."""
    model = filled(SMALL_DI, "").train()
    model([torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(1)) * 255]).boxes.sum().backward()
    selection = model.query_selection
    for part in (selection.layers, selection.reference_head, selection.refine_box):
        assert all(parameter.grad.abs().sum() > 0 for parameter in part.parameters())
    assert all(parameter.grad is None for parameter in selection.first.parameters())


# Stored ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(model: DiMaskDino, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "balanced.safetensors"
    return save_model(path, model, ModelHeader(name="balanced", config=SMALL_DI, classes=CLASSES, gsd=0.3, tile_size=128))


@torch.inference_mode()
def test_a_model_file_gives_the_same_model(model: DiMaskDino, stored: Path, images: list[Tensor]) -> None:
    assert read_header(stored).config == SMALL_DI
    loaded = load_model(stored)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    torch.testing.assert_close(loaded(images).mask_logits, model(images).mask_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": {"first_queries": 10**9}}, "decoder.first_queries is 1e"),
        ({"decoder": {"interaction_layers": 10**6}}, "decoder.interaction_layers is 1e"),
        ({"decoder": {"interaction_layers": 3}}, "missing query_selection.layers.2"),
        ({"decoder": {"queries": 41}}, "cannot be among"),
        ({"decoder": {"guiding_tokens": 25}}, "25 guiding tokens cannot be among 24 queries"),
        ({"decoder": {"layers": 1}}, "greater than or equal to 2"),
        ({"decoder": {"feedforward": 41}}, "its config says"),
        ({"pixel_decoder": {"mask_dim": 64}}, "mask_dim is 64 and hidden_dim 32"),
        ({"kind": "mask_dino"}, "decoder.first_queries"),
    ],
)
def test_a_file_whose_config_does_not_fit_is_refused(stored: Path, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_model(_rewritten(stored, tmp_path / "model.safetensors", change))


def _rewritten(stored: Path, path: Path, change: dict) -> Path:
    """Copy a model file with another config in its header."""
    content = stored.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    entries = json.loads(content[8 : 8 + length])
    document = json.loads(entries["__metadata__"][METADATA_KEY])
    for key, value in change.items():
        document["config"][key] = document["config"][key] | value if isinstance(value, dict) else value
    entries["__metadata__"][METADATA_KEY] = json.dumps(document)
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return path


def test_a_config_says_what_it_cannot_be() -> None:
    with pytest.raises(ConfigError, match="301 queries, or these among 300 first queries"):
        parse_model_config({"kind": "di_mask_dino", "decoder": {"first_queries": 300, "queries": 301}})


# Used -----------------------------------------------------------------------------------------------------------------


def test_in_bfloat16_it_finds_much_the_same(model: DiMaskDino, images: list[Tensor]) -> None:
    expected, found = (InferenceModel(model, precision=precision).instances(images) for precision in ("float32", "bfloat16"))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one.scores[:5], other.scores[:5], atol=0.05, rtol=0)


@pytest.mark.slow
def test_it_is_one_program_to_a_compiler(model: DiMaskDino, images: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch traces it; to generate and to compile the code takes minutes."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: compile_(function, backend="eager", **options))
    batch = images[0][None]
    expected = InferenceModel(model, precision="float32").instances(batch)
    found = InferenceModel(model, precision="float32", compile_for=tuple(batch.shape)).instances(batch)
    torch.testing.assert_close(expected[0].scores, found[0].scores, atol=1e-3, rtol=0)


def test_detection_runs_end_to_end(stored: Path, scene: Path, tmp_path: Path) -> None:
    summary = engine.detect(scene, tmp_path / "found.gpkg", model=stored, score=0.05, device="cpu")
    assert summary.tiles_seen == summary.tiles > 1
    assert summary.buildings > 0
