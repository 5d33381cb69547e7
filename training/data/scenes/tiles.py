"""Scenes from XYZ tiles: neighbouring tiles put together again, and the buildings that their borders cut joined.

A tile of 256 pixels leaves no room for turned or coarser crops, and a house cut in two teaches a model that houses end at a
straight line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.transform
import shapely
from rasterio.crs import CRS

from engine.raster.georeference import ground_size
from training.data.coco.folder import CocoFolder
from training.data.coco.image_files import open_image
from training.data.scenes.scene import Scene

SAME_CUT = 0.75  # intersection over union of two pieces' edges along the border from which they are one building


@dataclass(frozen=True)
class _Tile:
    column: int
    row: int
    path: Path
    index: int


_EVERYWHERE = shapely.box(-2.1e7, -2.1e7, 2.1e7, 2.1e7)  # EPSG:3857


def read_sides(
    folder: Path, *, image_zoom: int, label_zoom: int, hold_out: Sequence[Sequence[float]]
) -> tuple[list[Scene], list[Scene]]:
    """Put tiles together to scenes to train on, and scenes of the tiles whose centre lies in one of the boxes held out.

    Args:
        folder, image_zoom, label_zoom: see `read_mosaics`.
        hold_out: boxes (xmin, ymin, xmax, ymax) in EPSG:3857.
    """
    aside = shapely.union_all([shapely.box(*box) for box in hold_out])
    zooms = {"image_zoom": image_zoom, "label_zoom": label_zoom}
    training = read_mosaics(folder, within=shapely.difference(_EVERYWHERE, aside), **zooms)
    return training, read_mosaics(folder, within=aside, **zooms) if hold_out else []


def read_mosaics(folder: str | Path, *, image_zoom: int, label_zoom: int, within: shapely.Geometry) -> list[Scene]:
    """Put the tiles that lie within an area together.

    Args:
        folder: a CocoFolder whose images carry ``zoom`` and ``bounds`` (EPSG:3857).
        image_zoom: the zoom level that pictures are taken from.
        label_zoom: the one that footprints are taken from; the coarser cuts fewer buildings.
        within: EPSG:3857; tiles of ``label_zoom`` whose centre lies in it are taken.

    Returns:
        One scene for each group of tiles that hang together; its area is the ground that the tiles cover.
    """
    source = CocoFolder(folder)
    labelled = _tiles(source, label_zoom, within)
    pictured = {(tile.column, tile.row): tile for tile in _tiles(source, image_zoom, within)}
    factor = 2 ** (image_zoom - label_zoom)
    scenes = []
    for number, group in enumerate(_groups(labelled), start=1):
        c0, r0 = min(t.column for t in group), min(t.row for t in group)
        c1, r1 = max(t.column for t in group) + 1, max(t.row for t in group) + 1
        side = source.image(group[0].index).width * factor
        image = np.zeros(((r1 - r0) * side, (c1 - c0) * side, 3), dtype=np.uint8)
        pieces: list[tuple[shapely.Geometry, int]] = []
        squares = []
        for place, tile in enumerate(group):
            x, y = (tile.column - c0) * side, (tile.row - r0) * side
            _paste(image, x, y, tile, pictured, factor)
            squares.append(shapely.box(x, y, x + side, y + side))
            outlines = source.outlines(tile.index)
            pieces += [(_moved(polygon, factor, x, y), place) for polygon in outlines.polygons[~outlines.crowd]]
        footprints = join_at_borders(pieces, side)
        area = shapely.union_all(squares)
        gsd = _ground_sampling_distance(source, group[0].index) / factor
        scenes.append(Scene(image, np.array(footprints, dtype=object), gsd, area, f"{Path(folder).name}-{number}"))
    return scenes


def join_at_borders(pieces: list[tuple[shapely.Geometry, int]], side: int) -> list[shapely.Geometry]:
    """Join the pieces of buildings that tile borders have cut.

    Two pieces of different tiles are one building where the edges they have on the shared border are nearly the same
    stretch. Two houses that merely touch across a border rarely end at the same points.

    Args:
        pieces: geometry in the mosaic's pixels, and the number of the tile it comes from.
        side: of a tile, in pixels; borders lie at its multiples.
    """
    group = list(range(len(pieces)))

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    geometries = np.array([geometry for geometry, _ in pieces], dtype=object)
    segments = [_segments_on_borders(geometry, side) for geometry in geometries]
    by_border: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    for index, found in enumerate(segments):
        for axis, line, start, stop in found:
            by_border.setdefault((axis, line), []).append((index, start, stop))
    for entries in by_border.values():
        for position, (first, start, stop) in enumerate(entries):
            for second, other_start, other_stop in entries[position + 1 :]:
                overlap = min(stop, other_stop) - max(start, other_start)
                union = max(stop, other_stop) - min(start, other_start)
                if pieces[first][1] != pieces[second][1] and overlap > SAME_CUT * union:
                    group[root(second)] = root(first)
    members: dict[int, list[int]] = {}
    for index in range(len(pieces)):
        members.setdefault(root(index), []).append(index)
    # Coordinates were rounded when the tiles were written, so pieces are closed over a hair's breadth.
    return [
        geometries[m[0]] if len(m) == 1 else shapely.union_all(shapely.buffer(geometries[m], 0.02)).buffer(-0.02)
        for m in members.values()
    ]


def _segments_on_borders(geometry: shapely.Geometry, side: int) -> list[tuple[int, int, float, float]]:
    """Return (axis, border number, start, stop) of each edge that lies on a tile border; axis 0 is a vertical border."""
    found = []
    for ring in (r for part in shapely.get_parts(geometry) for r in (part.exterior, *part.interiors)):
        points = shapely.get_coordinates(ring)
        for axis in (0, 1):
            line = np.round(points[:, axis] / side)
            on_border = np.abs(points[:, axis] - line * side) < 0.05
            edges = np.flatnonzero(on_border[:-1] & on_border[1:] & (line[:-1] == line[1:]))
            for edge in edges:
                start, stop = sorted(points[edge : edge + 2, 1 - axis].tolist())
                if stop - start > 0.5:
                    found.append((axis, int(line[edge]), start, stop))
    return found


def _tiles(source: CocoFolder, zoom: int, within: shapely.Geometry) -> list[_Tile]:
    tiles = []
    for index in range(len(source)):
        entry = source.image(index)
        if entry.zoom == zoom and entry.bounds is not None:
            xmin, ymin, xmax, ymax = entry.bounds
            if shapely.contains_xy(within, (xmin + xmax) / 2, (ymin + ymax) / 2):
                width = xmax - xmin
                tiles.append(_Tile(round(xmin / width), round(-ymax / width), entry.path, index))
    return tiles


def _groups(tiles: list[_Tile]) -> list[list[_Tile]]:
    """Return the tiles in groups that share borders."""
    left = {(tile.column, tile.row): tile for tile in tiles}
    groups = []
    while left:
        stack = [left.pop(next(iter(left)))]
        group = []
        while stack:
            tile = stack.pop()
            group.append(tile)
            for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                neighbour = left.pop((tile.column + step[0], tile.row + step[1]), None)
                if neighbour is not None:
                    stack.append(neighbour)
        groups.append(sorted(group, key=lambda t: (t.row, t.column)))
    return groups


def _paste(image: np.ndarray, x: int, y: int, tile: _Tile, pictured: dict[tuple[int, int], _Tile], factor: int) -> None:
    for row in range(factor):
        for column in range(factor):
            part = pictured.get((tile.column * factor + column, tile.row * factor + row))
            if part is not None:
                with open_image(part.path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                height, width = pixels.shape[:2]
                image[y + row * height : y + (row + 1) * height, x + column * width : x + (column + 1) * width] = pixels


def _moved(polygon: shapely.Geometry, factor: int, x: float, y: float) -> shapely.Geometry:
    return shapely.transform(polygon, lambda points: points * factor + (x, y))


def _ground_sampling_distance(source: CocoFolder, index: int) -> float:
    """Return metres per pixel on the ground: web mercator's metres are longer than real ones away from the equator."""
    entry = source.image(index)
    transform = rasterio.transform.from_bounds(*entry.bounds, entry.width, entry.height)
    return float(np.mean(ground_size(CRS.from_epsg(3857), transform, entry.width, entry.height)))
