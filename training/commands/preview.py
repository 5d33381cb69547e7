"""Draw detections over the imagery that they were found in."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from PIL import Image, ImageDraw, ImageFont

_SIDE = 900  # pixels of one of the two pictures
_FINER = 3  # drawn so many times larger, then reduced: smooth lines at any angle
_MARGIN = 14
# From unsure to sure, legible on roofs, grass and asphalt alike.
_RAMP = np.array([[255, 70, 200], [255, 225, 50], [40, 235, 255]], float)


def draw_preview(path: Path, *, raster: Path, buildings: Path) -> None:
    """Write a picture: the imagery on the left, and on the right with the outlines in the colour of their score."""
    with rasterio.open(raster) as dataset:
        scale = _SIDE / max(dataset.width, dataset.height)
        size = (round(dataset.width * scale), round(dataset.height * scale))
        bands = [1, 2, 3] if dataset.count >= 3 else [1, 1, 1]
        pixels = dataset.read(bands, out_shape=(3, size[1], size[0]), resampling=rasterio.enums.Resampling.average)
        to_picture = rasterio.Affine.scale(scale * _FINER) @ ~dataset.transform
    imagery = Image.fromarray(np.moveaxis(pixels.astype(np.uint8), 0, -1))
    layer = geopandas.read_file(buildings)
    with_outlines = _outlined(imagery, layer, to_picture)

    picture = Image.new("RGB", (2 * size[0] + 3 * _MARGIN, size[1] + 2 * _MARGIN + 40), "white")
    picture.paste(imagery, (_MARGIN, _MARGIN))
    picture.paste(with_outlines, (size[0] + 2 * _MARGIN, _MARGIN))
    _legend(picture, len(layer), left=size[0] + 2 * _MARGIN, top=size[1] + _MARGIN + 10, width=size[0])
    picture.save(path, optimize=True)


def agreement(buildings: Path, truth: Path, *, iou: float = 0.5) -> tuple[int, int, int]:
    """Count what was found, what is there, and the pairs that agree by more than this intersection over union.

    Above a half no footprint agrees with two others, so pairs need no assignment.
    """
    found = geopandas.read_file(buildings).geometry.to_numpy()
    there = geopandas.read_file(truth).geometry.to_numpy()
    if not len(found) or not len(there):
        return len(found), len(there), 0
    first, second = shapely.STRtree(there).query(found, predicate="intersects")
    shared = shapely.area(shapely.intersection(found[first], there[second]))
    together = shapely.area(found[first]) + shapely.area(there[second]) - shared
    return len(found), len(there), int((shared > iou * together).sum())


def _colour(score: float) -> tuple[int, int, int]:
    place = float(np.clip(2 * score - 1, 0, 1)) * (len(_RAMP) - 1)
    return tuple(int(np.interp(place, range(len(_RAMP)), channel)) for channel in _RAMP.T)


def _outlined(imagery: Image.Image, layer: geopandas.GeoDataFrame, to_picture: rasterio.Affine) -> Image.Image:
    picture = imagery.resize((imagery.width * _FINER, imagery.height * _FINER), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture, "RGBA")
    a, b, c, d, e, f = to_picture[:6]
    for polygon, score in zip(layer.geometry, layer["score"], strict=True):
        colour = _colour(score)
        for ring in (polygon.exterior, *polygon.interiors):
            x, y = shapely.get_coordinates(ring).T
            points = list(zip(a * x + b * y + c, d * x + e * y + f, strict=True))
            if ring is polygon.exterior and not polygon.interiors:
                draw.polygon(points, fill=(*colour, 46))
            draw.line(points, fill=(20, 20, 20, 150), width=int(3.4 * _FINER), joint="curve")
            draw.line(points, fill=(*colour, 255), width=2 * _FINER, joint="curve")
    return picture.resize(imagery.size, Image.Resampling.LANCZOS)


def _legend(picture: Image.Image, count: int, *, left: int, top: int, width: int) -> None:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(20)
    draw.text((_MARGIN, top), "imagery", fill="black", font=font)
    draw.text((left, top), f"{count} buildings", fill="black", font=font)
    bar, start = 220, left + width - 300
    draw.text((start - 110, top), "score  0.5", fill="black", font=font)
    for x in range(bar):
        draw.line([(start + x, top + 4), (start + x, top + 20)], fill=_colour(0.5 + x / bar / 2))
    draw.text((start + bar + 10, top), "1.0", fill="black", font=font)
