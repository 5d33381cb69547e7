"""One training step of ours on the input of a published-code run, with that run's random numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import engine
from engine.model.families.maskdino.model import DenoisingQueries
from engine.model.families.maskdino.published_names import official_name
from engine.model.outputs import Outputs
from engine.model.presets import preset
from tests.goldens.recordings import read_recording
from tests.parity_weights import filled_state_dict
from training.losses import DenoisingConfig, LossConfig, Match, Target
from training.losses.target_batch import TargetBatch
from training.objectives.mask_dino import MaskDinoObjective

PRESETS = {
    "maskdino_r50": "maskdino_r50",
    "maskdino_swinl_map": "maskdino_swinl",
    "maskdino_r50_coco_pan": "maskdino_r50_panoptic",
    "maskdino_r50_ade_sem": "maskdino_r50_semantic",
}


class FixedRandom:
    """The numbers that stood in for random ones when the figures were made."""

    def __init__(self, *, fixed_points: bool) -> None:
        self.uniform_seed = 20240002 if fixed_points else 20240004

    def matching_points(self, images: int, count: int, device: torch.device) -> Tensor:
        return _uniform(20240001, (count, 2)).expand(images, -1, -1)

    def candidate_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        return _uniform(20240003, (count, 2)).expand(masks, -1, -1)

    def uniform_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        return _uniform(self.uniform_seed, (count, 2)).expand(masks, -1, -1)

    def label_chances(self, count: int, device: torch.device) -> Tensor:
        return _uniform(20240005, (count,))

    def replacement_labels(self, count: int, num_classes: int, device: torch.device) -> Tensor:
        return torch.from_numpy(np.random.Generator(np.random.PCG64(20240006)).integers(0, num_classes, count))

    def box_noise(self, count: int, device: torch.device) -> Tensor:
        return _uniform(20240007, (count, 4))


@dataclass
class Step:
    """What one training step gave, under the published names.

    ``matches`` and ``costs`` (Q, T) are of each prediction and image: last layer, layers before it, the encoder's proposals.
    ``selection_scores`` (B, Q) are those by which the queries were chosen and put in order; None for learned queries.
    """

    losses: dict[str, float]
    weights: dict[str, float]
    total: float
    matches: list[list[Match]]
    costs: list[list[np.ndarray]]
    selection_scores: np.ndarray | None
    gradients: dict[str, Tensor]
    denoising: DenoisingQueries | None


class Golden:
    """A recorded training step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays = read_recording(path)
        self.meta = json.loads(str(self.arrays["meta"]))
        self.args = self.meta["args"]
        self.double = bool(self.args["f64"])
        self.dtype = torch.float64 if self.double else torch.float32

    @cached_property
    def twin(self) -> Golden | None:
        """The same step in the other precision; the difference is the noise of the published code itself."""
        stem = self.path.stem
        other = stem.removesuffix("_f64") if stem.endswith("_f64") else stem + "_f64"
        path = self.path.with_name(other + ".npz")
        return Golden(path) if path.exists() else None

    def noise(self, of: Callable[[Golden], dict[str, float]], *, otherwise: tuple[float, float, float]) -> np.ndarray:
        """Median, 99th percentile and worst relative difference between the two precisions, where both were recorded."""
        return np.array(otherwise) if self.twin is None else spread(of(self.twin), of(self))

    @property
    def losses(self) -> dict[str, float]:
        return dict(zip(self.arrays["loss_names"].tolist(), self.arrays["loss_weighted"].tolist(), strict=True))

    @property
    def weights(self) -> dict[str, float]:
        return dict(zip(self.arrays["loss_names"].tolist(), self.arrays["loss_weights"].tolist(), strict=True))

    @property
    def gradient_norms(self) -> dict[str, float]:
        return json.loads(str(self.arrays["grad_norms_json"]))

    @property
    def gradient_slices(self) -> dict[str, np.ndarray]:
        prefix = "gradslice_"
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    def images(self) -> list[Tensor]:
        count = sum(name.startswith("image") for name in self.arrays)
        return [torch.from_numpy(self.arrays[f"image{i}"]).permute(2, 0, 1).to(self.dtype) for i in range(count)]

    def targets(self) -> list[Target]:
        targets = []
        for i in range(len(self.images())):
            shape = self.arrays[f"gt_masks{i}_shape"]
            masks = np.unpackbits(self.arrays[f"gt_masks{i}_packed"], axis=-1, count=int(shape[-1])).reshape(shape)
            labels = torch.from_numpy(self.arrays[f"gt_labels{i}"].astype(np.int64))
            boxes = torch.from_numpy(self.arrays[f"gt_boxes_xyxy{i}"]).to(self.dtype)
            targets.append(Target.from_pixels(labels, boxes, torch.from_numpy(masks.astype(bool))))
        return targets

    def state_dict(self) -> dict[str, Tensor]:
        """The weights under their published names."""
        return filled_state_dict(self.args["model"], self.args.get("suffix", ""))

    def label_embedding(self) -> Tensor:
        return self.state_dict()["sem_seg_head.predictor.label_enc.weight"].to(self.dtype)

    def run(self) -> Step:
        """Run our model and losses, forward and backward."""
        num_classes = self.meta["num_classes"]
        config = preset(PRESETS[self.args["model"]], num_classes=num_classes)
        if hasattr(config.backbone, "drop_path"):
            config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"drop_path": 0.0})})
        model = engine.build_model(config)
        engine.load_official(model, self.state_dict())
        model = model.to(self.dtype).train()
        fixed = self.args["points"] == "fixed"
        random = FixedRandom(fixed_points=fixed)
        mode = self.args["dn"]
        # With fixed points nothing is chosen by its uncertainty, which is a ratio of zero.
        loss_config = LossConfig(denoising=DenoisingConfig(mode=mode), importance_sample_ratio=0.0 if fixed else 0.75)
        objective = MaskDinoObjective(model, loss_config, random=random)
        kept: list[tuple[Outputs, DenoisingQueries | None]] = []
        model.register_forward_hook(lambda _, given, named, made: kept.append((made, named["denoising"])), with_kwargs=True)
        scores: list[Tensor] = []
        if config.decoder.two_stage:
            model.query_selection.register_forward_hook(
                lambda _, given, selected: scores.append(model.heads.classify(selected.content).amax(-1).detach())
            )
        targets = self.targets()
        losses = objective(self.images(), targets)  # what the training program minimises
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        outputs, denoising = kept[0]
        criterion = objective.criterion
        height, width = (4 * side for side in outputs.mask_logits.shape[-2:])
        batch = TargetBatch.of(targets, size=(height, width))
        predictions = [outputs, *outputs.auxiliary, *([] if outputs.encoder is None else [outputs.encoder])]
        matches = criterion.matcher(predictions, batch)
        with torch.no_grad():
            costs = [criterion.matcher.cost([prediction], batch).numpy() for prediction in predictions]
        gradients = {official_name(n): p.grad for n, p in model.named_parameters() if p.grad is not None}
        return Step(
            losses={name: loss.item() for name, loss in losses.items()},
            weights={name: criterion.weight(name) for name in losses},
            total=total.item(),
            matches=matches,
            costs=[[cost[:, :count] for cost, count in zip(layer, batch.counts, strict=True)] for layer in costs],
            selection_scores=scores[0].numpy() if scores else None,
            gradients=gradients,
            denoising=denoising,
        )


def spread(values: dict[str, float], expected: dict[str, float]) -> np.ndarray:
    """Median, 99th percentile and worst relative difference, absolute where nothing was expected."""
    errors = [abs(values[name] - value) / max(abs(value), 1e-9) for name, value in expected.items()]
    return np.array([np.median(errors), np.percentile(errors, 99), max(errors)])


def _uniform(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).random(shape).astype(np.float32))
