"""Scenes from georeferenced imagery: a GeoTIFF with a layer of footprints, split into training and validation by ground.

What is split is the ground, never the crops: two crops, or two images of different resolution, may show the same house.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import rasterio
import rasterio.windows
import shapely

from engine.errors import ArgumentError
from engine.raster.georeference import ground_size
from training.data.scenes.scene import Scene


@dataclass(frozen=True, eq=False)
class GroundSplit:
    """Two areas of ground that do not touch.

    Attributes:
        training, validation: polygons.
        crs: of both.
    """

    training: shapely.Geometry
    validation: shapely.Geometry
    crs: pyproj.CRS


def read_sides(
    rasters: Sequence[Path], footprints: Path, area: Path, *, hold_out: Sequence[Sequence[float]], margin: float
) -> tuple[list[Scene], list[Scene]]:
    """Read georeferenced imagery as scenes to train on, and scenes of the ground that is held out.

    Args:
        rasters: of the same ground. The held-out scenes are the first one's: to validate on several would count ground twice.
        footprints: a vector layer of polygons.
        area: a vector layer of the area within which the footprints are complete.
        hold_out: boxes (xmin, ymin, xmax, ymax) in the CRS of ``area``.
        margin: metres around them that belong to neither side.

    Raises:
        ArgumentError: a file is not there or cannot be used, or one side would be empty.
    """
    for path in (*rasters, footprints, area):
        if not path.is_file():
            raise ArgumentError(f"The file {path} is not there.", hint="Check the paths of the source's config.")
    labelled = geopandas.read_file(area).geometry
    if not hold_out:
        metric = labelled.estimate_utm_crs()
        split = GroundSplit(shapely.union_all(labelled.to_crs(metric).to_numpy()), shapely.Polygon(), metric)
    else:
        split = split_ground(labelled, shapely.union_all([shapely.box(*box) for box in hold_out]), margin=margin)
    training = [read_scene(raster, footprints, split.training, split.crs) for raster in rasters]
    aside = [read_scene(rasters[0], footprints, split.validation, split.crs)] if hold_out else []
    return [scene for scene in training if scene is not None], [scene for scene in aside if scene is not None]


def split_ground(area: geopandas.GeoSeries, validation: shapely.Geometry, *, margin: float) -> GroundSplit:
    """Split an area in two with a strip of unused ground between them.

    Args:
        area: where the footprints are complete.
        validation: the ground kept aside, in the CRS of ``area``; what lies outside the area does not count.
        margin: width of the strip in metres.

    Raises:
        ArgumentError: one of the two would be empty.
    """
    metric = area.estimate_utm_crs()
    whole = shapely.union_all(area.to_crs(metric).to_numpy())
    # Cut before reprojecting: a large box's straight sides would bend.
    aside = shapely.intersection(shapely.union_all(area.to_numpy()), validation)
    held = geopandas.GeoSeries([aside], crs=area.crs).to_crs(metric).iloc[0]
    rest = shapely.difference(whole, shapely.buffer(held, margin, cap_style="square", join_style="mitre"))
    if held.is_empty or rest.is_empty:
        raise ArgumentError(
            f"The ground kept aside for validation, {shapely.bounds(validation).round(6).tolist()}, leaves "
            f"{'nothing for training' if rest.is_empty else 'no validation'}.",
            hint="Give a part of the labelled area.",
        )
    return GroundSplit(rest, held, metric)


def read_scene(
    raster: str | Path, footprints: str | Path, area: shapely.Geometry, crs: pyproj.CRS, *, name: str | None = None
) -> Scene | None:
    """Read the part of a raster that covers an area, with its footprints.

    Args:
        raster: three bands or more, 8 bit; the first three are read.
        footprints: any vector layer of polygons, in any CRS.
        area: within which crops may lie.
        crs: of ``area``.
        name: of the scene; the file's by default.

    Returns:
        The scene, or None where the raster shows nothing of the area.

    Raises:
        ArgumentError: the raster is not 8 bit RGB, or has no CRS.
    """
    with rasterio.open(raster) as source:
        if source.crs is None or source.count < 3 or source.dtypes[0] != "uint8":
            raise ArgumentError(
                f"The raster {raster} has {source.count} bands of {source.dtypes[0]} and the CRS {source.crs}.",
                hint="Training imagery must be 8 bit RGB with a CRS.",
            )
        to_raster = geopandas.GeoSeries([area], crs=crs).to_crs(source.crs)
        layer = geopandas.read_file(footprints).to_crs(source.crs)
        to_pixels = ~source.transform
        in_pixels = _transform(to_raster.iloc[0], to_pixels)
        seen = shapely.intersection(in_pixels, shapely.box(0, 0, source.width, source.height))
        if seen.is_empty or seen.area < 1:
            return None
        low_x, low_y, high_x, high_y = seen.bounds
        x0, y0 = int(np.floor(low_x)), int(np.floor(low_y))
        x1, y1 = min(source.width, int(np.ceil(high_x))), min(source.height, int(np.ceil(high_y)))
        image = source.read((1, 2, 3), window=rasterio.windows.Window(x0, y0, x1 - x0, y1 - y0)).transpose(1, 2, 0)
        gsd = float(np.mean(ground_size(source.crs, source.transform, source.width, source.height)))
    polygons = [_transform(polygon, to_pixels) for polygon in layer.geometry if polygon is not None]
    polygons = shapely.transform(np.array(polygons, dtype=object), lambda points: points - (x0, y0))
    polygons = polygons[shapely.intersects(polygons, shapely.box(0, 0, x1 - x0, y1 - y0))]
    within = shapely.transform(seen, lambda points: points - (x0, y0))
    return Scene(np.ascontiguousarray(image), polygons, gsd, within, name or Path(raster).stem)


def _transform(geometry: shapely.Geometry, affine: rasterio.Affine) -> shapely.Geometry:
    matrix = np.array([[affine.a, affine.b], [affine.d, affine.e]])
    offset = np.array([affine.c, affine.f])
    return shapely.transform(geometry, lambda points: points @ matrix.T + offset)
