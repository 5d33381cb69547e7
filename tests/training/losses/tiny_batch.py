"""Small random batches: outputs of a model that never was, and targets to hold them against."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.model.families.maskdino.model import DenoisingQueries
from engine.model.outputs import Outputs, Prediction
from training.losses import Target

CLASSES = 3
MAP = 8  # side of the mask logits; images have four times that


class GridPoints:
    """No chance at all: points on a fixed lattice, noise that changes labels and boxes in a known way."""

    def matching_points(self, images: int, count: int, device: torch.device) -> Tensor:
        return lattice(count).to(device).expand(images, -1, -1)

    def candidate_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        return lattice(count).to(device).expand(masks, -1, -1)

    def uniform_points(self, masks: int, count: int, device: torch.device) -> Tensor:
        return lattice(count).to(device).flip(-1).expand(masks, -1, -1)

    def label_chances(self, count: int, device: torch.device) -> Tensor:
        return torch.linspace(0, 1, count, device=device)

    def replacement_labels(self, count: int, num_classes: int, device: torch.device) -> Tensor:
        return torch.arange(count, device=device) % num_classes

    def box_noise(self, count: int, device: torch.device) -> Tensor:
        return torch.linspace(0, 1, 4 * count, device=device).view(count, 4)


def lattice(count: int) -> Tensor:
    """(count, 2) points that fill the unit square evenly and without any order (an additive recurrence)."""
    steps = torch.arange(1, count + 1, dtype=torch.float64)[:, None]
    return (steps * torch.tensor([0.7548776662466927, 0.5698402909980532], dtype=torch.float64) % 1).float()


def random_prediction(seed: int, *, images: int = 2, queries: int = 6, dtype: torch.dtype = torch.float32) -> Prediction:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    boxes = 0.1 + 0.3 * torch.rand(images, queries, 4, generator=generator, dtype=torch.float64).to(dtype)
    return Prediction(normal(images, queries, CLASSES), boxes, 3 * normal(images, queries, MAP, MAP))


def random_outputs(
    seed: int, *, layers: int = 2, denoising: DenoisingQueries | None = None, **shape: int | torch.dtype
) -> Outputs:
    """Outputs of a model with as many decoder layers, and the prediction before the first."""
    last, encoder, *auxiliary = (random_prediction(1000 * seed + i, **shape) for i in range(layers + 2))
    noised = []
    if denoising is not None:
        images, slots = denoising.labels.shape
        shape = shape | {"images": images, "queries": slots}
        noised = [random_prediction(1000 * seed + 500 + i, **shape) for i in range(layers + 1)]
    return Outputs(**vars(last), auxiliary=auxiliary, encoder=encoder, denoising=noised)


def random_target(seed: int, count: int, *, size: int = 4 * MAP, dtype: torch.dtype = torch.float32) -> Target:
    """Rectangles with their boxes."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, size - 6, (count, 2), generator=generator)
    high = low + torch.randint(4, 7, (count, 2), generator=generator)
    at = torch.arange(size)
    columns = (at >= low[:, :1]) & (at < high[:, :1])
    rows = (at >= low[:, 1:]) & (at < high[:, 1:])
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return Target.from_pixels(labels, torch.cat([low, high], dim=1).to(dtype), rows[:, :, None] & columns[:, None])


def perfect_prediction(targets: list[Target], *, queries: int, certainty: float = 40.0) -> Prediction:
    """What a model that knows the targets would say, sure of itself; targets whose masks are whole cells of four pixels."""
    class_logits = torch.full((len(targets), queries, CLASSES), -certainty)
    boxes = torch.full((len(targets), queries, 4), 0.5)
    mask_logits = torch.full((len(targets), queries, MAP, MAP), -certainty)
    for image, target in enumerate(targets):
        for query, (label, box, mask) in enumerate(zip(target.labels, target.boxes, target.masks, strict=True)):
            class_logits[image, query, label] = certainty
            boxes[image, query] = box
            mask_logits[image, query][mask[::4, ::4]] = certainty
    return Prediction(class_logits, boxes, mask_logits)


def permuted(prediction: Prediction, *, images: Tensor | None = None, queries: Tensor | None = None) -> Prediction:
    """The same prediction with its images or queries in another order."""
    tensors = (prediction.class_logits, prediction.boxes, prediction.mask_logits)
    if images is not None:
        tensors = tuple(tensor[images] for tensor in tensors)
    if queries is not None:
        tensors = tuple(tensor[:, queries] for tensor in tensors)
    return Prediction(*tensors)
