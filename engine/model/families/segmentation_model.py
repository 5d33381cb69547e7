"""What the models have in common whose queries each have a class and a mask: all they are asked for follows from these two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from engine.model.config import Classification, SegmentationConfig
from engine.model.families.family_model import FamilyModel
from engine.model.outputs import Outputs
from engine.model.postprocess import ChosenPairs, Size, most_probable_pairs
from engine.model.segmentation import (
    PanopticSegmentation,
    class_probabilities,
    enlarge,
    panoptic_segmentation,
    semantic_scores,
    sharpened,
)

_PIXELS_AT_ONCE = 2**24  # of enlarged masks; 64 MB of float32


class SegmentationModel(FamilyModel):
    """A model whose ``forward(images, intermediate=False)`` predicts class and mask of its queries.

    Attributes:
        classification: what its class logits are.
        temperature: of the softmax that sharpens sigmoid probabilities where classes compete for a pixel; None for a softmax.
        object_threshold: probability that the class of a query has to exceed for the query to be a panoptic segment.
    """

    config: SegmentationConfig

    def __init__(
        self,
        config: SegmentationConfig,
        *,
        backbone: nn.Module,
        classification: Classification,
        temperature: float | None,
        object_threshold: float,
    ) -> None:
        super().__init__(config, backbone=backbone)
        self.classification = classification
        self.temperature = temperature
        self.object_threshold = object_threshold

    @torch.inference_mode()
    def semantic(self, images: Tensor | Sequence[Tensor], *, output_sizes: Sequence[Size] | None = None) -> list[Tensor]:
        """Score every class at every pixel.

        A model for semantic segmentation alone is scored at the padded size and its scores are resampled, as published.

        Args:
            images: as for ``forward``.
            output_sizes: height and width in which each image's scores are wanted; by default its own.

        Returns:
            (classes, H, W) of each image, the highest of which is the pixel's class.
        """
        outputs, sizes = self(images, intermediate=False), [tuple(image.shape[-2:]) for image in images]
        padded_size, scores_first = self.padded_size(sizes), self.config.task == "semantic"
        scored = []
        for classes, masks, size, output_size in _by_image(outputs, sizes, output_sizes):
            probabilities = self._competing(class_probabilities(classes, self.classification))
            if scores_first:
                scores = _summed(probabilities, masks, (padded_size, padded_size, padded_size))
                scored.append(enlarge(scores, padded_size, size, output_size))
            else:
                scored.append(_summed(probabilities, masks, (padded_size, size, output_size)))
        return scored

    @torch.inference_mode()
    def panoptic(
        self, images: Tensor | Sequence[Tensor], *, output_sizes: Sequence[Size] | None = None
    ) -> list[PanopticSegmentation]:
        """Cut each image into instances of things and regions of stuff, none of which overlap.

        Args:
            images: as for ``forward``.
            output_sizes: height and width in which each image's map is wanted; by default its own.
        """
        outputs, sizes = self(images, intermediate=False), [tuple(image.shape[-2:]) for image in images]
        padded_size, found = self.padded_size(sizes), []
        for classes, masks, size, output_size in _by_image(outputs, sizes, output_sizes):
            probabilities = class_probabilities(classes, self.classification)
            kept = probabilities.amax(-1) > self.object_threshold
            drawn = enlarge(masks[kept], padded_size, size, output_size)
            found.append(panoptic_segmentation(self._competing(probabilities[kept]), drawn, things=set(self.config.things)))
        return found

    def best_pairs(self, class_logits: Tensor, *, count: int | None, threshold: float) -> ChosenPairs:
        """Choose the best pairs of a query and a class of each image, of these the things if the model tells them apart.

        Args:
            class_logits: (B, Q, classes), or (B, Q, classes + 1) for a softmax.
            count: pairs per image; by default what the model was made for.
            threshold: probability below which a pair is left out.
        """
        return most_probable_pairs(
            class_probabilities(class_logits, self.classification),
            count=self.config.detections_per_image if count is None else count,
            threshold=threshold,
            labels=self.config.things if self.config.task == "panoptic" else None,
        )

    def _competing(self, probabilities: Tensor) -> Tensor:
        """Probabilities (Q, classes) of classes that compete for the pixels of a query."""
        return probabilities if self.temperature is None else sharpened(probabilities, self.temperature)


def _by_image(
    outputs: Outputs, sizes: Sequence[Size], output_sizes: Sequence[Size] | None
) -> Iterator[tuple[Tensor, Tensor, Size, Size]]:
    """Class logits and mask logits of each image, its size, and the size wanted."""
    return zip(outputs.class_logits, outputs.mask_logits, sizes, output_sizes or sizes, strict=True)


def _summed(probabilities: Tensor, masks: Tensor, sizes: tuple[Size, Size, Size]) -> Tensor:
    """Sum masks (Q, h, w), enlarged by so many at a time as memory should hold, by class: (classes, H, W)."""
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    some = max(1, _PIXELS_AT_ONCE // (height * width))
    parts = zip(probabilities.split(some), masks.split(some), strict=True)
    return sum(semantic_scores(part, enlarge(of_part, *sizes)) for part, of_part in parts)
