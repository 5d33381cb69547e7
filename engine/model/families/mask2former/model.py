"""Mask2Former, from images to predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from engine.model.families.mask2former.config import Mask2FormerConfig
from engine.model.families.mask2former.decoder import MaskedDecoder, MaskHeads
from engine.model.families.maskdino.pixel_decoder import PixelDecoder
from engine.model.families.segmentation_model import SegmentationModel
from engine.model.layers.heads import draw_masks
from engine.model.outputs import Outputs, Prediction
from engine.model.postprocess import ImageInstances, draw_instances

_OBJECT_THRESHOLD = 0.8


class Mask2Former(SegmentationModel):
    """Masked-attention mask transformer for universal image segmentation (arXiv 2112.01527)."""

    def __init__(
        self,
        config: Mask2FormerConfig,
        *,
        backbone: nn.Module,
        pixel_decoder: PixelDecoder,
        decoder: MaskedDecoder,
        heads: MaskHeads,
    ) -> None:
        super().__init__(
            config, backbone=backbone, classification="softmax", temperature=None, object_threshold=_OBJECT_THRESHOLD
        )
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.heads = heads

    def forward(self, images: Tensor | Sequence[Tensor], *, intermediate: bool | None = None) -> Outputs:
        """Predict the segments of a batch of images.

        Args:
            images: (B, 3, H, W) RGB in 0..255, or a list of (3, H, W) of any sizes. They are normalised, then padded
                with zeros at the right and bottom to the largest of them and to a multiple of 32.
            intermediate: whether to predict from the learned queries and the layers before the last as well. By default in
                training mode.

        Returns:
            Class logits (B, Q, classes + 1), the last for no object, mask logits (B, Q, padded H/4, padded W/4), no boxes, and
            the intermediate predictions asked for.
        """
        intermediate = self.training if intermediate is None else intermediate
        pixels, states = self._decode(images, intermediate=intermediate)
        *auxiliary, last = (Prediction(self.heads.classify(state), None, self.heads.draw(state, pixels)) for state in states)
        return Outputs(last.class_logits, None, last.mask_logits, auxiliary=auxiliary)

    @torch.inference_mode()
    def instances(
        self,
        images: Tensor | Sequence[Tensor],
        *,
        count: int | None = None,
        threshold: float = 0.0,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Sequence[ImageInstances]:
        """Find the instances of images; see `engine.model.instance_model.InstanceModel`. Boxes bound the masks."""
        pixels, (state,) = self._decode(images, intermediate=False)
        sizes = [tuple(image.shape[-2:]) for image in images]
        chosen = self.best_pairs(self.heads.classify(state), count=count, threshold=threshold)
        embedded = self.heads.embed_mask(state[chosen.images, chosen.queries])
        return draw_instances(
            chosen,
            boxes=None,
            mask_logits=draw_masks(embedded, pixels, images=chosen.images, ranks=chosen.ranks, counts=chosen.counts),
            image_sizes=sizes,
            padded_size=self.padded_size(sizes),
            output_sizes=output_sizes or sizes,
        )

    def _decode(self, images: Tensor | Sequence[Tensor], *, intermediate: bool) -> tuple[Tensor, list[Tensor]]:
        """Per-pixel embeddings (B, C, h, w) and normalised queries (B, Q, C), see `MaskedDecoder.forward`."""
        pixels, maps = self.pixel_decoder(self.backbone(self.prepare(images)))
        return pixels, self.decoder(maps, pixels, self.heads, intermediate=intermediate)

    def repeated_parts(self) -> Iterator[nn.Module]:
        yield from super().repeated_parts()
        yield from self.pixel_decoder.repeated_parts()
        yield from self.decoder.repeated_parts()
