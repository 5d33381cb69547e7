"""How long a unit of a CRS is on the ground, place by place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj

_EARTH_RADIUS = 6_371_000.0  # metres
_STEP = 10.0  # metres, about: inverse projections are good to a tenth of a millimetre


def metres_per_unit(points: np.ndarray, crs: Any) -> np.ndarray:
    """Measure geodesics along both axes.

    Args:
        points: (N, 2) in the CRS.
        crs: as pyproj knows it; without one, units are metres.

    Returns:
        (N, 2) metres per unit of x and of y; NaN where a point has no place on Earth.
    """
    if crs is None:
        return np.ones((len(points), 2))
    crs = pyproj.CRS.from_user_input(crs)
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    geographic = crs.geodetic_crs
    if geographic is None:  # a plane that lies nowhere on Earth
        return np.full((len(points), 2), unit)
    step = _STEP / unit / (_EARTH_RADIUS if crs.is_geographic else 1.0)
    to_geographic = pyproj.Transformer.from_crs(crs, geographic, always_xy=True)
    ellipsoid = geographic.get_geod()
    scales = []
    for offset in ((step / 2, 0.0), (0.0, step / 2)):
        before, after = (to_geographic.transform(*(points + sign * np.array(offset)).T) for sign in (-1, 1))
        on_earth = np.isfinite([*before, *after]).all(0)
        length = np.full(len(points), np.nan)
        ends = [axis[on_earth] * np.rad2deg(geographic.axis_info[0].unit_conversion_factor) for axis in (*before, *after)]
        length[on_earth] = ellipsoid.inv(*ends)[2]
        scales.append(length / step)
    return np.stack(scales, axis=1)
