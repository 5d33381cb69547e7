"""What Swin and DiNAT share: stages of blocks at strides 4 to 32, each of which gives a map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from torch import Tensor, nn


class Stage(nn.Module):
    """The blocks of one resolution, and what leads to the next."""

    def __init__(self, blocks: Iterable[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


class HierarchicalTransformer(nn.Module, ABC):
    """Blocks on maps (B, H, W, C), which are normalised where they leave a stage.

    Attributes:
        names: of the maps.
        patch_embed: images (B, 3, H, W) -> (B, H/4, W/4, C).
        norms: one per stage.
    """

    names: tuple[str, ...]
    patch_embed: nn.Module
    norms: nn.ModuleList

    @property
    @abstractmethod
    def stages(self) -> Iterable[Stage]:
        """The stages, which published checkpoints call by different names."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised -> res2 to res5."""
        x = self.patch_embed(images)  # (B, H/4, W/4, C)
        outputs = {}
        for name, stage, norm in zip(self.names, self.stages, self.norms, strict=True):
            for block in stage.blocks:
                x = block(x)
            outputs[name] = norm(x).permute(0, 3, 1, 2).contiguous()
            if stage.downsample is not None:
                x = stage.downsample(x)
        return outputs

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the blocks."""
        yield from (block for stage in self.stages for block in stage.blocks)
