"""Compare a class raster with another one or with polygons of a layer, a window at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import rasterio.shutil
from defusedxml import ElementTree
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from engine.errors import RasterError, RasterFitError
from engine.raster.georeference import georeference_of
from engine.raster.opening import display_name, gdal_settings, open_dataset
from engine.raster.referenced_files import report_other_files
from engine.vector.area_of_interest import AreaOfInterest
from training.evaluation.classes.confusion import ConfusionMatrix
from training.evaluation.classes.drawing import PolygonDrawing
from training.evaluation.classes.labels import CONTESTED, NOTHING, Classes

WINDOW = 1024  # pixels, the side of what is in memory at once
_TOLERANCE = 0.001
"""Of a pixel: how far warping may be off. At 0, rasterio 1.4 fails where the grid is given."""


class Truth(Protocol):
    """What a class raster is held against: another raster, or polygons."""

    def read(self, window: Window) -> np.ndarray:
        """Return the numbers of classes (h, w) int32 in a window, ``NOTHING`` or ``CONTESTED`` where no class is certain."""
        ...


class ClassRaster:
    """A raster of one band whose values are labels. Close it, or use it in a ``with`` statement.

    Attributes:
        name: what messages call it.
        width, height, crs, transform: its grid; without a georeference as QGIS draws pictures.
        labels: by the name of the class, where the file names them.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a raster.

        Raises:
            RasterError: it cannot be opened.
            RasterFitError: it has several bands, or values that are no labels.
        """
        self.name = display_name(path)
        report_other_files(str(path))
        self._dataset = open_dataset(path)
        try:
            with gdal_settings():
                bands = [band for band in self._dataset.colorinterp if band != ColorInterp.alpha]
                if len(bands) != 1:
                    raise RasterFitError(f"{self.name} has {len(bands)} bands.", hint="A raster of classes has one.")
                if np.dtype(self._dataset.dtypes[0]).kind not in "iuf":
                    raise RasterFitError(f"{self.name} has {self._dataset.dtypes[0]} values.", hint="Labels are whole numbers.")
                place = georeference_of(self._dataset, name=self.name)
                self.labels = _labels_of(self._dataset)
        except BaseException:
            self.close()
            raise
        self.crs, self.transform = place.crs, place.transform
        self.width, self.height = self._dataset.width, self._dataset.height

    def read(self, window: Window) -> np.ma.MaskedArray:
        """Read the labels (h, w) of a window, masked where there is no data.

        Raises:
            RasterError: the file is damaged there, or has a value that is no whole number.
        """
        return self._labels(self._dataset, window)

    def on_grid_of(self, other: ClassRaster) -> Callable[[Window], np.ma.MaskedArray]:
        """Return what reads this raster by windows of another one's grid, the nearest pixel each.

        Raises:
            RasterFitError: one has no CRS, and they differ in size.
        """
        if self.crs is None or other.crs is None:
            if (self.width, self.height) != (other.width, other.height):
                raise RasterFitError(
                    f"{other.name} is {other.width}x{other.height} pixels, {self.name} {self.width}x{self.height}, and not "
                    "both have a CRS that places them on the ground.",
                    hint="Give rasters of the same size, or georeference both.",
                )
            return self.read
        if (self.crs, self.transform, self.width, self.height) == (other.crs, other.transform, other.width, other.height):
            return self.read
        dataset, nodata = self._dataset, self._dataset.nodata
        with gdal_settings():
            warped = WarpedVRT(
                dataset, crs=other.crs, transform=other.transform, width=other.width, height=other.height,
                resampling=Resampling.nearest, nodata=nodata, tolerance=_TOLERANCE,
                # Where nothing marks what has no data, a band of its own tells it from label 0.
                add_alpha=nodata is None and ColorInterp.alpha not in dataset.colorinterp,
            )  # fmt: skip
        return lambda window: self._labels(warped, window)

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def __enter__(self) -> ClassRaster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _labels(self, dataset: DatasetReader | WarpedVRT, window: Window) -> np.ma.MaskedArray:
        try:
            with gdal_settings():
                values = dataset.read(1, window=window, masked=True)
        except RasterioError as error:
            raise RasterError(f"{self.name} cannot be read: {str(error).rstrip('.')}.", hint="Is the file whole?") from error
        if values.dtype.kind != "f":
            return values
        values = np.ma.masked_invalid(values)
        labels = values.filled(0).astype(np.int64)
        broken = labels != values.filled(0)
        if broken.any():
            raise RasterError(
                f"{self.name} has the value {values.data[broken][0]}, which is no label.", hint="Labels are whole numbers."
            )
        return np.ma.MaskedArray(labels, np.ma.getmaskarray(values))


@dataclass(frozen=True)
class RasterTruth:
    """Another raster, read on the grid of the one that is measured."""

    read_labels: Callable[[Window], np.ma.MaskedArray]
    classes: Classes
    name: str

    def read(self, window: Window) -> np.ndarray:
        """Return the numbers of classes in a window."""
        return _numbers(self.read_labels(window), self.classes, self.name)


def compare_raster(
    raster: ClassRaster,
    truth: Truth,
    classes: Classes,
    *,
    area: AreaOfInterest | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[ConfusionMatrix, int]:
    """Compare each pixel of a class raster with the truth at its centre.

    Ground that the raster does not reach is not compared; pixels of it without data count as given no class.

    Args:
        raster: what is measured.
        truth: what is there.
        classes: the raster's.
        area: pixels whose centres lie outside are not compared.
        progress: called with the windows done, and all; what it raises ends the work.

    Returns:
        The confusion matrix, and how many pixels were left out because the truth gives them to two classes.

    Raises:
        RasterError: a file is damaged.
        ArgumentError: a label stands for no class.
    """
    matrix, contested = ConfusionMatrix(classes.names), 0
    inside = None if area is None else PolygonDrawing(area.polygons)
    windows = _windows((0, 0, raster.width, raster.height) if area is None else area.window())
    for done, window in enumerate(windows):
        progress(done, len(windows))
        known = truth.read(window)
        if inside is not None:
            known = np.where(inside.covers(window), known, NOTHING)
        contested += int((known == CONTESTED).sum())
        if (known >= 0).any():
            matrix.add(known, _numbers(raster.read(window), classes, raster.name))
    progress(len(windows), len(windows))
    return matrix, contested


def _numbers(labels: np.ma.MaskedArray, classes: Classes, name: str) -> np.ndarray:
    has_data = ~np.ma.getmaskarray(labels)
    numbers = np.full(labels.shape, NOTHING, dtype=np.int32)
    numbers[has_data] = classes.numbers_of(labels.data[has_data], where=name)
    return numbers


def _windows(bounds: tuple[int, int, int, int]) -> list[Window]:
    left, top, right, bottom = bounds
    return [
        Window(column, row, min(WINDOW, right - column), min(WINDOW, bottom - row))
        for row in range(top, bottom, WINDOW)
        for column in range(left, right, WINDOW)
    ]


def _labels_of(dataset: Any) -> dict[str, int] | None:
    """Return the labels of classes by the names that a file has for them; None where it has none.

    GDAL keeps them in several places, depending on the format; its description of a dataset as a VRT has them all in one.
    """
    with MemoryFile(ext=".vrt") as file:
        rasterio.shutil.copy(dataset, file.name, driver="VRT")
        band = ElementTree.fromstring(file.read()).find("VRTRasterBand")
    entries = [] if band is None else band.findall("CategoryNames/Category")
    names = {name.strip(): label for label, entry in enumerate(entries) if (name := entry.text or "").strip()}
    return names or None
