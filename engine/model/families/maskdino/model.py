"""Mask DINO, from images to predictions. It reads top to bottom; `build.py` beside it builds the parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.model.config import Classification
from engine.model.families.maskdino.config import MaskDinoConfig
from engine.model.families.maskdino.pixel_decoder import PixelDecoder
from engine.model.families.maskdino.query_selection import LearnedQueries, QuerySelection
from engine.model.families.maskdino.transformer_decoder import TransformerDecoder
from engine.model.families.segmentation_model import SegmentationModel
from engine.model.layers.heads import PredictionHeads
from engine.model.layers.positions import Shapes, inverse_sigmoid
from engine.model.outputs import Outputs, Prediction
from engine.model.postprocess import ImageInstances, draw_instances

_OBJECT_THRESHOLD = 0.25


@dataclass
class DenoisingQueries:
    """Noised ground truth that enters the decoder beside the ordinary queries while training (DN-DETR, arXiv:2203.01305).

    There are P = groups * group_size slots per image. Group g's copy of target t of an image stands in slot
    ``g * group_size + t``. Slots of an image with fewer targets than ``group_size`` are padding.

    labels: (B, P) int64, noised class ids; anything where padding.
    boxes: (B, P, 4) cxcywh in 0..1, noised and clamped; anything where padding.
    padding: (B, P) bool, True where the slot holds nothing: the model gives it a zero embedding and a zero box logit.
    attention_mask: (P + Q, P + Q) bool, True where the row's query may not attend to the column's.
    """

    labels: Tensor
    boxes: Tensor
    padding: Tensor
    attention_mask: Tensor
    groups: int
    group_size: int


class MaskDino(SegmentationModel):
    """Mask DINO: towards a unified transformer-based framework for detection and segmentation (arXiv 2206.02777)."""

    def __init__(
        self,
        config: MaskDinoConfig,
        *,
        backbone: nn.Module,
        pixel_decoder: PixelDecoder,
        query_selection: QuerySelection | LearnedQueries,
        decoder: TransformerDecoder,
        heads: PredictionHeads,
        classification: Classification = "sigmoid",
        temperature: float | None = None,
    ) -> None:
        super().__init__(
            config,
            backbone=backbone,
            classification=classification,
            temperature=temperature,
            object_threshold=_OBJECT_THRESHOLD,
        )
        self.pixel_decoder = pixel_decoder
        self.query_selection = query_selection
        self.decoder = decoder
        self.heads = heads
        self.label_embedding = nn.Embedding(config.num_classes, config.hidden_dim)

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        *,
        denoising: DenoisingQueries | None = None,
        intermediate: bool | None = None,
    ) -> Outputs:
        """Predict the instances of a batch of images.

        Args:
            images: (B, 3, H, W) RGB in 0..255, or a list of (3, H, W) of any sizes. They are normalised, then padded
                with zeros at the right and bottom to the largest of them and to a multiple of 32.
            denoising: queries made of noised targets, put before the ordinary ones; training only.
            intermediate: whether to predict from the proposals and the layers before the last as well. By default in
                training mode.

        Returns:
            Class logits (B, Q, classes), of a softmax (B, Q, classes + 1), boxes (B, Q, 4) cxcywh in 0..1 of the padded image,
            mask logits (B, Q, padded H/4, padded W/4), and the intermediate predictions asked for.
        """
        intermediate = self.training if intermediate is None else intermediate
        pixels, memory, shapes = self._see(images)
        selected = self.query_selection(memory, shapes, pixels, self.heads)

        content, boxes, attention_mask = selected.content, selected.boxes, None
        if denoising is not None:
            labels, starts = self._embed(denoising)
            content, boxes = torch.cat([labels, content], dim=1), torch.cat([starts, boxes], dim=1)
            attention_mask = denoising.attention_mask
        boxes = boxes.sigmoid()
        layers = self._decode(content, boxes, memory, shapes, pixels, attention_mask=attention_mask, intermediate=intermediate)
        if intermediate:
            layers = [(content, boxes, pixels), *layers]
        predictions = []
        for state, layer_boxes, layer_pixels in layers:
            class_logits, mask_logits = self.heads(state, layer_pixels)
            predictions.append(Prediction(class_logits, layer_boxes, mask_logits))
        noised: list[Prediction] = []
        if denoising is not None:
            count = denoising.labels.shape[1]
            noised = [_queries(prediction, slice(None, count)) for prediction in predictions]
            predictions = [_queries(prediction, slice(count, None)) for prediction in predictions]
        *auxiliary, last = predictions
        class_logits = last.class_logits
        if self.training and denoising is None:
            # Keeps the label embedding in the graph, without which distributed training waits for its gradient.
            class_logits = class_logits + 0.0 * self.label_embedding.weight.sum()
        return Outputs(
            class_logits, last.boxes, last.mask_logits,
            auxiliary=auxiliary, encoder=selected.prediction if intermediate else None, denoising=noised,
            interaction=selected.interaction if intermediate else [],
        )  # fmt: skip

    @torch.inference_mode()
    def instances(
        self,
        images: Tensor | Sequence[Tensor],
        *,
        count: int | None = None,
        threshold: float = 0.0,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Sequence[ImageInstances]:
        """Find the instances of images; masks are drawn of those alone that are found.

        Args:
            images: as for ``forward``.
            count: how many an image at most, by class probability; by default what the model was made for.
            threshold: class probability below which nothing is kept.
            output_sizes: height and width in which each image's masks and boxes are wanted; by default its own.

        Returns:
            The instances of each image, best first, in the host's memory.
        """
        pixels, state, boxes, class_logits = self.last_layer(images)
        sizes = [tuple(image.shape[-2:]) for image in images]
        chosen = self.best_pairs(class_logits, count=count, threshold=threshold)
        queries = state[chosen.images, chosen.queries]
        return draw_instances(
            chosen,
            boxes=boxes[chosen.images, chosen.queries],
            mask_logits=self.heads.draw(queries, pixels, images=chosen.images, ranks=chosen.ranks, counts=chosen.counts),
            image_sizes=sizes,
            padded_size=self.padded_size(sizes),
            output_sizes=output_sizes or sizes,
        )

    def last_layer(self, images: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Do that part of ``instances`` which is the same work whatever there is to find.

        Returns:
            Per-pixel embeddings (B, C, h, w), and of the last layer queries (B, Q, C), boxes (B, Q, 4) cxcywh in 0..1 of the
            padded image and class logits (B, Q, classes).
        """
        pixels, memory, shapes = self._see(images)
        selected = self.query_selection(memory, shapes, pixels, self.heads)
        ((state, boxes, pixels),) = self._decode(
            selected.content, selected.boxes.sigmoid(), memory, shapes, pixels, intermediate=False
        )
        class_logits, _ = self.heads(state, None)
        return pixels, state, boxes, class_logits

    def _see(self, images: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor, Shapes]:
        """Per-pixel embeddings (B, C, h, w), the encoder's memory (B, S, C), and the memory's levels as (height, width)."""
        pixels, maps = self.pixel_decoder(self.backbone(self.prepare(images)))
        # The decoder's memory starts at the coarsest level: the published proposals count their sizes from there.
        maps = maps[::-1]
        shapes = tuple((level.shape[-2], level.shape[-1]) for level in maps)
        return pixels, torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1), shapes

    def _decode(
        self,
        content: Tensor,
        boxes: Tensor,
        memory: Tensor,
        shapes: Shapes,
        pixels: Tensor,
        *,
        attention_mask: Tensor | None = None,
        intermediate: bool,
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Decode the queries, see `TransformerDecoder.forward`.

        Returns:
            Of each layer that predicts: queries (B, Q, C), boxes (B, Q, 4), and the per-pixel embeddings that their masks are
            drawn over.
        """
        states, layer_boxes = self.decoder(
            content, boxes, memory, shapes, self.heads, attention_mask=attention_mask, intermediate=intermediate
        )
        return [(state, moved, pixels) for state, moved in zip(states, layer_boxes, strict=True)]

    def repeated_parts(self) -> Iterator[nn.Module]:
        yield from super().repeated_parts()
        yield from self.pixel_decoder.repeated_parts()
        yield from self.decoder.repeated_parts()

    def _embed(self, denoising: DenoisingQueries) -> tuple[Tensor, Tensor]:
        """Content (B, P, C) and box logits (B, P, 4) of denoising queries; zeros in the empty slots."""
        empty = denoising.padding[..., None]
        content = self.label_embedding(denoising.labels).masked_fill(empty, 0.0)
        return content, inverse_sigmoid(denoising.boxes).masked_fill(empty, 0.0).to(content)


def _queries(prediction: Prediction, which: slice) -> Prediction:
    return Prediction(prediction.class_logits[:, which], prediction.boxes[:, which], prediction.mask_logits[:, which])
