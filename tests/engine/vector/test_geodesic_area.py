"""Areas are those on the ground, whatever the CRS."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import rasterio.crs
import shapely
from hypothesis import given
from hypothesis import strategies as st

from engine.vector.geodesic_area import ground_areas

GEOD = pyproj.Geod(ellps="WGS84")


def house(longitude: float, latitude: float, *, length: float = 30.0, angle: float = 0.0) -> shapely.Polygon:
    """A house 20 metres wide, in degrees of WGS 84, with a courtyard of a quarter of its area."""
    shell = shapely.box(-length / 2, -10, length / 2, 10)
    plan = shapely.affinity.rotate(shell.difference(shapely.affinity.scale(shell, 0.5, 0.5)), angle)

    def onto_earth(points: np.ndarray) -> np.ndarray:
        azimuth = np.degrees(np.arctan2(points[:, 0], points[:, 1]))
        count = len(points)
        x, y, _ = GEOD.fwd(np.full(count, longitude), np.full(count, latitude), azimuth, np.hypot(*points.T))
        return np.stack([x, y], axis=1)

    return shapely.transform(plan, onto_earth)


def into(polygon: shapely.Polygon, crs: str) -> shapely.Polygon:
    transformer = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    return shapely.transform(polygon, lambda points: np.stack(transformer.transform(*points.T), axis=1))


@given(
    longitude=st.floats(-180, 180),
    latitude=st.floats(-85, 85),
    angle=st.floats(0, 90),
    length=st.floats(1, 150),
    crs=st.sampled_from(["EPSG:4326", "EPSG:3857", "EPSG:6933"]),
)
def test_areas_are_geodesic(longitude: float, latitude: float, angle: float, length: float, crs: str) -> None:
    polygon = house(longitude, latitude, length=length, angle=angle)
    # Geod signs an area by the direction of its ring, which no plane orientation tells across the antimeridian.
    expected = abs(GEOD.geometry_area_perimeter(polygon)[0])
    (area,) = ground_areas([polygon], "EPSG:4326")
    assert area == pytest.approx(expected, rel=1e-4)
    assert area == pytest.approx(0.75 * length * 20, rel=1e-3)
    if abs(longitude) < 179:
        (area,) = ground_areas([into(polygon, crs)], crs)
        assert area == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("crs", "longitude", "latitude"),
    [("EPSG:32645", 85.52, 27.63), ("EPSG:2263", -73.98, 40.75), ("EPSG:3832", 179.99999, -17.8), ("EPSG:3031", 40.0, -72.0),
     ("EPSG:27700", -0.1, 51.5), ("EPSG:4807", 2.35, 48.85)],
)  # fmt: skip
def test_metres_feet_grads_poles_and_the_antimeridian(crs: str, longitude: float, latitude: float) -> None:
    (area,) = ground_areas([into(house(longitude, latitude), crs)], crs)
    # Datums differ: a metre of the one is that of the other to within some millionths.
    assert area == pytest.approx(450, rel=2e-4)


def test_many_polygons_keep_their_order() -> None:
    polygons = [house(85, 27, length=float(length)) for length in range(10, 60)]
    areas = ground_areas(np.array(polygons, dtype=object), rasterio.crs.CRS.from_epsg(4326))
    np.testing.assert_allclose(areas, 15.0 * np.arange(10, 60), rtol=1e-4)


def test_no_crs_no_area_and_nothing_nothing() -> None:
    assert np.isnan(ground_areas([shapely.box(0, 0, 1, 1)], None)).all()
    assert ground_areas([], "EPSG:4326").shape == ground_areas([], None).shape == (0,)


def test_a_local_grid_is_taken_by_its_units() -> None:
    local = 'LOCAL_CS["site",UNIT["US survey foot",0.304800609601219]]'
    (area,) = ground_areas([shapely.box(0, 0, 10, 10)], rasterio.crs.CRS.from_wkt(local).to_wkt())
    assert area == pytest.approx(100 * 0.304800609601219**2)


def test_coordinates_that_lie_nowhere_have_no_area() -> None:
    assert np.isnan(ground_areas([shapely.box(1e30, 1e30, 2e30, 2e30)], "EPSG:32645")).all()
