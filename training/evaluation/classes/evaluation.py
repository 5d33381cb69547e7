"""Compare predicted classes with true ones, whatever both come as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import ArgumentError, RasterError
from engine.vector.area_of_interest import AreaOfInterest
from engine.vector.polygon_file import LAYER_MARK
from training.evaluation.classes.confusion import ConfusionMatrix
from training.evaluation.classes.labels import IGNORED, Classes, read_class_names
from training.evaluation.classes.pictures import compare_pictures
from training.evaluation.classes.polygons import PolygonTruth
from training.evaluation.classes.rasters import ClassRaster, RasterTruth, Truth, compare_raster


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """What a comparison gave.

    Attributes:
        prediction, truth: as they were asked for.
        kind: what was compared: the pictures of two folders, or a raster with another one or with polygons.
        matrix: of the classes that occur, or of all where somebody named them.
        pictures: how many; None of rasters.
        contested: pixels that were left out because polygons of two classes cover them; None without polygons.
    """

    prediction: str
    truth: str
    kind: Literal["pictures", "rasters", "polygons"]
    matrix: ConfusionMatrix
    pictures: int | None = None
    contested: int | None = None


def evaluate_classes(
    prediction: str | Path,
    truth: str | Path,
    *,
    classes: str | None = None,
    ignore: Sequence[str] = (IGNORED,),
    class_field: str | None = None,
    background: str | None = None,
    aoi: str | Path | None = None,
    prediction_suffix: str | None = None,
    truth_suffix: str | None = None,
    reduce_zero_label: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ClassEvaluation:
    """Compare two folders of label pictures, or a class raster with another one or with polygons.

    Args:
        prediction: a folder, or a raster.
        truth: a folder, a raster, or a layer of polygons as ``read_layer`` takes it.
        classes: names of the labels from 0 on, as ``read_class_names`` takes them; by default those that the rasters carry,
            else each label is a class.
        ignore: names or labels that are not compared.
        class_field, background: as ``PolygonTruth.of_layer`` has them.
        aoi: an area outside of which rasters are not compared.
        prediction_suffix, truth_suffix, reduce_zero_label: as ``compare_pictures`` has them.
        progress: called with the pictures or windows done, and all; what it raises ends the work.

    Raises:
        ArgumentError: an option does not belong to what is compared, or a class is unknown.
        RasterError, VectorError: a file cannot be read.
        RasterFitError: a raster holds no classes, or two without a CRS differ in size.
    """
    named = None if classes is None else read_class_names(classes)
    raster_options = {"aoi": aoi}
    polygon_options = {"class_field": class_field, "background": background}
    picture_options = {
        "prediction_suffix": prediction_suffix, "truth_suffix": truth_suffix, "reduce_zero_label": reduce_zero_label or None,
    }  # fmt: skip
    about = {"prediction": str(prediction), "truth": str(truth)}
    if Path(prediction).is_dir() or Path(truth).is_dir():
        for path in (prediction, truth):
            if not Path(path).is_dir():
                raise ArgumentError(f"{path} is no folder, unlike what it is compared with.", hint="Give two folders, or none.")
        _refuse({**raster_options, **polygon_options}, "rasters")
        given = {name: value for name, value in picture_options.items() if value is not None}
        known = Classes(named, ignored=ignore)
        matrix, count = compare_pictures(Path(prediction), Path(truth), known, progress=progress, **given)
        return ClassEvaluation(kind="pictures", matrix=_tidy(matrix, known), pictures=count, **about)
    _refuse(picture_options, "folders of label pictures")
    with ExitStack() as stack:
        raster = stack.enter_context(ClassRaster(prediction))
        other = _opened(truth)
        if other is not None:
            stack.enter_context(other)
            _refuse(polygon_options, "polygons")
            known = Classes(named or raster.labels or other.labels, ignored=ignore)
            relabel = named is None and raster.labels and other.labels
            theirs = known.relabelled(other.labels, where=other.name) if relabel else known
            there: Truth = RasterTruth(other.on_grid_of(raster), theirs, other.name)
        else:
            known = Classes(named or raster.labels, ignored=ignore)
            there = PolygonTruth.of_layer(truth, raster, known, field=class_field, background=background)
        area = None if aoi is None else AreaOfInterest.from_vector(aoi, raster)
        matrix, contested = compare_raster(raster, there, known, area=area, progress=progress)
    if other is not None:
        return ClassEvaluation(kind="rasters", matrix=_tidy(matrix, known), **about)
    return ClassEvaluation(kind="polygons", matrix=_tidy(matrix, known), contested=contested, **about)


def _opened(truth: str | Path) -> ClassRaster | None:
    """Open the truth if it is a raster; None if it is a layer.

    Raises:
        RasterError: it is neither.
    """
    if LAYER_MARK in str(truth):
        return None
    try:
        return ClassRaster(truth)
    except RasterError as error:
        from pyogrio import list_layers
        from pyogrio.errors import DataSourceError

        try:
            is_layer = Path(truth).suffix.lower() in (".parquet", ".geoparquet") or len(list_layers(truth))
        except DataSourceError:
            is_layer = False
        if not is_layer:
            raise error
        return None


def _refuse(options: dict[str, Any], belongs_to: str) -> None:
    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None:
        raise ArgumentError(
            f"--{given.replace('_', '-')} belongs to {belongs_to}, which are not compared here.", hint="Leave it out."
        )


def _tidy(matrix: ConfusionMatrix, classes: Classes) -> ConfusionMatrix:
    """Return the matrix without the labels that nobody named and that do not occur."""
    return matrix if classes.named else matrix.only(matrix.seen)
