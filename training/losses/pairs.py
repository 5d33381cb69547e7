"""Which query stands for which target, over a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.model.families.maskdino.model import DenoisingQueries
from engine.model.host_transfer import indices_to_device

from .denoising import group_slots
from .matcher import Match


@dataclass(frozen=True, eq=False)
class Pairs:
    """Hold K pairs, (K,) int64 each; ``target`` counts through the targets of all images, one image after the other."""

    image: Tensor
    query: Tensor
    target: Tensor


def matched_pairs(layers: Sequence[Sequence[Match]], counts: Sequence[int], device: torch.device) -> list[Pairs]:
    """Join the matches of the images of a batch, which have ``counts`` targets, layer by layer; one copy moves them all."""
    firsts = np.cumsum([0, *counts[:-1]])
    found = []
    for matches in layers:
        image = np.repeat(np.arange(len(matches)), [len(match.queries) for match in matches])
        query = np.concatenate([match.queries for match in matches])
        target = np.concatenate([match.targets + first for match, first in zip(matches, firsts, strict=True)])
        found.append(np.stack([image, query, target]))
    together = indices_to_device(np.concatenate(found, axis=1), device)
    return [Pairs(*layer.unbind()) for layer in together.split([pairs.shape[1] for pairs in found], dim=1)]


def denoising_pairs(denoising: DenoisingQueries, counts: Sequence[int], device: torch.device) -> Pairs:
    """Pair each denoising query with the target that it is a noised copy of: nothing to match."""
    image, slot = group_slots(counts, denoising.groups, denoising.group_size)
    target = np.tile(np.arange(sum(counts)), denoising.groups)
    return Pairs(*indices_to_device(np.stack([image, slot, target]), device).unbind())
