"""DI-MaskDINO, from images to predictions: a Mask DINO with another query selection and another decoder."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from engine.model.families.dimaskdino.config import DiMaskDinoConfig
from engine.model.families.dimaskdino.decoder import BalanceAwareDecoder
from engine.model.families.dimaskdino.double_selection import DoubleSelection
from engine.model.families.maskdino.model import MaskDino
from engine.model.layers.positions import Shapes


class DiMaskDino(MaskDino):
    """DI-MaskDINO: a joint object detection and instance segmentation model (arXiv 2410.16707)."""

    config: DiMaskDinoConfig
    query_selection: DoubleSelection
    decoder: BalanceAwareDecoder

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
        return self.decoder(
            content, boxes, memory, shapes, pixels, self.heads, attention_mask=attention_mask, intermediate=intermediate
        )

    def repeated_parts(self) -> Iterator[nn.Module]:
        yield from super().repeated_parts()
        yield from self.query_selection.layers
