"""Turn buildings on the working grid into what the layer holds: outlines in map coordinates with their ground area."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS

from engine.detection.merging.tile_instances import Building
from engine.detection.polygons.outlines import outlines_of
from engine.detection.polygons.tracing import polygons_of
from engine.detection.settings import Settings
from engine.errors import ArgumentError
from engine.raster.source import RasterSource
from engine.raster.tile_grid import TileGrid
from engine.vector.area_of_interest import AreaOfInterest
from engine.vector.geodesic_area import ground_areas

LEAST_AREA = 4.0  # m2
LEAST_PIXELS = 12
_COORDINATES_AT_ONCE = 40_000  # of outlines between two looks at whether there is time: a quarter of a second


@dataclass(frozen=True, eq=False)
class Footprints:
    """Rows of the layer.

    Attributes:
        geometries: (N,) valid polygons in the raster's CRS.
        scores: (N,) in 0..1.
        areas: (N,) square metres of true ground; NaN where nothing says how large a pixel is.
        labels: (N,) int64, the class index.
    """

    geometries: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.geometries)


@dataclass(frozen=True)
class RasterFacts:
    """What footprints need to know of a raster: that much of a ``RasterSource``."""

    name: str
    pixel_size: tuple[float, float] | None
    crs: CRS | None


class FootprintMaker:
    """Make footprints of buildings by the settings of one detection."""

    def __init__(
        self,
        *,
        grid: TileGrid,
        source: RasterFacts | RasterSource,
        area: AreaOfInterest | None,
        settings: Settings,
        least_area: float = LEAST_AREA,
    ) -> None:
        """Prepare for a raster.

        Args:
            grid: which says where a pixel lies on the map.
            source: the raster.
            area: outside which nothing is wanted; None for all of the raster.
            settings: those of the detection.
            least_area: square metres, below which nothing is wanted, where the settings leave that open.

        Raises:
            ArgumentError: a smallest area is asked for, and nothing says how large a pixel is.
        """
        self._grid = grid
        self._area = area
        self._settings = settings
        self._name = source.name
        self._outline = settings.outline
        self._pixel_size = source.pixel_size
        self._crs = source.crs
        if settings.min_area and source.pixel_size is None:
            raise ArgumentError(
                f"min_area is {settings.min_area:g} m2, but {source.name} does not say how large its pixels are.",
                hint="Give --gsd too, or leave --min-area out.",
            )
        self._default_least_area = least_area
        self._least_area = least_area if settings.min_area is None else settings.min_area
        self._least_pixels = LEAST_PIXELS if settings.min_area is None else 0
        if source.pixel_size is not None:
            # No outline doubles the area of a mask: what is this small need not be drawn first. Noise has thousands of them.
            self._least_pixels = max(self._least_pixels, self._least_area / 2 / math.prod(source.pixel_size))

    def to_json(self) -> str:
        """Write down what it needs to know, for another process."""
        area = self._area
        return json.dumps(
            {
                "transform": self._grid.transform[:6],
                "name": self._name,
                "pixel_size": self._pixel_size,
                "crs": None if self._crs is None else self._crs.to_wkt(),
                "area": None if area is None else [shapely.to_wkb(area.polygons, hex=True).tolist(), area.width, area.height],
                "settings": self._settings.model_dump(mode="json"),
                "least_area": self._default_least_area,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> FootprintMaker:
        """Make one that makes the same footprints."""
        known = json.loads(text)
        area = None
        if known["area"] is not None:
            polygons, width, height = known["area"]
            area = AreaOfInterest(shapely.from_wkb(np.array(polygons, dtype=object)), width=width, height=height)
        return cls(
            grid=TileGrid(1, 1, tile_size=1, overlap=0, transform=Affine(*known["transform"])),
            source=RasterFacts(
                name=known["name"],
                pixel_size=known["pixel_size"] and tuple(known["pixel_size"]),
                crs=known["crs"] and CRS.from_wkt(known["crs"]),
            ),
            area=area,
            settings=Settings(**known["settings"]),
            least_area=known["least_area"],
        )

    def footprints_of(self, buildings: Sequence[Building], *, cancelling: Callable[[], bool] = bool) -> Footprints:
        """Make the footprints of some buildings, in their order; those too small or outside the area are left out.

        A building whose parts touch nowhere becomes a footprint a part, each with the building's score. As soon as
        ``cancelling`` says so, right angles give way to simplified outlines, which take no time.
        """
        parts = polygons_of(buildings)
        which = np.repeat(np.arange(len(buildings)), [len(polygons) for polygons in parts])
        raw = np.array([polygon for polygons in parts for polygon in polygons], dtype=object)
        large = shapely.area(raw) >= self._least_pixels
        raw, which = raw[large], which[large]
        outlines = self._outlines(raw, cancelling)
        if self._area is not None and len(outlines):
            kept = self._area.keeps(outlines)
            raw, outlines, which = raw[kept], outlines[kept], which[kept]
        geometries = self._grid.to_map(outlines)
        crossed = ~shapely.is_valid(geometries)  # two almost equal vertices, rounded in large coordinates
        geometries[crossed] = self._grid.to_map(raw[crossed])
        areas = self._ground_areas(outlines, geometries)
        large = ~(areas < self._least_area)  # an unknown area is no reason to leave a building out
        which = which[large]
        scores = np.array([building.score for building in buildings], dtype=np.float64)[which]
        labels = np.array([building.label for building in buildings], dtype=np.int64)[which]
        return Footprints(geometries[large], scores, areas[large], labels)

    def _outlines(self, raw: np.ndarray, cancelling: Callable[[], bool]) -> np.ndarray:
        outlines = [raw[:0]]
        portion = np.cumsum(shapely.get_num_coordinates(raw)) // _COORDINATES_AT_ONCE
        for some in np.split(raw, np.flatnonzero(np.diff(portion)) + 1):
            kind = "simplified" if self._outline == "regular" and cancelling() else self._outline
            outlines.append(outlines_of(some, kind=kind, pixel_size=self._pixel_size))
        return np.concatenate(outlines)

    def _ground_areas(self, outlines: np.ndarray, geometries: np.ndarray) -> np.ndarray:
        if self._crs is None and self._pixel_size is not None:
            return shapely.area(outlines) * self._pixel_size[0] * self._pixel_size[1]
        return ground_areas(geometries, self._crs)
