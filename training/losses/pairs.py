"""Which query stands for which target, over a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.model.denoising_queries import DenoisingQueries

from .denoising import group_slots
from .matcher import Match


@dataclass(frozen=True, eq=False)
class Pairs:
    """Hold K pairs, (K,) int64 each; ``target`` counts through the targets of all images, one image after the other."""

    image: Tensor
    query: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Pairs:
        return Pairs(self.image.to(device), self.query.to(device), self.target.to(device))


def matched_pairs(matches: Sequence[Match], counts: Sequence[int]) -> Pairs:
    """Join the matches of the images of a batch, which have ``counts`` targets."""
    image = torch.cat([torch.full_like(match.queries, index) for index, match in enumerate(matches)])
    starts = torch.tensor([0, *counts]).cumsum(0)
    target = torch.cat([match.targets + start for match, start in zip(matches, starts[:-1], strict=True)])
    return Pairs(image, torch.cat([match.queries for match in matches]), target)


def denoising_pairs(denoising: DenoisingQueries, counts: Sequence[int]) -> Pairs:
    """Pair each denoising query with the target that it is a noised copy of: nothing to match."""
    image, slot = group_slots(counts, denoising.groups, denoising.group_size)
    return Pairs(image, slot, torch.arange(sum(counts)).repeat(denoising.groups))
