"""Layers of buildings to be compared, written as files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from shapely import affinity

UTM = "EPSG:32645"
ORIGIN = (360_000.0, 3_050_000.0)


def write(path: Path, shapes: list[Any] | np.ndarray, *, crs: Any = UTM, to: Any = None, **fields: Any) -> Path:
    """Write footprints that are given in ``crs``, in the CRS ``to``."""
    frame = geopandas.GeoDataFrame(fields, geometry=list(shapes), crs=crs)
    if to is not None:
        frame = frame.to_crs(to)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
        return path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pyogrio's, that there is no CRS
        frame.to_file(path)
    return path


def house(x: float, y: float, width: float = 10, height: float = 10, turned: float = 0) -> shapely.Geometry:
    """Return a rectangle near the origin of these layers; ``x`` and ``y`` are of its lower left corner."""
    shape = shapely.box(ORIGIN[0] + x, ORIGIN[1] + y, ORIGIN[0] + x + width, ORIGIN[1] + y + height)
    return affinity.rotate(shape, turned)


def street(rng: np.random.Generator, count: int) -> list[shapely.Geometry]:
    """Return houses in a row that do not touch."""
    return [
        house(30 * number, rng.uniform(0, 9), rng.uniform(8, 18), rng.uniform(8, 18), rng.uniform(0, 90))
        for number in range(count)
    ]


def redrawn(shapes: list[shapely.Geometry], rng: np.random.Generator, *, by: float = 1.0) -> list[shapely.Geometry]:
    """Return the same houses as another person might draw them."""
    return [
        affinity.rotate(affinity.scale(affinity.translate(shape, *rng.normal(0, by, 2)), *rng.uniform(0.9, 1.1, 2)),
                        rng.normal(0, 4 * by))
        for shape in shapes
    ]  # fmt: skip
