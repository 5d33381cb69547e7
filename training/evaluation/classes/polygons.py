"""Polygons with a field of classes, as the truth that a class raster is held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rasterio.windows import Window

from engine.errors import ArgumentError, VectorError
from engine.vector.area_of_interest import Ground, in_pixels
from engine.vector.polygon_file import read_layer
from engine.vector.valid_polygons import polygons_in
from training.evaluation.classes.drawing import PolygonDrawing
from training.evaluation.classes.labels import CONTESTED, NOTHING, Classes
from training.evaluation.layers.fields import CLASS_FIELDS, NO_CLASS, class_names, find_field, find_fields


class PolygonTruth:
    """The classes of polygons on the pixels of a raster."""

    def __init__(self, polygons: np.ndarray, numbers: np.ndarray, *, background: int = NOTHING) -> None:
        """Take polygons.

        Args:
            polygons: (K,) in pixels of the raster.
            numbers: (K,) of their classes, ``NOTHING`` where what they cover is not compared.
            background: the class of pixels in no polygon.
        """
        self._drawing = PolygonDrawing(polygons)
        self._numbers = numbers
        self._background = background

    @classmethod
    def of_layer(
        cls, path: str | Path, raster: Ground, classes: Classes, *, field: str | None = None, background: str | None = None
    ) -> PolygonTruth:
        """Read a layer in any CRS.

        Args:
            path: as ``read_layer`` takes it.
            raster: on whose pixels.
            classes: that the names in the field have to be of.
            field: with the names of classes, or their labels where they have no names; by default ``class``.
            background: name of the class of ground in no polygon; without it that is not compared.

        Raises:
            VectorError: it cannot be read, or lies beside the raster.
            ArgumentError: it has no such field, or a class that is unknown.
        """
        wanted = {"wanted": field, "among": CLASS_FIELDS, "what": "class", "path": path}
        layer = read_layer(path, role="truth", fields=lambda names: find_fields(names, wanted))
        field = find_field(list(layer.fields), **wanted)
        if field is None:
            raise ArgumentError(f"truth {path} has no field 'class'.", hint="Name the field of classes with --class-field.")
        names = class_names(layer.fields[field])
        number_of = {name: classes.number_of(name, where=f"truth {path}") for name in sorted({*names} - {NO_CLASS})}
        of_feature = np.array([number_of.get(name, NOTHING) for name in names], dtype=np.int32)
        found, numbers = [np.zeros(0, dtype=object)], [np.zeros(0, dtype=np.int32)]
        for number in np.unique(of_feature):
            polygons = polygons_in(layer.geometries[of_feature == number])
            found.append(in_pixels(polygons, layer.crs, raster, name=f"truth {path}"))
            numbers.append(np.full(len(found[-1]), number, dtype=np.int32))
        truth = cls(
            np.concatenate(found),
            np.concatenate(numbers),
            background=NOTHING if background is None else classes.number_of(background, where="--background"),
        )
        if not len(truth._drawing.near(Window(0, 0, raster.width, raster.height))):
            raise VectorError(f"truth {path} lies beside {raster.name}.", hint="Is it the truth of another raster?")
        return truth

    def read(self, window: Window) -> np.ndarray:
        """Return the numbers of classes (h, w) int32 in a window: ``NOTHING`` or ``CONTESTED`` where no class is certain."""
        rows = self._drawing.near(window)
        labels = np.full((int(window.height), int(window.width)), self._background, dtype=np.int32)
        covered = np.zeros(labels.shape, dtype=bool)
        for number in np.unique(self._numbers[rows]):
            here = self._drawing.covers(window, rows[self._numbers[rows] == number])
            labels[here] = np.where(covered[here], CONTESTED, number)
            covered |= here
        return labels
