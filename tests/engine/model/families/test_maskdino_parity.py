"""Mask DINO gives, stage by stage, what the official implementation gave in float32 on a CPU.

The recordings lie in tests/goldens, whose README.md says how they were made; others of the same kind are used where they
lie beside the checkout. Each carries its own noise: how far the official float32 and float64 runs differ. The tolerance is
three times that, and at least 1e-4 of an array's largest value.

Each processor rounds in its own way, which may change two decisions without anything being wrong. Queries whose scores tie
swap places: so ours are compared by the position that they came from. And the outermost pixel of a mask may fall on the
other side of zero, so that the box of that query starts a pixel off: up to one query in a hundred is left out of the
largest difference, though not of the other percentiles.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import engine
from engine.model.inference import InferenceModel
from engine.model.postprocess import ImageInstances, image_instances
from tests.goldens.recordings import published_tensors, read_recording, recordings
from tests.parity_weights import filled_state_dict

PRESETS = {"maskdino_r50": "maskdino_r50", "maskdino_swinl_map": "maskdino_swinl"}
CASES = [
    pytest.param(path, preset, keys, id=path.stem) for keys, preset in PRESETS.items() for path in recordings(f"{keys}_[0-9]*")
]


class Golden:
    """The arrays of one recording, with the tolerance that its own noise allows."""

    def __init__(self, path: Path) -> None:
        self.arrays = read_recording(path)
        meta = json.loads(str(self.arrays.pop("meta")))
        self.suffix, self.output_size = meta["suffix"], meta["out_size"]
        self.noise = meta["noise_f32_vs_f64_[max,p99,median]"]

    def agrees(self, name: str, found: torch.Tensor | np.ndarray, flipped: np.ndarray | None = None) -> None:
        """Compare the differences at their largest, 99th and 50th percentile.

        ``flipped`` marks queries that count for the percentiles alone: bool of the leading axes of ``found``.
        """
        difference = np.abs(np.asarray(found, dtype=np.float64) - self.arrays[name])
        self._bounded(name, difference if flipped is None else difference[~flipped], levels=(100,))
        self._bounded(name, difference, levels=(99, 50))

    def _bounded(self, name: str, difference: np.ndarray, levels: tuple[int, ...]) -> None:
        scale = np.abs(self.arrays[name]).max()
        noise = dict(zip((100, 99, 50), self.noise.get(name, (0, 0, 0)), strict=True))
        for level in levels:
            allowed = max(3 * noise[level], 1e-4 * scale)
            measured = np.percentile(difference, level)
            assert measured <= allowed, f"{name}: percentile {level} is off by {measured:.3g}, allowed {allowed:.3g}"

    def agrees_in_slice(self, name: str, found: torch.Tensor) -> None:
        assert tuple(found.shape) == tuple(self.arrays[f"{name}_shape"])
        self.agrees(f"{name}_slice", found[:, :4, :12, :12])
        self.agrees(f"{name}_stats", _stats(found))

    def order_of(self, positions: np.ndarray) -> np.ndarray:
        """Return which of our queries is which of the recorded ones, (B, Q), by their positions in the encoder's memory.

        Other positions may be chosen only where the scores of the last query and of the first one left out tie. They stand in
        for the recorded ones: positions whose proposals are not valid all have the same score and content.
        """
        recorded = self.arrays["two_stage_topk_idx"]
        gap, noise = self.arrays["two_stage_gap_at_cut"], self.noise["two_stage_gap_at_cut"][0]
        orders = []
        for ours, theirs, ties in zip(positions, recorded, np.broadcast_to(gap <= 3 * noise, len(recorded)), strict=True):
            place = {position: query for query, position in enumerate(ours)}
            assert len(place) == len(ours) == len(theirs)
            others = iter([query for query, position in enumerate(ours) if position not in set(theirs)])
            assert ties or set(ours) == set(theirs)
            orders.append([place[position] if position in place else next(others) for position in theirs])
        return np.array(orders)

    @property
    def images(self) -> list[torch.Tensor]:
        names = sorted(name for name in self.arrays if name.startswith("image"))
        return [torch.from_numpy(self.arrays[name]).permute(2, 0, 1).float() for name in names]


def _stats(x: torch.Tensor) -> list[float]:
    x = x.double()
    return [v.item() for v in (x.mean(), x.std(), x.abs().sum(), x.min(), x.max())]


def _filled(preset: str, keys: str, suffix: str) -> torch.nn.Module:
    model = engine.build_model(preset)
    engine.load_official(model, filled_state_dict(keys, suffix))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("path", "preset", "keys"), CASES)
@torch.inference_mode()
def test_every_stage_of_inference_agrees(path: Path, preset: str, keys: str) -> None:
    golden = Golden(path)
    model = _filled(preset, keys, golden.suffix)
    images = golden.images
    batch = model.prepare(images)

    features = model.backbone(batch)
    pixels, maps = model.pixel_decoder(features)
    for name, feature in features.items():
        golden.agrees_in_slice(f"backbone_{name}", feature)
    golden.agrees_in_slice("mask_features", pixels)
    for level, feature in enumerate(maps):
        golden.agrees_in_slice(f"ms_feature{level}", feature)

    memory = torch.cat([level.flatten(2).transpose(1, 2) for level in maps[::-1]], dim=1)
    selected = model.query_selection(memory, tuple(tuple(m.shape[-2:]) for m in maps[::-1]), pixels, model.heads)
    order = golden.order_of(selected.positions.numpy())
    assert (order == np.arange(order.shape[1])).mean() > 0.95  # ties are rare

    def ordered(of_queries: torch.Tensor) -> np.ndarray:
        """Put ours (B, Q, ...) into the recorded order."""
        return of_queries.numpy()[np.arange(len(order))[:, None], order]

    golden.agrees("interm_boxes", ordered(selected.prediction.boxes))
    classes = golden.arrays["interm_logits"].shape[-1]
    golden.agrees("interm_logits", ordered(selected.prediction.class_logits[..., :classes]))
    golden.agrees("interm_masks_first2", ordered(selected.prediction.mask_logits)[:, :2])
    start = ordered(selected.boxes)
    flipped = np.abs(start - golden.arrays["dec_ref_in_unsigmoid"]).max(-1) > 1e-2  # a pixel moves a side by more
    assert flipped.mean() <= 0.01
    golden.agrees("dec_ref_in_unsigmoid", start, flipped)
    golden.agrees("dec_tgt_in_stats", _stats(selected.content))

    outputs = model(images if len(images) > 1 else images[0][None], intermediate=True)
    golden.agrees("pred_logits", ordered(outputs.class_logits), flipped)
    golden.agrees("pred_boxes", ordered(outputs.boxes), flipped)
    assert tuple(outputs.mask_logits.shape) == tuple(golden.arrays["pred_masks_shape"])
    golden.agrees("pred_masks_first4", ordered(outputs.mask_logits)[:, :4], flipped[:, :4])
    golden.agrees("pred_masks_ds8", ordered(outputs.mask_logits[:, :, 4::8, 4::8]), flipped)
    layers = len(outputs.auxiliary)
    golden.agrees("aux_boxes", np.stack([ordered(layer.boxes) for layer in outputs.auxiliary]), np.stack([flipped] * layers))
    logits = np.stack([ordered(layer.class_logits)[..., :4] for layer in outputs.auxiliary])
    golden.agrees("aux_logits_slice", logits, np.stack([flipped] * layers))

    for index, image in enumerate(images):
        found = image_instances(
            outputs, index, image_size=tuple(image.shape[-2:]), padded_size=tuple(batch.shape[-2:]),
            output_size=_output_sizes(golden)[index], count=model.config.detections_per_image,
        )  # fmt: skip
        _instances_agree(golden, index, found)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "preset", "keys"), CASES)
def test_the_copy_for_inference_finds_the_published_instances(path: Path, preset: str, keys: str) -> None:
    golden = Golden(path)
    model = InferenceModel(_filled(preset, keys, golden.suffix), precision="float32")
    images = golden.images
    found = model.instances(images if len(images) > 1 else images[0][None], output_sizes=_output_sizes(golden))
    for index, instances in enumerate(found):
        _instances_agree(golden, index, instances)


def _output_sizes(golden: Golden) -> list[tuple[int, int]]:
    if isinstance(golden.output_size, list):
        return [tuple(size) for size in golden.output_size]
    return [tuple(image.shape[-2:]) for image in golden.images]


def _instances_agree(golden: Golden, index: int, found: ImageInstances) -> None:
    """Compare the final instances pair by pair: near-ties may stand in another order."""
    output_size = _output_sizes(golden)[index]
    scores, classes, boxes, areas = (
        golden.arrays[f"inst{index}_{name}"].astype(np.float64) for name in ("scores", "classes", "boxes", "areas")
    )
    assert len(found.scores) == len(scores)
    cost = np.abs(found.boxes.numpy()[:, None] - boxes).sum(-1) / max(output_size)
    cost += np.abs(found.scores.numpy()[:, None] - scores)
    cost += np.where(found.labels.numpy()[:, None] == classes, 0, 100)
    ours, theirs = linear_sum_assignment(cost)
    assert (found.labels.numpy()[ours] == classes[theirs]).mean() >= 0.99
    ours_areas = found.masks.flatten(1).sum(1).numpy()
    for name, values, expected in (
        ("scores", found.scores.numpy(), scores),
        ("boxes", found.boxes.numpy(), boxes),
        ("areas", ours_areas, areas),
    ):
        difference = np.abs(values[ours] - expected[theirs])
        assert np.median(difference) <= 1e-4 * np.abs(expected).max(), name
        assert np.percentile(difference, 97) <= 2e-3 * np.abs(expected).max(), name

    partner = dict(zip(theirs, ours, strict=True))
    packed = golden.arrays[f"inst{index}_top8_masks_packed"]
    masks = np.unpackbits(packed, axis=-1)[..., : output_size[1]].astype(bool)
    for mask, place in zip(masks, golden.arrays[f"inst{index}_top8_order"], strict=True):
        ours_mask = found.masks[partner[place]].numpy()
        assert (mask ^ ours_mask).sum() <= 1e-3 * mask.size


@pytest.mark.parametrize(("keys", "preset"), PRESETS.items())
def test_the_published_names_are_exactly_ours(keys: str, preset: str) -> None:
    published = published_tensors(keys)
    with torch.device("meta"):
        exported = engine.export_official(engine.build_model(preset))
    assert {name: list(tensor.shape) for name, tensor in exported.items()} == {
        name: entry["shape"] for name, entry in published.items()
    }
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in exported.items()}
    assert dtypes == {name: entry["dtype"] for name, entry in published.items()}
