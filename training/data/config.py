"""What a model is trained and validated on: annotated images, georeferenced imagery, map tiles, synthetic towns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from engine.model.config import StrictModel

SMALLEST_INSTANCE = 12  # pixels

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class Source(StrictModel):
    """What every kind of source can say of itself.

    Attributes:
        name: of the place or data set, in reports and in the model card; by default that of its folder.
        licence, attribution: of imagery and labels, for the model card.
        weight: how often it is drawn from, against the other sources.
        scale: range of magnification of its crops instead of ``AugmentationConfig.scale``, for imagery that is much coarser or
            finer than the rest.
    """

    name: str | None = None
    licence: str | None = None
    attribution: str | None = None
    weight: Positive = 1.0
    scale: tuple[Positive, Positive] | None = None

    @field_validator("scale")
    @classmethod
    def _rising(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and scale[0] > scale[1]:
            raise ValueError(f"{scale[0]:g} to {scale[1]:g} is no range; give the smaller one first")
        return scale


class ImageData(Source):
    """Annotated images.

    Attributes:
        folder: of the data set.
        gsd: metres per pixel of the images; None takes what the file says of them, if anything.
        fit: at a scale of 1 each image, of validation too, just fits into a crop, as in the published runs; otherwise a pixel
            stays a pixel, or becomes ``DataConfig.gsd`` metres where the training image's own are known.
        in_memory: read all images once and cut crops at any angle out of them, and validate on windows of
            ``DataConfig.size``: for a few images larger than a crop. Needs to know their metres per pixel.
        hold_out: images that are validated on and never trained on, by patterns such as ``site_07_*`` for their
            ``file_name`` or their ``place`` (`fnmatch`). Images of one ground belong on one side.
    """

    folder: Path
    gsd: Positive | None = None
    fit: bool = False
    in_memory: bool = False
    hold_out: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_once(self) -> ImageData:
        if self.fit and self.in_memory:
            raise ValueError("fit and in_memory exclude each other: what is cut at any angle does not fit a crop; set one")
        return self


class CocoData(ImageData):
    """Images with COCO annotations in the layout of MapChallenge.

    Attributes:
        folder: holds ``images/`` and ``annotation.json``.
        images, annotations: other places for the two.
    """

    kind: Literal["coco"]
    images: Path | None = None
    annotations: Path | None = None


class VocData(ImageData):
    """Images in the layout of Pascal VOC, with a list of objects and a picture of their pixels each.

    Attributes:
        folder: holds ``Annotations``, ``JPEGImages`` and ``SegmentationObject``.
        split: the images named in ``ImageSets/Segmentation/SPLIT.txt``, such as ``train``; None takes all whose objects are
            drawn.
    """

    kind: Literal["voc"]
    split: str | None = None


class RasterData(Source):
    """Georeferenced imagery with a layer of footprints.

    Attributes:
        rasters: 8 bit RGB with a CRS; several are images of the same ground, of which the first is validated on.
        footprints: a vector layer of polygons, in any CRS.
        area: a vector layer of the area within which the footprints are complete.
        hold_out: boxes (xmin, ymin, xmax, ymax) in the CRS of ``area``; ground in them is validated on.
        margin: width in metres of the strip around ``hold_out`` that is neither trained nor validated on.
    """

    kind: Literal["raster"]
    rasters: Annotated[tuple[Path, ...], Field(min_length=1)]
    footprints: Path
    area: Path
    hold_out: tuple[Box, ...] = ()
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 15.0


class TilesData(Source):
    """XYZ tiles with COCO annotations whose images carry ``zoom`` and ``bounds``; neighbours are put together again.

    Attributes:
        folder: holds ``images/`` and ``annotation.json``.
        image_zoom: the zoom level that pictures are taken from.
        label_zoom: the one that footprints are taken from; the coarser one cuts fewer buildings.
        hold_out: boxes (xmin, ymin, xmax, ymax) in EPSG:3857; tiles of ``label_zoom`` whose centre lies in one are validated
            on.
    """

    kind: Literal["tiles"]
    folder: Path
    image_zoom: Annotated[int, Field(ge=0, le=30)]
    label_zoom: Annotated[int, Field(ge=0, le=30)]
    hold_out: tuple[Box, ...] = ()


class TownsData(Source):
    """Synthetic towns.

    Attributes:
        count: of towns.
        size: side of a town in pixels.
        gsd: range of metres per pixel, drawn for each town.
        seed: of the first town; the others follow. Towns of one range of seeds are another data set than those of another.
        styles: weights of the styles in ``training.data.synthetic.style``; None takes all alike.
        cache: a folder where painted towns are kept for other processes and runs; None paints them anew in each process.
    """

    kind: Literal["towns"]
    count: Annotated[int, Field(ge=1)] = 300
    size: Annotated[int, Field(ge=64, le=8192)] = 768
    gsd: tuple[Positive, Positive] = (0.24, 0.32)
    seed: Annotated[int, Field(ge=0)] = 0
    styles: dict[str, Positive] | None = None
    cache: Path | None = None


SourceConfig = Annotated[CocoData | VocData | RasterData | TilesData | TownsData, Field(discriminator="kind")]


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
        validation: what the model is measured on beside the ground that ``sources`` hold out: whole images of folders,
            windows of everything else. May be empty; weights mean nothing here.
        size: side of a training crop in pixels, a multiple of 32 as the model pads to that.
        gsd: metres per pixel of the crops; None leaves images as they are. Only folders of images that are not ``in_memory``
            can do without.
        samples_per_epoch: crops drawn in an epoch, from the sources by weight; None takes each image once, in an order of
            its own for each epoch, which only folders of images that are not ``in_memory`` allow.
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
    def _validation_is_whole(self) -> DataConfig:
        for source in self.validation:
            if getattr(source, "hold_out", ()):
                raise ValueError("validation: hold_out means nothing in a source that is validated on as a whole; leave it out")
        return self

    @model_validator(mode="after")
    def _sources_fit_together(self) -> DataConfig:
        drawn = [_words(source) for source in self.sources if _is_scenes(source)]
        everywhere = drawn + [_words(source) for source in self.validation if _is_scenes(source)]
        if everywhere and self.gsd is None:
            raise ValueError(
                f"gsd is empty, and {everywhere[0]} are cut at a resolution of one's choice; give metres per pixel, such as 0.3"
            )
        if drawn and self.samples_per_epoch is None:
            raise ValueError(
                f"samples_per_epoch is empty, and {drawn[0]} have no images to count; say how many crops make an epoch"
            )
        if self.samples_per_epoch is None and any(source.weight != 1 or source.scale for source in self.sources):
            raise ValueError("weight and scale mean nothing where each image is taken once an epoch; give samples_per_epoch")
        return self


def _is_scenes(source: Source) -> bool:
    """Tell sources that are cut into crops freely from folders of images that are taken one by one."""
    return not isinstance(source, ImageData) or source.in_memory


def _words(source: Source) -> str:
    return "images in memory" if isinstance(source, ImageData) else {"raster": "rasters"}.get(source.kind, source.kind)
