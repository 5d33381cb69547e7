"""What detection and evaluation ask of a model: instances of images, whatever network finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor, nn

from engine.model.header import ModelHeader
from engine.model.postprocess import ImageInstances


class InstanceModel(Protocol):
    """A network that finds instances; a `torch.nn.Module` in ``eval()`` mode.

    Attributes:
        header: what the model's file says of it; None where it came from none.
    """

    header: ModelHeader | None

    def instances(
        self,
        images: Tensor | Sequence[Tensor],
        *,
        count: int | None = None,
        threshold: float = 0.0,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Sequence[ImageInstances]:
        """Find the instances of each image, best first; see `engine.model.families.maskdino.model.MaskDino.instances`."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the weights; the first says on which device the model is."""
        ...

    def eval(self) -> InstanceModel:
        """Make the model ready to predict."""
        ...
