"""Make a data set in the MapChallenge layout of a raster and a layer of annotations."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import rasterio.features
import shapely
from PIL import Image

from engine.errors import ArgumentError, CancelledError
from engine.job import Progress
from engine.raster.source import RasterSource
from engine.raster.tile_grid import Tile, TileGrid
from engine.vector.area_of_interest import AreaOfInterest
from training.data.coco.outlines import rings_of
from training.data.export.footprints import cut, read_footprints
from training.data.export.plan import Layout, plan_tiles
from training.data.export.writer import CATEGORY, CocoWriter, finished_folder
from training.data.rasterize import rasterize_labels

logger = logging.getLogger(__name__)

FORMATS = {"png": {"compress_level": 6}, "jpg": {"quality": 95, "subsampling": 0}}
MIN_SEEN = 0.5  # of a footprint's pixels with data; a building that is mostly out of the picture teaches nothing


@dataclass
class ExportSummary:
    """What an export wrote.

    Attributes:
        output: the folder.
        images, annotations: how many, by side: ``train`` and ``val``, or all under an empty name.
        empty_tiles: tiles left out because the raster has no data there.
        unseen: annotations left out because the raster has no data on most of them.
        tile_size, gsd: pixels, and metres per pixel where known.
        seconds: that it took.
    """

    output: str
    images: dict[str, int] = field(default_factory=dict)
    annotations: dict[str, int] = field(default_factory=dict)
    empty_tiles: int = 0
    unseen: int = 0
    tile_size: int = 0
    gsd: float | None = None
    seconds: float = 0.0


def export_dataset(
    raster: str | Path,
    annotations: str | Path,
    output: str | Path,
    *,
    aoi: str | Path | None = None,
    bands: Sequence[int] | None = None,
    gsd: float | None = None,
    layout: Layout | None = None,
    min_area: float = 4.0,
    image_format: str = "png",
    progress: Callable[[Progress], None] = lambda progress: None,
    cancel: Event | None = None,
) -> ExportSummary:
    """Cut a raster and its annotations into tiles.

    Args:
        raster: anything that GDAL reads.
        annotations: any vector layer of polygons, in any CRS.
        output: a folder that does not exist yet, or is empty; it appears when it is finished.
        aoi: polygons within which the annotations are complete; pixels outside are black and have no annotations. None takes
            the whole raster.
        bands: for red, green and blue, counted from 1.
        gsd: metres per pixel of the tiles; None takes the raster's own pixels.
        layout: of the tiles, and how they are split.
        min_area: square pixels; what a border leaves of a building below that is left out.
        image_format: ``png``, exact, or ``jpg``, smaller.
        progress: called now and then.
        cancel: ends the export; nothing is left behind.

    Raises:
        ArgumentError, RasterError, RasterFitError, VectorError, OutputError: each with one line that says what to do.
        CancelledError: ``cancel`` was set.
    """
    started = time.monotonic()
    layout = layout or Layout()
    if image_format not in FORMATS:
        raise ArgumentError(f"image_format is {image_format!r}.", hint=f"Give one of {', '.join(FORMATS)}.")
    if not (math.isfinite(min_area) and min_area >= 0):
        raise ArgumentError(f"min_area is {min_area}.", hint="Give square pixels, 0 or more.")
    with finished_folder(output) as folder, RasterSource.open(raster, bands=bands, band_count=3, gsd=gsd) as source:
        area = None if aoi is None else AreaOfInterest.from_vector(aoi, source)
        window = (0, 0, source.width, source.height) if area is None else area.window()
        footprints = read_footprints(annotations, source)
        cutter = TileCutter(source, footprints, None if area is None else area.geometry, min_area=min_area)
        plan = plan_tiles(window, layout, cutter.area)
        summary = ExportSummary(str(output), tile_size=layout.tile_size, gsd=source.gsd)
        total, done = sum(map(len, plan.values())), 0
        for side, tiles in plan.items():
            info = _info(source, annotations, aoi, layout, side)
            with CocoWriter(folder / side, info) as writer:
                for tile in tiles:
                    if cancel is not None and cancel.is_set():
                        raise CancelledError("cancelled; nothing was written.")
                    _write_tile(writer, cutter.cut(tile), image_format)
                    done += 1
                    progress(Progress(done, total, buildings=sum(summary.annotations.values()) + writer.annotation_count))
            if not writer.image_count:
                raise ArgumentError(
                    f"{source.name} shows nothing {f'for {side} ' if side else ''}within the area.",
                    hint="Give ground of which the raster has data.",
                )
            summary.images[side], summary.annotations[side] = writer.image_count, writer.annotation_count
        summary.empty_tiles, summary.unseen = cutter.empty_tiles, cutter.unseen
    summary.seconds = time.monotonic() - started
    return summary


@dataclass(frozen=True, eq=False)
class CutTile:
    """A tile with what stands on it: (h, w, 3) uint8 pixels, geometries in its own pixels, and its place."""

    pixels: np.ndarray
    pieces: list[shapely.Geometry]
    place: dict[str, Any]
    name: str


class TileCutter:
    """Cuts tiles out of a raster and its footprints; counts what it leaves out."""

    def __init__(self, source: RasterSource, footprints: np.ndarray, area: shapely.Geometry | None, *, min_area: float) -> None:
        self.area = area
        self.empty_tiles = self.unseen = 0
        self._source, self._footprints, self._min_area = source, footprints, max(min_area, 1e-9)
        self._tree = shapely.STRtree(footprints)
        self._grid = TileGrid(source.width, source.height, tile_size=1, overlap=0, transform=source.transform)
        self._crs = None if source.crs is None else _crs_name(source.crs)

    def cut(self, tile: Tile) -> CutTile | None:
        """Cut one tile, None where the raster has no data."""
        pixels, valid = self._source.read(tile.window)
        ground = box = shapely.box(*tile.bounds)
        if self.area is not None:
            ground = shapely.intersection(self.area, box)
            if not shapely.equals(ground, box):
                valid = valid & _burn(ground, tile)
        if not valid.any():
            self.empty_tiles += 1
            return None
        pieces = cut(self._footprints, self._tree, ground, smallest=self._min_area) if not ground.is_empty else []
        pieces = [_local(piece, tile) for piece in pieces]
        if not valid.all():
            seen = [piece for piece in pieces if _seen(piece, valid) >= MIN_SEEN]
            self.unseen += len(pieces) - len(seen)
            pieces = seen
            pixels = pixels * valid
        image = np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        return CutTile(np.ascontiguousarray(image), pieces, self._place(tile, box), f"{tile.col:06d}_{tile.row:06d}")

    def _place(self, tile: Tile, box: shapely.Geometry) -> dict[str, Any]:
        a, b, c, d, e, f = self._source.transform[:6]
        return {
            "crs": self._crs,
            "transform": [a, b, c + a * tile.col + b * tile.row, d, e, f + d * tile.col + e * tile.row],
            "bounds": shapely.bounds(self._grid.to_map(box)).tolist(),
            "gsd": self._source.gsd,
            "pixel": [tile.col, tile.row],
        }


def _write_tile(writer: CocoWriter, tile: CutTile | None, image_format: str) -> None:
    if tile is None:
        return
    height, width = tile.pixels.shape[:2]
    number, name = writer.image_count + 1, f"{tile.name}.{image_format}"
    Image.fromarray(tile.pixels).save(writer.images / name, **FORMATS[image_format])
    writer.add_image({"id": number, "file_name": name, "width": width, "height": height, **tile.place})
    for piece in tile.pieces:
        rings = rings_of(piece)
        if rings:
            points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in rings])
            low, high = points.min(axis=0), points.max(axis=0)
            writer.add_annotation(
                {
                    "id": writer.annotation_count + 1,
                    "image_id": number,
                    "category_id": CATEGORY,
                    "iscrowd": 0,
                    "area": round(float(piece.area), 2),
                    "bbox": np.round([*low, *(high - low)], 2).tolist(),
                    "segmentation": rings,
                }
            )


def _burn(geometry: shapely.Geometry, tile: Tile) -> np.ndarray:
    """Return which pixels of a tile, (h, w) bool, have their centre in a geometry of the working grid."""
    return rasterize_labels([_local(geometry, tile)], tile.height, tile.width) > 0


def _local(geometry: shapely.Geometry, tile: Tile) -> shapely.Geometry:
    return shapely.transform(geometry, lambda points: points - (tile.col, tile.row))


def _seen(piece: shapely.Geometry, valid: np.ndarray) -> float:
    burnt = rasterio.features.rasterize([piece], out_shape=valid.shape, dtype="uint8", all_touched=True).astype(bool)
    return float(valid[burnt].mean()) if burnt.any() else 0.0


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()


def _info(source: RasterSource, annotations: str | Path, aoi: str | Path | None, layout: Layout, side: str) -> dict[str, Any]:
    """Return where a data set came from, by file names without folders: it may be passed on."""
    return {
        "description": f"Building footprints on {source.name}",
        "annotations": Path(annotations).name,
        "area": None if aoi is None else Path(aoi).name,
        **source.metadata,
        "tile_size": layout.tile_size,
        "stride": layout.stride,
        **({"side": side, "split": layout.share, "margin": layout.margin, "seed": layout.seed} if side else {}),
    }
