"""Every stage against what the official code computed with the same weights; see golden/README.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import engine
from engine.model.families.mask2former.model import Mask2Former
from engine.model.inference import InferenceModel
from engine.model.presets import preset
from tests.engine.model.families.mask2former.small import SMALL, SMALL_SEMANTIC, filled

GOLDEN = Path(__file__).parent / "golden"
PARITY = Path(__file__).parents[6] / "shared" / "parity"
CASES = [
    pytest.param(("small_150x230", SMALL), id="small"),
    pytest.param(("small_semantic_100x70", SMALL_SEMANTIC), id="semantic"),
    pytest.param(("mask2former_dinatl_160x224", preset("mask2former_dinatl")), id="dinatl", marks=pytest.mark.slow),
]


class Golden:
    """The arrays of one file, with the tolerance that its own noise allows."""

    def __init__(self, name: str) -> None:
        self.arrays = dict(np.load(GOLDEN / f"{name}.npz"))
        meta = json.loads(str(self.arrays.pop("meta")))
        self.suffix, self.output_sizes = meta["suffix"], [tuple(size) for size in meta["out_size"]]
        self.noise = meta["noise_f32_vs_f64_[max,p99,median]"]
        self.images = [
            torch.from_numpy(self.arrays[f"image{index}"]).permute(2, 0, 1).float() for index in range(len(self.output_sizes))
        ]

    def agrees(self, name: str, found: Tensor) -> None:
        expected = self.arrays[name].astype(np.float64)
        assert tuple(found.shape) == expected.shape
        difference = np.abs(found.double().numpy() - expected)
        for level, recorded in zip((100, 99, 50), self.noise[name], strict=True):
            allowed = max(3 * recorded, 1e-4 * np.abs(expected).max())
            assert np.percentile(difference, level) <= allowed, f"{name} is off at percentile {level}"

    def agrees_in_part(self, name: str, found: Tensor) -> None:
        assert tuple(found.shape) == tuple(self.arrays[f"{name}_shape"])
        self.agrees(f"{name}_slice", found[:, :4, :12, :12])
        found = found.double()
        self.agrees(f"{name}_stats", torch.stack([found.mean(), found.std(), found.abs().sum(), found.min(), found.max()]))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Golden, Mask2Former]:
    name, config = request.param
    golden = Golden(name)
    return golden, filled(config, golden.suffix)


@torch.inference_mode()
def test_every_stage_agrees(case: tuple[Golden, Mask2Former]) -> None:
    golden, model = case
    features = model.backbone(model.prepare(golden.images))
    for name, feature in features.items():
        golden.agrees_in_part(f"backbone_{name}", feature)
    pixels, maps = model.pixel_decoder(features)
    golden.agrees_in_part("mask_features", pixels)
    for level, feature in enumerate(maps):
        golden.agrees_in_part(f"ms_feature{level}", feature)
    outputs = model(golden.images, intermediate=True)
    layers = [*outputs.auxiliary, outputs]
    logits = torch.stack([layer.class_logits for layer in layers])
    golden.agrees("logits", logits[..., : golden.arrays["logits"].shape[-1]])
    golden.agrees("logits_max", logits.amax(-1))
    golden.agrees("masks_ds8", torch.stack([layer.mask_logits[:, :32, 4::8, 4::8] for layer in layers]))
    golden.agrees_in_part("pred_masks", outputs.mask_logits)


def test_the_last_layer_alone_predicts_the_same(case: tuple[Golden, Mask2Former]) -> None:
    golden, model = case
    with torch.inference_mode():
        alone, last = (model(golden.images, intermediate=intermediate) for intermediate in (False, True))
    assert not alone.auxiliary
    assert torch.equal(alone.class_logits, last.class_logits) and torch.equal(alone.mask_logits, last.mask_logits)


def test_inference_gives_what_was_published(case: tuple[Golden, Mask2Former]) -> None:
    golden, model = case
    given = {"instance": "inst0_scores", "semantic": "sem0_scores", "panoptic": "pan0_map"}
    assert given[model.config.task] in golden.arrays
    if "inst0_scores" in golden.arrays:
        _instances_agree(golden, model)
        _instances_agree(golden, InferenceModel(model))
    if "sem0_scores" in golden.arrays:
        _class_scores_agree(golden, model)
    if "pan0_map" in golden.arrays:
        _segments_agree(golden, model)


def _instances_agree(golden: Golden, model: nn.Module) -> None:
    """Compare scores in their order, and classes and masks where no other score is near."""
    for index, found in enumerate(model.instances(golden.images, output_sizes=golden.output_sizes)):
        scores, labels, areas = (golden.arrays[f"inst{index}_{name}"] for name in ("scores", "labels", "areas"))
        np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-3, atol=1e-5)
        gaps = np.diff(scores, prepend=1.0, append=-1.0)
        alone = np.minimum(-gaps[:-1], -gaps[1:]) > 1e-4
        assert alone.sum() > 2
        assert (found.labels.numpy() == labels)[alone].all()
        pixels = np.prod(golden.output_sizes[index])
        assert (np.abs(found.masks.flatten(1).sum(1).numpy() - areas)[alone] <= 1e-3 * pixels).all()
        masks = np.unpackbits(golden.arrays[f"inst{index}_masks"], axis=-1, count=golden.output_sizes[index][1]).astype(bool)
        differing = (found.masks[: len(masks)].numpy() ^ masks).sum((1, 2))
        assert (differing[alone[: len(masks)]] <= 1e-3 * pixels).all()


def _class_scores_agree(golden: Golden, model: Mask2Former) -> None:
    for index, scores in enumerate(model.semantic(golden.images, output_sizes=golden.output_sizes)):
        assert tuple(scores.shape) == (model.config.num_classes, *golden.output_sizes[index])
        golden.agrees(f"sem{index}_scores", scores[:, 5::16, 5::16])


def _segments_agree(golden: Golden, model: Mask2Former) -> None:
    for index, found in enumerate(model.panoptic(golden.images, output_sizes=golden.output_sizes)):
        published = json.loads(str(golden.arrays[f"pan{index}_info"]))
        assert published
        assert [(s.id, s.label, s.is_thing) for s in found.segments] == [
            (s["id"], s["category_id"], s["isthing"]) for s in published
        ]
        assert (found.map.numpy() != golden.arrays[f"pan{index}_map"]).mean() <= 1e-3


@pytest.mark.skipif(not PARITY.is_dir(), reason="no ../shared/parity: the published names are not here")
def test_names_and_shapes_are_exactly_the_published_ones() -> None:
    published = json.loads((PARITY / "mask2former_dinatl.keys.json").read_text())["keys"]
    with torch.device("meta"):
        exported = engine.export_official(engine.build_model("mask2former_dinatl"))
    assert {name: list(tensor.shape) for name, tensor in exported.items()} == {
        name: entry["shape"] for name, entry in published.items()
    }
    assert {str(tensor.dtype) for tensor in exported.values()} == {"torch.float32"}


@pytest.mark.parametrize(
    ("name", "classes", "queries"),
    [("mask2former_dinatl", 80, 200), ("mask2former_dinatl_panoptic", 133, 200), ("mask2former_dinatl_semantic", 150, 100)],
)
def test_the_presets_have_the_published_size(name: str, classes: int, queries: int) -> None:
    with torch.device("meta"):
        model = engine.build_model(name)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == 220
    assert tuple(model.heads.classify.weight.shape) == (classes + 1, 256)
    assert tuple(model.decoder.content.weight.shape) == (queries, 256)
