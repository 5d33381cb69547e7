"""The model against numbers that the official implementation computed: every file of its kind in ../shared/parity."""

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
from tests.parity_weights import filled_state_dict

PARITY = Path(__file__).parents[5] / "shared" / "parity"
PRESETS = {"maskdino_r50": "maskdino_r50", "maskdino_swinl_map": "maskdino_swinl"}
CASES = [
    pytest.param(path, preset, keys, id=path.stem)
    for keys, preset in PRESETS.items()
    for path in sorted(PARITY.glob(f"{keys}_*.npz"))
]
needs_parity = pytest.mark.skipif(not PARITY.is_dir(), reason="no ../shared/parity: the official numbers are not here")


class Golden:
    """The arrays of one file, with the tolerance that its own noise allows."""

    def __init__(self, path: Path) -> None:
        self.arrays = dict(np.load(path))
        meta = json.loads(str(self.arrays.pop("meta")))
        self.suffix, self.output_size = meta["suffix"], meta["out_size"]
        self.noise = meta["noise_f32_vs_f64_[max,p99,median]"]

    def agrees(self, name: str, found: torch.Tensor | np.ndarray) -> None:
        """Compare the differences at their largest, 99th and 50th percentile: a swapped query moves only the first."""
        expected = self.arrays[name].astype(np.float64)
        difference = np.abs(np.asarray(found, dtype=np.float64) - expected)
        scale = np.abs(expected).max()
        for level, recorded in zip((100, 99, 50), self.noise.get(name, (0, 0, 0)), strict=True):
            allowed = max(3 * recorded, 1e-4 * scale)
            measured = np.percentile(difference, level)
            assert measured <= allowed, f"{name}: percentile {level} is off by {measured:.3g}, allowed {allowed:.3g}"

    def agrees_in_slice(self, name: str, found: torch.Tensor) -> None:
        assert tuple(found.shape) == tuple(self.arrays[f"{name}_shape"])
        self.agrees(f"{name}_slice", found[:, :4, :12, :12])
        self.agrees(f"{name}_stats", _stats(found))

    @property
    def images(self) -> list[torch.Tensor]:
        names = sorted(name for name in self.arrays if name.startswith("image"))
        return [torch.from_numpy(self.arrays[name]).permute(2, 0, 1).float() for name in names]


def _stats(x: torch.Tensor) -> list[float]:
    x = x.double()
    return [v.item() for v in (x.mean(), x.std(), x.abs().sum(), x.min(), x.max())]


def _filled(preset: str, keys: str, suffix: str) -> torch.nn.Module:
    model = engine.build_model(preset)
    engine.load_official(model, filled_state_dict(PARITY / f"{keys}.keys.json", suffix))
    return model.eval()


@needs_parity
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
    # near-ties may swap neighbours: the same positions must be chosen, hardly any in another order
    expected = golden.arrays["two_stage_topk_idx"]
    assert [set(row) for row in selected.positions.tolist()] == [set(row) for row in expected.tolist()]
    order_kept = (selected.positions.numpy() == expected).mean()
    assert order_kept > 0.98
    golden.agrees("interm_boxes", selected.prediction.boxes)
    classes = golden.arrays["interm_logits"].shape[-1]
    golden.agrees("interm_logits", selected.prediction.class_logits[..., :classes])
    golden.agrees("interm_masks_first2", selected.prediction.mask_logits[:, :2])
    golden.agrees("dec_ref_in_unsigmoid", selected.boxes)
    golden.agrees("dec_tgt_in_stats", _stats(selected.content))

    outputs = model(images if len(images) > 1 else images[0][None], intermediate=True)
    golden.agrees("pred_logits", outputs.class_logits)
    golden.agrees("pred_boxes", outputs.boxes)
    assert tuple(outputs.mask_logits.shape) == tuple(golden.arrays["pred_masks_shape"])
    golden.agrees("pred_masks_first4", outputs.mask_logits[:, :4])
    golden.agrees("pred_masks_ds8", outputs.mask_logits[:, :, 4::8, 4::8])
    golden.agrees("aux_boxes", torch.stack([layer.boxes for layer in outputs.auxiliary]))
    golden.agrees("aux_logits_slice", torch.stack([layer.class_logits for layer in outputs.auxiliary])[..., :4])

    for index, image in enumerate(images):
        found = image_instances(
            outputs, index, image_size=tuple(image.shape[-2:]), padded_size=tuple(batch.shape[-2:]),
            output_size=_output_sizes(golden)[index], count=model.config.detections_per_image,
        )  # fmt: skip
        _instances_agree(golden, index, found)


@needs_parity
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


@needs_parity
@pytest.mark.parametrize(("keys", "preset"), PRESETS.items())
def test_the_published_names_are_exactly_ours(keys: str, preset: str) -> None:
    published = json.loads((PARITY / f"{keys}.keys.json").read_text())["keys"]
    with torch.device("meta"):
        exported = engine.export_official(engine.build_model(preset))
    assert {name: list(tensor.shape) for name, tensor in exported.items()} == {
        name: entry["shape"] for name, entry in published.items()
    }
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in exported.items()}
    assert dtypes == {name: entry["dtype"] for name, entry in published.items()}
