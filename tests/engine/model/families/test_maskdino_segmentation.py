"""Mask DINO's panoptic and semantic models: what they compute, as the official code does, and how they are stored and used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import torch
from typer.testing import CliRunner

import engine
from engine.cli import app
from engine.errors import ArgumentError, ConfigError, ModelFileError
from engine.model.checkpoints.coco_classes import COCO_CLASSES
from engine.model.checkpoints.published_state import weights_of
from engine.model.checkpoints.segmentation_classes import COCO_PANOPTIC_CLASSES
from engine.model.families.maskdino.model import MaskDino
from engine.model.families.registry import family_of, parse_model_config
from engine.model.header import ModelHeader
from engine.model.inference import InferenceModel
from engine.model.model_file import load_model, read_header, save_model
from engine.model.outputs import Outputs
from engine.model.presets import PRESETS, preset
from tests.engine.model.families.test_maskdino_parity import Golden, _filled, _instances_agree, _output_sizes
from tests.engine.model.small_model import SMALL_PANOPTIC, SMALL_SEMANTIC
from tests.engine.model.test_model_file import _rewritten
from tests.goldens.recordings import recordings
from tests.parity_weights import fill

PANOPTIC, SEMANTIC = "maskdino_r50_coco_pan", "maskdino_r50_ade_sem"
PRESET_OF = {PANOPTIC: "maskdino_r50_panoptic", SEMANTIC: "maskdino_r50_semantic"}
RECORDED_LAYERS = slice(None, None, 4)

Case = tuple[Golden, MaskDino]


# As the official code computes ----------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[pytest.param((keys, path), id=path.stem) for keys in PRESET_OF for path in recordings(f"{keys}_[0-9]*")],
)
def case(request: pytest.FixtureRequest) -> Case:
    keys, path = request.param
    golden = Golden(path)
    return golden, _filled(PRESET_OF[keys], keys, golden.suffix)


@pytest.mark.slow
@torch.inference_mode()
def test_every_layer_predicts_what_the_official_one_does(case: Case) -> None:
    golden, model = case
    pixels, maps = model.pixel_decoder(model.backbone(model.prepare(golden.images)))
    golden.agrees_in_slice("mask_features", pixels)
    for level, feature in enumerate(maps):
        golden.agrees_in_slice(f"ms_feature{level}", feature)

    pixels, memory, shapes = model._see(golden.images)
    selected = model.query_selection(memory, shapes, pixels, model.heads)
    outputs = model(golden.images, intermediate=True)
    if selected.positions is None:
        assert outputs.encoder is None
        order = np.arange(model.config.decoder.queries)[None].repeat(len(golden.images), 0)
    else:
        order = golden.order_of(selected.positions.numpy())

    def ordered(of_queries: torch.Tensor) -> np.ndarray:
        """Put ours (B, Q, ...) into the recorded order."""
        return of_queries.numpy()[np.arange(len(order))[:, None], order]

    if outputs.encoder is not None:
        golden.agrees("interm_boxes", ordered(outputs.encoder.boxes))
        golden.agrees("interm_logits", ordered(outputs.encoder.class_logits[..., :4]))
    golden.agrees("pred_logits", ordered(outputs.class_logits[..., ::10]))
    golden.agrees("pred_boxes", ordered(outputs.boxes))
    assert tuple(outputs.mask_logits.shape) == tuple(golden.arrays["pred_masks_shape"])
    golden.agrees("pred_masks_ds8", ordered(outputs.mask_logits[:, :, 4::8, 4::8]))
    layers = outputs.auxiliary[RECORDED_LAYERS]
    golden.agrees("aux_boxes", np.stack([ordered(layer.boxes) for layer in layers]))
    golden.agrees("aux_logits_slice", np.stack([ordered(layer.class_logits[..., :4]) for layer in layers]))


@pytest.mark.slow
def test_scores_segments_and_instances_are_the_published_ones(case: Case) -> None:
    golden, model = case
    sizes = _output_sizes(golden)
    for index, scores in enumerate(model.semantic(golden.images, output_sizes=sizes)):
        golden.agrees(f"sem{index}_scores", scores[:, 8::24, 8::24])
        assert (scores.argmax(0).numpy() != golden.arrays[f"sem{index}_classes"]).mean() <= 1e-3  # ties
    if model.config.task == "semantic":
        return
    for index, found in enumerate(model.panoptic(golden.images, output_sizes=sizes)):
        recorded = json.loads(str(golden.arrays[f"pan{index}_info"]))
        assert [vars(segment) for segment in found.segments] == [
            {"id": segment["id"], "label": segment["category_id"], "is_thing": segment["isthing"]} for segment in recorded
        ]
        assert len(recorded) > 5 and {segment["isthing"] for segment in recorded} == {True, False}
        assert (found.map.numpy() != golden.arrays[f"pan{index}_map"]).mean() <= 1e-3
    for index, found in enumerate(model.instances(golden.images, output_sizes=sizes)):
        _instances_agree(golden, index, found)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("maskdino_r50", 52),
        ("maskdino_r50_panoptic", 52),
        ("maskdino_swinl_no_mask_enhance", 223),
        ("maskdino_swinl_panoptic", 223),
    ],
)
def test_there_are_as_many_parameters_as_published(name: str, millions: int) -> None:
    with torch.device("meta"):
        model = engine.build_model(name)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


# Configs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": {"two_stage": False}}, "box_initialisation is 'mask2box', and without two_stage there are no proposals"),
        ({"classification": "softmax"}, "classification is 'softmax', which a model for the task 'instance' cannot have"),
        ({"classification": "softmax", "task": "panoptic"}, "for the task 'panoptic' cannot have"),
        ({"things": [0]}, "things are named"),
        ({"task": "panoptic", "things": [-1]}, "things"),
        ({"panoptic_temperature": 0.0}, "panoptic_temperature"),
        ({"task": "parts"}, "task"),
    ],
)
def test_what_cannot_work_together_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_model_config({"kind": "mask_dino", **change})


def test_a_config_written_before_is_that_of_an_instance_model() -> None:
    document = PRESETS["maskdino_r50"].model_dump(mode="json")
    for name in ("task", "things", "classification", "panoptic_temperature"):
        del document[name]
    del document["decoder"]["two_stage"]
    assert parse_model_config(document) == PRESETS["maskdino_r50"]


def test_what_a_model_can_be_asked_for_follows_from_its_task() -> None:
    tasks = {config.task: family_of(config).tasks(config) for config in (SMALL_PANOPTIC, SMALL_SEMANTIC)}
    assert tasks == {"panoptic": {"instances", "semantic", "panoptic"}, "semantic": {"semantic"}}
    assert family_of(SMALL_SEMANTIC).summary(SMALL_SEMANTIC) == (
        "Mask DINO for semantic segmentation, 3 levels, 14 learned queries"
    )


@torch.inference_mode()
@pytest.mark.parametrize(("logit", "segments"), [(-1.2, 0), (-1.0, 1)])  # probabilities of 0.23 and 0.27
def test_a_query_is_a_segment_from_a_probability_of_a_quarter_on(panoptic, monkeypatch, logit: float, segments: int) -> None:
    class_logits = torch.full((1, 1, 133), -9.0)
    class_logits[..., 5] = logit
    outputs = Outputs(class_logits, None, torch.full((1, 1, 8, 8), 9.0))
    monkeypatch.setattr(panoptic, "forward", lambda images, intermediate: outputs)
    (found,) = panoptic.panoptic(torch.zeros(1, 3, 32, 32))
    assert [segment.label for segment in found.segments] == [5] * segments


# Small models of either kind ------------------------------------------------------------------------------------------


def small(config) -> MaskDino:
    """Build a small model with the weights that the rule gives to their published names."""
    model, state = engine.build_model(config), {}
    for name, tensor in weights_of(model).items():
        aliases = family_of(config).published_names(name, config)
        state |= dict.fromkeys(aliases, torch.from_numpy(fill(aliases[0], tuple(tensor.shape))))
    engine.load_official(model, state)
    return model.eval()


@pytest.fixture(scope="module")
def panoptic() -> MaskDino:
    return small(SMALL_PANOPTIC)


@pytest.fixture(scope="module")
def semantic() -> MaskDino:
    return small(SMALL_SEMANTIC)


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(3, *size, generator=generator) * 255 for size in ((130, 140), (97, 110))]


def test_each_image_gets_what_it_was_asked_for_in_its_own_size(panoptic, semantic, images) -> None:
    sizes, wanted = [tuple(image.shape[1:]) for image in images], [(50, 40), (300, 7)]
    for model, classes in ((panoptic, 133), (semantic, 5)):
        assert [scores.shape for scores in model.semantic(images)] == [(classes, *size) for size in sizes]
        assert [scores.shape for scores in model.semantic(images, output_sizes=wanted)] == [(classes, *of) for of in wanted]
    for asked, expected in ((None, sizes), (wanted, wanted)):
        for found, size in zip(panoptic.panoptic(images, output_sizes=asked), expected, strict=True):
            assert found.map.shape == size
            assert set(found.map.unique().tolist()) - {0} == {segment.id for segment in found.segments}


@torch.inference_mode()
def test_learned_queries_are_the_same_for_every_image(semantic, panoptic, images) -> None:
    """Before the first layer has looked at the image; selected ones are its own."""
    for model, alike in ((semantic, True), (panoptic, False)):
        one, other = (model([image], intermediate=True).auxiliary[0] for image in images)
        assert torch.equal(one.class_logits, other.class_logits) == alike
        assert torch.equal(one.boxes, other.boxes) == alike


def test_levels_from_the_coarsest_are_remembered_from_the_finest(semantic, images) -> None:
    """The decoder always reverses the order of the levels (official decoder); with coarsest first, the finest comes first."""
    _, memory, shapes = semantic._see(images)
    assert shapes == ((20, 20), (10, 10), (5, 5))
    assert memory.shape[1] == sum(height * width for height, width in shapes)


@torch.inference_mode()
def test_instances_of_a_panoptic_model_are_the_things_among_its_best(panoptic, images) -> None:
    best = panoptic(images).class_logits.sigmoid().flatten(1).topk(100).indices % 133
    for found, labels in zip(panoptic.instances(images), best, strict=True):
        assert 0 < len(found.labels) < 100
        assert sorted(found.labels.tolist()) == sorted(label for label in labels.tolist() if label in SMALL_PANOPTIC.things)


def test_the_copy_for_inference_scores_and_cuts_alike(panoptic, semantic, images) -> None:
    for model in (panoptic, semantic):
        copy = InferenceModel(model, precision="float32").model
        for ours, theirs in zip(copy.semantic(images), model.semantic(images), strict=True):
            assert (ours - theirs).abs().median() <= 1e-4 * theirs.abs().max()
    half = InferenceModel(panoptic, precision="bfloat16").model
    assert all(scores.dtype == torch.float32 for scores in half.semantic(images))


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_published_checkpoint_is_converted_and_says_what_it_was_taken_for(panoptic, images, tmp_path) -> None:
    torch.save({"model": engine.export_official(panoptic)}, tmp_path / "published.pth")
    command = ["models", "convert", tmp_path / "published.pth", "-o", tmp_path / "m.safetensors"]
    result = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert "Mask DINO for panoptic segmentation, 4 levels, 300 queries" in result.output
    header = read_header(tmp_path / "m.safetensors")
    assert header.config == SMALL_PANOPTIC and header.classes == COCO_PANOPTIC_CLASSES
    loaded = load_model(tmp_path / "m.safetensors")
    for ours, theirs in zip(loaded.panoptic(images), panoptic.panoptic(images), strict=True):
        assert torch.equal(ours.map, theirs.map) and ours.segments == theirs.segments
    exported, before = engine.export_official(loaded), engine.export_official(panoptic)
    assert exported.keys() == before.keys() and all(torch.equal(exported[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classification": "sigmoid"}, "heads.classify.weight has shape"),
        ({"task": "instance"}, "classification is 'softmax'"),
        ({"decoder": {"two_stage": True}}, "query_selection"),
        ({"decoder": {"queries": 10**9}}, "queries is 1e"),
        ({"decoder": {"queries": 15}}, "query_selection.content.weight has shape"),
        ({"decoder": {"box_initialisation": "bitmask"}}, "without two_stage there are no proposals"),
        ({"panoptic_temperature": float("inf")}, "panoptic_temperature"),
        ({"things": [2]}, "things are named"),
    ],
    ids=str,
)
def test_a_file_whose_config_does_not_fit_is_refused(semantic, tmp_path, change: dict, message: str) -> None:
    header = ModelHeader(name="classes", config=semantic.config, classes=tuple("abcde"))
    path = save_model(tmp_path / "classes.safetensors", semantic, header)
    document = json.loads(header.to_json())
    for name, value in change.items():
        document["config"][name] = document["config"][name] | value if isinstance(value, dict) else value
    with pytest.raises(ModelFileError, match=message):
        load_model(_rewritten(path, document=document))


def test_things_are_detected_on_a_raster(panoptic, scene: Path, tmp_path) -> None:
    header = ModelHeader(name="things", config=panoptic.config, classes=COCO_PANOPTIC_CLASSES, gsd=0.3, tile_size=256)
    path = save_model(tmp_path / "things.safetensors", panoptic, header)
    summary = engine.detect(scene, tmp_path / "found.gpkg", model=path, score=0.6, device="cpu")
    assert summary.tiles_seen == summary.tiles > 1
    _, _, _, (classes,) = pyogrio.raw.read(tmp_path / "found.gpkg", columns=["class"], read_geometry=False)
    assert len(classes) == summary.buildings > 0
    assert set(classes) <= set(COCO_CLASSES)


def test_a_semantic_model_is_no_detector(semantic, scene: Path, tmp_path) -> None:
    header = ModelHeader(name="classes", config=semantic.config, classes=tuple("abcde"), gsd=0.3, tile_size=256)
    path = save_model(tmp_path / "classes.safetensors", semantic, header)
    with pytest.raises(ArgumentError, match="gives each pixel a class and finds no instances"):
        engine.detect(scene, tmp_path / "found.gpkg", model=path, device="cpu")


def test_a_preset_is_shown_with_its_task() -> None:
    result = CliRunner().invoke(app, ["models", "list"], catch_exceptions=False)
    for name, what in (
        ("r50_panoptic", "panoptic segmentation, 4 levels, 300 queries, resnet backbone, 133 classes"),
        ("swinl_panoptic", "panoptic segmentation, 5 levels, 300 queries, swin backbone, 133 classes"),
        ("r50_semantic", "semantic segmentation, 3 levels, 100 learned queries, resnet backbone, 150 classes"),
    ):
        assert f"maskdino_{name}: Mask DINO for {what}" in result.output
    assert "they may stand in each other's column" in result.output
    result = CliRunner().invoke(app, ["models", "info", "maskdino_r50_semantic"], catch_exceptions=False)
    assert "task: semantic" in result.output and "classification: softmax" in result.output
    assert preset("maskdino_r50_semantic", num_classes=19).task == "semantic"
