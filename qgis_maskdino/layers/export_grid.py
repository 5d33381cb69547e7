"""The pixels that a layer without any of its own is exported in: how many, how large, and whether that is too many."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsDistanceArea,
    QgsPointXY,
    QgsRectangle,
    QgsUnitTypes,
)

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.translation import tr

# 90 square kilometres at 0.3 m: about 15,000 web tiles, and as much as 4 GB on the disk while it is looked at.
LARGEST = 1000.0  # megapixels
_METRES = QgsUnitTypes.DistanceUnit.DistanceMeters


@dataclass(frozen=True)
class ExportGrid:
    """A north-up lattice of pixels over an area.

    Attributes:
        extent: the ground that it covers, whole pixels of it.
        columns, rows: pixels.
    """

    extent: QgsRectangle
    columns: int
    rows: int

    @classmethod
    def over(cls, area: QgsRectangle, pixel: tuple[float, float], *, name: str) -> ExportGrid:
        """Lay pixels over an area, anchored at its top left corner.

        Args:
            area: not empty.
            pixel: width and height in map units.
            name: of the layer, for messages.

        Raises:
            EngineError: it would be more than ``LARGEST``.
        """
        columns = max(1, math.ceil(area.width() / pixel[0] - 1e-6))
        rows = max(1, math.ceil(area.height() / pixel[1] - 1e-6))
        megapixels = columns * rows / 1e6
        if megapixels > LARGEST:
            raise EngineError(
                tr("'{name}' would have to be fetched as {columns:,} x {rows:,} pixels, {megapixels:,.0f} megapixels.").format(
                    name=name, columns=columns, rows=rows, megapixels=megapixels
                ),
                code="argument",
                hint=tr("Choose an area: {limit:,.0f} megapixels are the most for a layer that is no file.").format(
                    limit=LARGEST
                ),
            )
        extent = QgsRectangle(
            area.xMinimum(), area.yMaximum() - rows * pixel[1], area.xMinimum() + columns * pixel[0], area.yMaximum()
        )
        return cls(extent, columns, rows)

    def window(self, column: int, row: int, columns: int, rows: int) -> QgsRectangle:
        """Return the ground under some of its pixels."""
        width, height = self.extent.width() / self.columns, self.extent.height() / self.rows
        left, top = self.extent.xMinimum() + column * width, self.extent.yMaximum() - row * height
        return QgsRectangle(left, top - rows * height, left + columns * width, top)


def metres_per_unit(
    crs: QgsCoordinateReferenceSystem, place: QgsPointXY, context: QgsCoordinateTransformContext
) -> tuple[float, float] | None:
    """Measure, on true ground, a map unit to the east and one to the north of a place; None where nothing places it on Earth.

    Web mercator stretches: at 60 degrees north a unit is half a metre.
    """
    if not crs.isValid():
        return None
    measure = QgsDistanceArea()
    measure.setSourceCrs(crs, context)
    measure.setEllipsoid(crs.ellipsoidAcronym() or "WGS84")
    # Some ten metres: far more than rounding, far less than what bends.
    step = 1e-4 if crs.isGeographic() else 10.0
    lengths = []
    for end in (QgsPointXY(place.x() + step, place.y()), QgsPointXY(place.x(), place.y() + step)):
        length = measure.convertLengthMeasurement(measure.measureLine([place, end]), _METRES)
        if not (math.isfinite(length) and length > 0):
            return None
        lengths.append(length / step)
    return lengths[0], lengths[1]
