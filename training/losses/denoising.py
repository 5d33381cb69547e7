"""Noised ground truth as extra queries, which the decoder learns to put right (DN-DETR, arXiv:2203.01305)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.model.families.maskdino.model import DenoisingQueries
from engine.model.host_transfer import indices_to_device

from .random_source import RandomSource, TorchRandom
from .target import Target
from .workers import most_over_workers


def make_denoising_queries(
    targets: Sequence[Target],
    *,
    num_queries: int,
    num_classes: int,
    number: int = 100,
    noise_scale: float = 0.4,
    random: RandomSource | None = None,
) -> DenoisingQueries | None:
    """Repeat the targets in groups of their own noise.

    As many groups are made as fit into ``number`` queries for the image with the most targets, those of other workers
    included: empty slots count as background, so the loss of a batch would else depend on how it is shared out. A label is
    replaced by a random one (perhaps the same) with a chance of ``noise_scale / 2``; a box's centre moves by up to
    ``noise_scale`` of half its sides, its sides change by up to ``noise_scale`` of themselves.

    Args:
        targets: one an image.
        num_queries: the model's ordinary queries, which come after the denoising ones in the attention mask.

    Returns:
        None where there is nothing to denoise: no target at all, or more in one image than ``number``.
    """
    random = random or TorchRandom()
    counts = [len(target) for target in targets]
    group_size = most_over_workers(max(counts, default=0), targets[0].boxes.device) if targets else 0
    groups = number // group_size if group_size else 0
    if groups == 0:
        return None
    device = targets[0].boxes.device
    image, slot = indices_to_device(group_slots(counts, groups, group_size), device).unbind()
    known_labels = torch.cat([target.labels for target in targets]).repeat(groups)
    known_boxes = torch.cat([target.boxes for target in targets]).repeat(groups, 1)

    labels = torch.zeros(len(targets), groups * group_size, dtype=torch.int64, device=device)
    boxes = torch.full((*labels.shape, 4), 0.5, dtype=known_boxes.dtype, device=device)
    padding = torch.ones_like(labels, dtype=torch.bool)
    labels[image, slot] = _noised_labels(known_labels, num_classes, noise_scale, random)
    boxes[image, slot] = _noised_boxes(known_boxes, noise_scale, random)
    padding.index_put_((image, slot), padding.new_zeros(()))  # not `= False`, whose copy to a GPU would be waited for
    attention_mask = denoising_attention_mask(groups, group_size, num_queries, device)
    return DenoisingQueries(labels, boxes, padding, attention_mask, groups, group_size)


def group_slots(counts: Sequence[int], groups: int, group_size: int) -> np.ndarray:
    """Return in which image and slot each copy of each target stands.

    Args:
        counts: targets of each image.

    Returns:
        (2, groups * sum(counts)) int64: group by group, in it image by image, in it target by target.
    """
    image = np.repeat(np.arange(len(counts)), counts)
    slot = np.concatenate([np.arange(count) for count in counts])
    start = np.arange(groups)[:, None] * group_size
    return np.stack([np.tile(image, groups), (start + slot).ravel()])


def denoising_attention_mask(groups: int, group_size: int, num_queries: int, device: torch.device) -> Tensor:
    """Block ordinary queries from seeing denoising ones, and each group from seeing the others: (P + Q, P + Q) bool.

    Without it the answers would leak. Denoising queries do see the ordinary ones.
    """
    group = (torch.arange(groups * group_size + num_queries, device=device) // group_size).clamp(max=groups)
    return (group < groups)[None, :] & (group[:, None] != group[None, :])


def _noised_labels(labels: Tensor, num_classes: int, noise_scale: float, random: RandomSource) -> Tensor:
    if noise_scale == 0:
        return labels
    chosen = random.label_chances(len(labels), labels.device) < noise_scale / 2
    # One for each label, for how many are chosen is known to the device alone; the n-th that is chosen takes the n-th.
    replacements = random.replacement_labels(len(labels), num_classes, labels.device)
    return torch.where(chosen, replacements[(chosen.cumsum(0) - 1).clamp(min=0)], labels)


def _noised_boxes(boxes: Tensor, noise_scale: float, random: RandomSource) -> Tensor:
    if noise_scale == 0:
        return boxes
    reach = torch.cat([boxes[:, 2:] / 2, boxes[:, 2:]], dim=1) * noise_scale
    direction = 2 * random.box_noise(len(boxes), boxes.device).to(boxes.dtype) - 1
    return (boxes + direction * reach).clamp(0, 1)
