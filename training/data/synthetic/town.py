"""Synthetic towns: aerial images of places that do not exist, with the exact footprint of every building.

They make up the demo scene, and any amount of training data.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import shapely

from engine.errors import ArgumentError
from training.data.rasterize import rasterize_labels
from training.data.synthetic.buildings import Building
from training.data.synthetic.canvas import Canvas
from training.data.synthetic.ground import paint_ground, park_cars
from training.data.synthetic.layout import plan_town
from training.data.synthetic.light import add_facades, draw_sun, light, photograph
from training.data.synthetic.roofs import paint_roofs
from training.data.synthetic.style import STYLES
from training.data.synthetic.trees import plant

GENERATION = 3  # raised whenever the same seed comes to give another picture
SMALLEST_FOOTPRINT = 1.0  # square metres; what the border of the scene leaves of a building may be less
LARGEST_SIZE = 8192  # some 6 GB of memory


class SyntheticTown:
    """A town from a seed: the same seed, size, gsd and style give the same picture.

    Args:
        seed: any non-negative integer.
        size_px: side of the square image in pixels.
        gsd: metres per pixel.
        style: a name from ``training.data.synthetic.style.STYLES``; None draws one.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        footprints: polygons in pixel coordinates (column, row), origin at the top left corner of the top left pixel. They may
            touch and do not overlap. A building cut by the border of the scene leaves one polygon per part.
        style: the style's name.

    Raises:
        ArgumentError: an argument has no meaning.
    """

    def __init__(self, seed: int, size_px: int, gsd: float, style: str | None = None) -> None:
        _check(seed, size_px, gsd, style)
        rng = np.random.default_rng(seed)
        drawn = STYLES[list(STYLES)[int(rng.integers(len(STYLES)))]]
        look = STYLES[style] if style is not None else drawn
        self.seed, self.size, self.gsd, self.style = seed, size_px, gsd, look.name

        extent = size_px * gsd
        plan = plan_town(rng, look, extent)
        self.footprints, buildings = _cut_to_scene(plan.buildings, size_px, gsd)
        owner = self.labels()

        canvas = Canvas(rng, size_px, gsd)
        welcome = paint_ground(canvas, rng, look, plan)
        park_cars(canvas, rng, look, plan.streets, owner > 0)
        paint_roofs(canvas, buildings, owner, look)
        if rng.random() < 0.5:
            add_facades(canvas, rng, owner, lean=rng.uniform(0.03, 0.22) / gsd)
        welcome[owner > 0] = 0.0
        plant(canvas, rng, look, welcome)
        self.image = photograph(light(canvas, draw_sun(rng)), rng, look)

    def labels(self) -> np.ndarray:
        """Return (H, W) int32: 0 is ground, i the pixels whose centre lies in ``footprints[i - 1]``."""
        return self._labels.copy()

    @cached_property
    def _labels(self) -> np.ndarray:
        return rasterize_labels(self.footprints, self.size, self.size)


def _cut_to_scene(buildings: list[Building], size: int, gsd: float) -> tuple[list[shapely.Polygon], list[Building]]:
    """Return the footprints within the scene, in pixels, and the building of each."""
    if not buildings:
        return [], []
    outlines = shapely.transform(np.array([b.footprint for b in buildings]), lambda points: points / gsd)
    inside = shapely.intersection(outlines, shapely.box(0, 0, size, size))
    parts, index = shapely.get_parts(inside, return_index=True)
    keep = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) * gsd**2 >= SMALLEST_FOOTPRINT)
    return list(parts[keep]), [buildings[i] for i in index[keep]]


def write_town(
    image_path: str | Path,
    footprints_path: str | Path,
    *,
    seed: int,
    size: int = 1024,
    gsd: float = 0.3,
    style: str | None = None,
    crs: str = "EPSG:32645",
    origin: tuple[float, float] = (360000.0, 3057000.0),
) -> SyntheticTown:
    """Write a town as a GeoTIFF and its footprints as a GeoPackage.

    Args:
        image_path: the GeoTIFF, tiled and compressed.
        footprints_path: the GeoPackage, layer ``buildings``.
        seed: of the town.
        size: side in pixels.
        gsd: metres per pixel.
        style: of the town; None draws one.
        crs: projected, in metres.
        origin: easting and northing of the top left corner.

    Returns:
        The town.
    """
    import geopandas
    import rasterio
    from rasterio.transform import Affine

    town = SyntheticTown(seed, size, gsd, style)
    transform = Affine(gsd, 0.0, origin[0], 0.0, -gsd, origin[1])
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": 3,
        "dtype": "uint8",
        "crs": crs,
        "transform": transform,
        "tiled": size >= 16,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "predictor": 2,
        "photometric": "rgb",
    }
    with rasterio.open(image_path, "w", **profile) as target:
        target.write(town.image.transpose(2, 0, 1))
    scale = np.array([gsd, -gsd])
    on_map = [shapely.transform(polygon, lambda points: points * scale + np.array(origin)) for polygon in town.footprints]
    frame = geopandas.GeoDataFrame({"building": ["yes"] * len(on_map)}, geometry=on_map, crs=crs)
    frame.to_file(footprints_path, layer="buildings", driver="GPKG")
    return town


def _check(seed: int, size_px: int, gsd: float, style: str | None) -> None:
    if seed < 0:
        raise ArgumentError(f"seed is {seed}.", hint="Give a whole number of 0 or more.")
    if not 1 <= size_px <= LARGEST_SIZE:
        raise ArgumentError(f"size_px is {size_px}.", hint=f"Give 1 to {LARGEST_SIZE} pixels.")
    if not 0.01 <= gsd <= 10:
        raise ArgumentError(f"gsd is {gsd} metres per pixel.", hint="Give 0.01 to 10; buildings are drawn well at 0.1 to 0.6.")
    if style is not None and style not in STYLES:
        raise ArgumentError(f"style is {style!r}.", hint=f"The styles are {', '.join(STYLES)}.")
