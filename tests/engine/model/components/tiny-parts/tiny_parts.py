"""A backbone, a pixel decoder and two transformer decoders: the package that docs/components.md shows."""

from __future__ import annotations

from pydantic import Field
from torch import nn
from torch.nn import functional as F

from engine.model.components import Component
from engine.model.config import StrictModel


class Pooling(Component):
    """A backbone: one convolution a map, and pooling between the maps."""

    class Options(StrictModel):
        width: int = Field(16, ge=1, le=1024)

    def __init__(self, options):
        super().__init__()
        self.channels = dict.fromkeys(("res2", "res3", "res4", "res5"), options.width)
        self.stem = nn.Conv2d(3, options.width, 4, stride=4)
        self.stages = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in self.channels.values())

    def forward(self, images):
        maps, x = {}, self.stem(images)
        for name, stage in zip(self.channels, self.stages, strict=True):
            maps[name] = x = F.relu(stage(x))
            x = F.avg_pool2d(x, 2)
        return maps


class Pyramid(Component):
    """A pixel decoder: a 1x1 convolution a map, and no word between them."""

    def __init__(self, options, *, channels, dim, features, levels, mask_dim):
        super().__init__()
        self.features, self.levels = features, levels
        self.lateral = nn.ModuleList(nn.Conv2d(channels[name], dim, 1) for name in features)
        self.pixels = nn.Conv2d(channels["res2"], mask_dim, 1)

    def forward(self, maps):
        levels = [lateral(maps[name]) for name, lateral in zip(self.features, self.lateral, strict=True)]
        while len(levels) < self.levels:
            levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
        return self.pixels(maps["res2"]), levels


class Refiner(Component):
    """A transformer decoder for Mask DINO: torch's layers, after each of which the boxes are moved."""

    class Options(StrictModel):
        layers: int = Field(2, ge=1, le=12)
        heads: int = Field(4, ge=1)

    def __init__(self, options, *, dim, levels):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(dim, options.heads, 2 * dim, dropout=0, batch_first=True) for _ in range(options.layers)
        )

    def forward(self, content, boxes, memory, shapes, heads, *, attention_mask=None, intermediate=True):
        states, predicted = [], []
        for layer in self.layers:
            content = layer(content, memory, attention_mask)
            states.append(heads.norm(content))
            boxes = (heads.refine_box(states[-1]) + boxes.detach().logit(eps=1e-5)).sigmoid()
            predicted.append(boxes)
        return (states, predicted) if intermediate else (states[-1:], predicted[-1:])

    def repeated_parts(self):
        yield from self.layers


class Painter(Component):
    """A transformer decoder for Mask2Former: its queries attend to whole maps, not to what their masks cover."""

    def __init__(self, options, *, dim, levels, queries):
        super().__init__()
        self.content = nn.Embedding(queries, dim)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(dim, 4, 2 * dim, dropout=0, batch_first=True) for _ in range(levels)
        )

    def forward(self, maps, pixels, heads, *, intermediate=True):
        content = self.content.weight.expand(len(pixels), -1, -1)
        states = [heads.norm(content)]
        for layer, level in zip(self.layers, maps, strict=True):
            content = layer(content, level.flatten(2).transpose(1, 2))
            states.append(heads.norm(content))
        return states if intermediate else states[-1:]
