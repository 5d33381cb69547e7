"""DI-MaskDINO gives, stage by stage, what the official implementation gave on a CPU.

The recordings lie in tests/goldens, those of other sizes beside the checkout are tried too; what may differ, and by how much,
is as in Mask DINO's test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import engine
from engine.model.families.dimaskdino.model import DiMaskDino
from engine.model.inference import InferenceModel
from engine.model.outputs import Outputs
from engine.model.postprocess import image_instances
from tests.engine.model.families.test_maskdino_parity import Golden, _filled, _instances_agree, _output_sizes, _stats
from tests.goldens.recordings import published_tensors, recordings

NAME = "dimaskdino_r50"
MILLIONS_PUBLISHED = 52

Case = tuple[Golden, DiMaskDino]


@pytest.fixture(scope="module", params=recordings(f"{NAME}_[0-9]*"), ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> Case:
    path: Path = request.param
    golden = Golden(path)
    return golden, _filled(NAME, NAME, golden.suffix)


@pytest.fixture(scope="module")
def outputs(case: Case) -> Outputs:
    golden, model = case
    with torch.inference_mode():
        return model(golden.images, intermediate=True)


def ordered(of_queries: Tensor, order: np.ndarray) -> np.ndarray:
    """Put ours (B, Q, ...) into the recorded order (B, Q)."""
    return of_queries.numpy()[np.arange(len(order))[:, None], order]


@pytest.mark.slow
@torch.inference_mode()
def test_every_stage_of_inference_agrees(case: Case, outputs: Outputs) -> None:
    golden, model = case
    features = model.backbone(model.prepare(golden.images))
    pixels, maps = model.pixel_decoder(features)
    for name, feature in features.items():
        golden.agrees_in_slice(f"backbone_{name}", feature)
    golden.agrees_in_slice("mask_features", pixels)
    for level, feature in enumerate(maps):
        golden.agrees_in_slice(f"ms_feature{level}", feature)

    shapes = tuple(tuple(level.shape[-2:]) for level in maps[::-1])
    memory = torch.cat([level.flatten(2).transpose(1, 2) for level in maps[::-1]], dim=1)
    first = model.query_selection.first(memory, shapes, pixels, model.heads)
    order = golden.order_of(first.positions.numpy())
    assert (order == np.arange(order.shape[1])).mean() > 0.95  # ties are rare
    _proposals_agree(golden, outputs, order)

    second = model.query_selection(memory, shapes, pixels, model.heads)
    recorded = np.take_along_axis(golden.arrays["two_stage_topk_idx"], golden.arrays["topk1_idx"], axis=1)
    ours = second.positions.numpy()
    # A position that is not among ours was as good as another: any query stands for it, and its largest error does not count.
    missing = ~np.array([np.isin(wanted, found) for wanted, found in zip(recorded, ours, strict=True)])
    order = (recorded[:, :, None] == ours[:, None]).argmax(-1)
    assert missing.mean() <= 0.01
    start = ordered(second.boxes, order)
    flipped = missing | (np.abs(start - golden.arrays["dec_ref_in_unsigmoid"]).max(-1) > 1e-2)  # a pixel moves a side by more
    assert flipped.mean() <= 0.01
    golden.agrees("dec_ref_in_unsigmoid", start, flipped)
    golden.agrees("dec_tgt_in_stats", _stats(second.content))
    _layers_agree(golden, outputs, order, flipped)


def _proposals_agree(golden: Golden, outputs: Outputs, order: np.ndarray) -> None:
    stages = {"interm": outputs.encoder} | {f"oldm{layer}": each for layer, each in enumerate(outputs.interaction)}
    for stage, prediction in stages.items():
        _, queries, classes = golden.arrays[f"{stage}_logits"].shape
        golden.agrees(f"{stage}_logits", ordered(prediction.class_logits, order)[:, :queries, :classes])
        golden.agrees(f"{stage}_boxes", ordered(prediction.boxes, order)[:, :queries])


def _layers_agree(golden: Golden, outputs: Outputs, order: np.ndarray, flipped: np.ndarray) -> None:
    arrays, layers = golden.arrays, outputs.auxiliary
    assert len(layers) == len(arrays["aux_boxes"])
    golden.agrees("pred_logits", ordered(outputs.class_logits, order)[..., : arrays["pred_logits"].shape[-1]], flipped)
    golden.agrees("pred_boxes", ordered(outputs.boxes, order), flipped)
    assert tuple(outputs.mask_logits.shape) == tuple(arrays["pred_masks_shape"])
    masks = ordered(outputs.mask_logits[:, :, 4::8, 4::8], order)
    drawn = arrays["pred_masks_ds8"].shape[1]
    golden.agrees("pred_masks_ds8", masks[:, :drawn], flipped[:, :drawn])
    all_flipped = np.stack([flipped] * len(layers))
    golden.agrees("aux_boxes", np.stack([ordered(layer.boxes, order) for layer in layers]), all_flipped)
    logits = np.stack([ordered(layer.class_logits, order)[..., :4] for layer in layers])
    golden.agrees("aux_logits_slice", logits, all_flipped)


@pytest.mark.slow
def test_the_published_instances_are_found(case: Case, outputs: Outputs) -> None:
    golden, model = case
    images, sizes = golden.images, _output_sizes(golden)
    fast = InferenceModel(model, precision="float32").instances(images, output_sizes=sizes)
    padded_size = tuple(model.prepare(images).shape[-2:])
    for index, image in enumerate(images):
        found = image_instances(
            outputs, index, image_size=tuple(image.shape[-2:]), padded_size=padded_size,
            output_size=sizes[index], count=model.config.detections_per_image,
        )  # fmt: skip
        _instances_agree(golden, index, found)
        _instances_agree(golden, index, fast[index])


def test_the_published_names_are_exactly_ours() -> None:
    with torch.device("meta"):
        exported = engine.export_official(engine.build_model(NAME))
    assert {name: (list(tensor.shape), str(tensor.dtype)) for name, tensor in exported.items()} == {
        name: (entry["shape"], f"torch.{entry['dtype']}") for name, entry in published_tensors(NAME).items()
    }


def test_it_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        model = engine.build_model(NAME)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == MILLIONS_PUBLISHED
