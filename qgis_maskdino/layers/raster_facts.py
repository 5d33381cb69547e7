"""What a person wants to know of a raster layer before a model sees it: how fine it is, and how much of it there is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsDistanceArea,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
)

_CELLS = 8  # along each side of an area that is measured


@dataclass(frozen=True)
class RasterFacts:
    """A raster layer in figures.

    Attributes:
        width: pixels; 0 where the layer has no size of its own, as one from the web.
        height: pixels.
        bands: how many.
        gsd: metres per pixel in the middle of the layer; None where nothing says so.
        crs: the name of the coordinate reference system; empty where there is none.
    """

    width: int
    height: int
    bands: int
    gsd: float | None
    crs: str

    @property
    def megapixels(self) -> float:
        """Pixels of the whole layer, in millions."""
        return self.width * self.height / 1e6


def raster_facts(layer: QgsRasterLayer) -> RasterFacts:
    """Describe a layer. To be called in the main thread."""
    provider = layer.dataProvider()
    width, height = (provider.xSize(), provider.ySize()) if provider is not None else (0, 0)
    name = layer.crs().authid() or layer.crs().description() if layer.crs().isValid() else ""
    gsd = ground_sampling_distance(layer) if width and height else None
    return RasterFacts(width, height, layer.bandCount(), gsd, name)


def ground_sampling_distance(layer: QgsRasterLayer) -> float | None:
    """Measure a pixel in the middle of a layer, in metres of true ground; None where the layer has no CRS."""
    if not layer.crs().isValid():
        return None
    centre = layer.extent().center()
    east = QgsPointXY(centre.x() + layer.rasterUnitsPerPixelX(), centre.y())
    north = QgsPointXY(centre.x(), centre.y() + layer.rasterUnitsPerPixelY())
    measure = _measure(layer.crs())
    sides = [measure.measureLine(centre, end) for end in (east, north)]  # metres, for there is an ellipsoid
    if not all(math.isfinite(side) and side > 0 for side in sides):
        return None
    return math.sqrt(sides[0] * sides[1])


def ground_megapixels(area: QgsRectangle, crs: QgsCoordinateReferenceSystem, gsd: float) -> float | None:
    """Return how many million pixels of a size cover a rectangle on the ground; None where that cannot be measured."""
    if not crs.isValid() or area.isEmpty():
        return None
    measure = _measure(crs)
    square_metres = sum(measure.measureArea(QgsGeometry.fromRect(cell)) for cell in _cells(area))
    return square_metres / gsd**2 / 1e6 if math.isfinite(square_metres) else None


def _cells(area: QgsRectangle) -> Iterator[QgsRectangle]:
    """Cut a rectangle: the sides of a very large one are no longer what encloses its ground (the whole Earth had no area)."""
    width, height = area.width() / _CELLS, area.height() / _CELLS
    for column, row in product(range(_CELLS), range(_CELLS)):
        left, bottom = area.xMinimum() + column * width, area.yMinimum() + row * height
        yield QgsRectangle(left, bottom, left + width, bottom + height)


def in_crs(
    area: QgsRectangle, source: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> QgsRectangle | None:
    """Return the rectangle around an area in another CRS; None where it does not exist there."""
    if source == target or not source.isValid() or not target.isValid():
        return area
    try:
        return QgsCoordinateTransform(source, target, QgsProject.instance()).transformBoundingBox(area)
    except QgsCsException:
        return None


def _measure(crs: QgsCoordinateReferenceSystem) -> QgsDistanceArea:
    measure = QgsDistanceArea()
    measure.setSourceCrs(crs, QgsProject.instance().transformContext())
    measure.setEllipsoid(crs.ellipsoidAcronym() or "EPSG:7030")
    return measure
