"""What a model is trained and validated on: folders of annotated images, real ground, synthetic towns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.model.config import StrictModel

SMALLEST_INSTANCE = 12  # pixels

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CocoData(StrictModel):
    """Images with COCO annotations in the layout of MapChallenge.

    Attributes:
        folder: holds ``images/`` and ``annotation.json``.
        images, annotations: other places for the two.
        gsd: metres a pixel of the images; None takes what the file says of them, if anything.
        fit: at a scale of 1 each image, of validation too, just fits into a crop, as in the published runs; otherwise a pixel
            stays a pixel, or becomes ``DataConfig.gsd`` metres where the training image's own are known.
        weight: how often it is drawn from, against the other sources.
    """

    kind: Literal["coco"]
    folder: Path
    images: Path | None = None
    annotations: Path | None = None
    gsd: Positive | None = None
    fit: bool = False
    weight: Positive = 1.0


class TownsData(StrictModel):
    """Synthetic towns.

    Attributes:
        count: of towns.
        size: side of a town in pixels.
        gsd: range of metres a pixel, drawn for each town.
        seed: of the first town; the others follow. Towns of one range of seeds are another data set than those of another.
        styles: weights of the styles in ``training.data.town_style``; None takes all alike.
        cache: a folder where painted towns are kept for other processes and runs; None paints them anew in each process.
        weight: how often it is drawn from, against the other sources.
    """

    kind: Literal["towns"]
    count: Annotated[int, Field(ge=1)] = 300
    size: Annotated[int, Field(ge=64, le=8192)] = 768
    gsd: tuple[Positive, Positive] = (0.24, 0.32)
    seed: Annotated[int, Field(ge=0)] = 0
    styles: dict[str, Positive] | None = None
    cache: Path | None = None
    weight: Positive = 1.0


class GroundData(StrictModel):
    """The real ground of the embedded model, see ``training.data.tiny_model_data``.

    Attributes:
        folder: holds ``banepa/`` and ``fair/``.
        weight: how often it is drawn from, against the other sources.
    """

    kind: Literal["ground"]
    folder: Path
    weight: Positive = 1.0


SourceConfig = Annotated[CocoData | TownsData | GroundData, Field(discriminator="kind")]


def _folders(given: Any) -> Any:
    """Let a folder stand for the COCO data in it: data sets of one's own are nearly always that."""
    listed = [given] if isinstance(given, (str, Path)) else given
    if not isinstance(listed, (list, tuple)):
        return given
    return [{"kind": "coco", "folder": item} if isinstance(item, (str, Path)) else item for item in listed]


class DataConfig(StrictModel):
    """The data of a training run.

    Attributes:
        sources: what training crops are drawn from. A folder stands for the COCO data in it.
        validation: what the model is measured on: whole images of COCO folders, the side of the ground and towns that are
            kept aside. May be empty; weights mean nothing here.
        size: side of a training crop in pixels, a multiple of 32 as the model pads to that.
        gsd: metres a pixel of the crops; None leaves images as they are. Towns and ground need it.
        samples_per_epoch: crops drawn in an epoch, from the sources by weight; None takes each image once, in an order of
            its own for each epoch, which only COCO folders allow.
        smallest: instances of fewer pixels in a crop are dropped: what a border leaves of a building cannot be told from
            clutter.
    """

    sources: Annotated[tuple[SourceConfig, ...], BeforeValidator(_folders), Field(min_length=1)]
    validation: Annotated[tuple[SourceConfig, ...], BeforeValidator(_folders)] = ()
    size: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] = 320
    gsd: Positive | None = None
    samples_per_epoch: Annotated[int, Field(ge=1)] | None = None
    smallest: Annotated[int, Field(ge=1)] = SMALLEST_INSTANCE

    @model_validator(mode="after")
    def _sources_fit_together(self) -> DataConfig:
        drawn = [source.kind for source in self.sources if source.kind != "coco"]
        everywhere = drawn + [source.kind for source in self.validation if source.kind != "coco"]
        if everywhere and self.gsd is None:
            raise ValueError(
                f"gsd is empty, and {everywhere[0]} have no resolution of their own; give metres a pixel, such as 0.3"
            )
        if drawn and self.samples_per_epoch is None:
            raise ValueError(
                f"samples_per_epoch is empty, and {drawn[0]} have no images to count; say how many crops make an epoch"
            )
        if self.samples_per_epoch is None and any(source.weight != 1 for source in self.sources):
            raise ValueError("weights mean nothing where each image is taken once an epoch; give samples_per_epoch")
        return self
