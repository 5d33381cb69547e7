"""A plane in metres on which areas are those of the ground, whatever CRS the layers come in."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import CRSError, ProjError

from engine.errors import VectorError

logger = logging.getLogger(__name__)

_FAR = 1_000_000.0  # metres from the centre: lengths are off by 0.3 % here, areas by nothing


class GroundPlane:
    """Lambert's azimuthal equal-area projection around the middle of a layer (Snyder 1987, section 24).

    Areas are those on the ellipsoid. Lengths are off by one part in 30,000 at 100 km from the centre. Where no CRS places the
    layers on Earth, it is their own plane.

    Attributes:
        crs: of the plane; None where the layers' own plane is taken.
        metres: whether the unit is the metre; else nobody knows.
    """

    def __init__(self, crs: pyproj.CRS | None, *, scale: float = 1.0, metres: bool = True) -> None:
        self.crs = crs
        self.metres = metres
        self._scale = scale

    @classmethod
    def around(cls, geometries: np.ndarray, crs: Any) -> GroundPlane:
        """Choose the plane for footprints in a CRS, anything that pyproj knows, or None."""
        if crs is None:
            return cls(None, metres=False)
        crs = _known(crs)
        if crs.geodetic_crs is None:
            return cls(None, scale=crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0)
        if not len(geometries):
            return cls(_equal_area(0.0, 0.0))
        boxes = shapely.bounds(geometries)
        to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        longitude, latitude = to_degrees.transform((boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2)
        on_earth = np.isfinite(longitude) & np.isfinite(latitude)
        if not on_earth.any():
            raise VectorError(
                f"coordinates such as {boxes[0, 0]:.10g} {boxes[0, 1]:.10g} do not exist in {crs.name}.",
                hint="Does the layer have the right CRS?",
            )
        longitude, latitude = np.radians(longitude[on_earth]), np.radians(latitude[on_earth])
        # The mean of the directions: right across the antimeridian and at the poles too.
        x, y, z = (np.mean(part) for part in _directions(longitude, latitude))
        return cls(_equal_area(float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))))

    def bring(self, geometries: np.ndarray, crs: Any, *, name: str) -> np.ndarray:
        """Bring footprints onto the plane; one that has no place on it becomes an empty one.

        Raises:
            VectorError: there is no way from their CRS.
        """
        if not len(geometries):
            return np.asarray(geometries, dtype=object)
        if self.crs is None:
            return _moved(geometries, lambda points: points * self._scale) if self._scale != 1 else geometries
        try:
            transformer = pyproj.Transformer.from_crs(_known(crs), self.crs, always_xy=True)
            brought = _moved(geometries, lambda points: np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1))
        except ProjError as error:
            raise VectorError(
                f"{name} cannot be brought from its CRS {crs} to the ground: {error}.", hint="Save it in another CRS."
            ) from error
        lost = ~np.isfinite(shapely.bounds(brought)).all(axis=1)
        if lost.any():
            logger.warning("%s: %d of %d footprints lie outside what their CRS can express.", name, lost.sum(), len(lost))
            brought[lost] = shapely.Polygon()
        far = np.abs(shapely.bounds(brought[~lost])).max(initial=0.0)
        if far > _FAR:
            logger.warning("%s reaches %.0f km from its middle: distances there are off by more than 0.3 %%.", name, far / 1000)
        # The way through another CRS can make slivers cross themselves.
        broken = ~shapely.is_valid(brought)
        brought[broken] = shapely.make_valid(brought[broken])
        return brought


def _moved(geometries: np.ndarray, move: Any) -> np.ndarray:
    return np.asarray(shapely.transform(geometries, move), dtype=object)


def _known(crs: Any) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise VectorError(f"CRS {crs} is unknown to PROJ.", hint="Save the layer in a CRS with an EPSG number.") from error


def _equal_area(longitude: float, latitude: float) -> pyproj.CRS:
    return pyproj.CRS.from_dict(
        {"proj": "laea", "lon_0": round(longitude, 6), "lat_0": round(latitude, 6), "datum": "WGS84", "units": "m"}
    )


def _directions(longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
