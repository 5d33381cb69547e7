"""Metres per unit, against what is known of each projection."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pyproj import CRS, Geod, Proj

from engine.vector.local_scale import metres_per_unit


def arcs(latitude: float) -> tuple[float, float]:
    """Return metres of a radian along the parallel and along the meridian, on the ellipsoid of WGS 84."""
    a, e2, phi = 6378137.0, 0.00669437999014, math.radians(latitude)
    bend = 1 - e2 * math.sin(phi) ** 2
    return a * math.cos(phi) / math.sqrt(bend), a * (1 - e2) / bend**1.5


@pytest.mark.parametrize("latitude", [0.0, 60.0, -33.0])
def test_degrees_are_arcs_of_the_ellipsoid(latitude: float) -> None:
    found = metres_per_unit(np.array([[10.0, latitude]]), "EPSG:4326")[0]
    assert found == pytest.approx([math.radians(arc) for arc in arcs(latitude)], rel=1e-5)


def test_web_mercator_is_stretched_differently_along_its_axes() -> None:
    latitude = 47.1
    x, y = Proj("EPSG:3857")(15.4, latitude)
    sphere = 6378137.0 / math.cos(math.radians(latitude))  # units of a radian of latitude; of longitude, 6378137
    along, up = arcs(latitude)
    assert metres_per_unit(np.array([[x, y]]), "EPSG:3857")[0] == pytest.approx([along / 6378137.0, up / sphere], rel=1e-5)


@pytest.mark.parametrize(("crs", "place"), [("EPSG:32633", (15.4, 47.1)), ("EPSG:2193", (174.0, -41.0))])
def test_a_projection_has_the_inverse_of_its_scale(crs: str, place: tuple[float, float]) -> None:
    projection = Proj(crs)
    found = metres_per_unit(np.array([projection(*place)]), crs)[0]
    assert found == pytest.approx([1 / projection.get_factors(*place).meridional_scale] * 2, rel=1e-5)


def test_feet_are_feet_and_no_crs_is_metres() -> None:
    points = np.array([[656_000.0, 500_000.0]])
    feet = CRS("EPSG:2236")  # Florida East in US survey feet
    assert metres_per_unit(points, feet)[0] == pytest.approx([1200 / 3937] * 2, rel=2e-4)
    local = CRS.from_wkt('LOCAL_CS["site",LOCAL_DATUM["site",0],UNIT["Foot",0.3048],AXIS["X",EAST],AXIS["Y",NORTH]]')
    assert metres_per_unit(points, local)[0] == pytest.approx([0.3048] * 2)
    assert metres_per_unit(points, None).tolist() == [[1.0, 1.0]]


def test_a_point_beyond_the_earth_has_none() -> None:
    points = np.array([[500_000.0, 5_000_000.0], [1e30, 1e30]])
    found = metres_per_unit(points, "EPSG:32633")
    assert np.isfinite(found[0]).all() and not np.isfinite(found[1]).any()


def test_lengths_are_geodesics() -> None:
    crs, point = CRS("EPSG:3857"), np.array([[1_700_000.0, 6_000_000.0]])
    projection, step = Proj(crs), 50.0
    ends = [projection(point[0, 0] + side * step / 2, point[0, 1], inverse=True) for side in (-1, 1)]
    assert metres_per_unit(point, crs)[0, 0] == pytest.approx(Geod(ellps="WGS84").inv(*ends[0], *ends[1])[2] / step, rel=1e-5)
