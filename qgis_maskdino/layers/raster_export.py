"""Export a layer that is no file: fetched tile by tile into a GeoTIFF, as fine as the model wants it.

Web maps come as the pictures that they are; databases, coverages and virtual rasters with the values that they hold. Nothing
here touches a layer: it works in any thread, with the copy of a data provider that ``LayerSource`` took.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qgis.core import (
    Qgis,
    QgsRasterBlock,
    QgsRasterBlockFeedback,
    QgsRasterDataProvider,
    QgsRasterFileWriter,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QByteArray
from qgis.PyQt.QtGui import QImage

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.layers.export_grid import ExportGrid, metres_per_unit
from qgis_maskdino.layers.source import LayerSource, has_pixels
from qgis_maskdino.translation import tr

UNIT = "tiles fetched"  # of the progress events of an export
TILE = 512  # pixels a side: a request of a moment, so that a cancel is heard
_PICTURES = (Qgis.DataType.ARGB32, Qgis.DataType.ARGB32_Premultiplied)
_OPTIONS = ["TILED=YES", "COMPRESS=DEFLATE", "ZLEVEL=1", "BIGTIFF=IF_SAFER"]
_CHANNELS = 4  # red, green, blue, alpha


class ExportCancelled(Exception):
    """The export was cancelled; its file is gone."""


def export_raster(
    source: LayerSource,
    path: str,
    *,
    area: QgsRectangle | None,
    gsd: float | None,
    margin: int,
    on_event: Callable[[dict[str, Any]], None],
    is_cancelled: Callable[[], bool],
) -> None:
    """Write what a layer shows in an area as a GeoTIFF.

    Args:
        source: the layer.
        path: a .tif that is not there yet.
        area: in the layer's CRS; None takes all of the layer.
        gsd: metres per pixel that a model wants; None takes the layer's own pixels.
        margin: pixels to see around the area, where the layer goes on.
        on_event: takes ``progress`` events, with the unit ``UNIT``, and ``log`` events.
        is_cancelled: asked several times a second.

    Raises:
        EngineError: the area is too large or lies beside the layer, nothing says how fine to fetch it, the disk is full, or
            all that came was empty.
        ExportCancelled: it was cancelled.
    """
    area = source.extent if area is None else area
    pixel = _pixel_size(source, area, gsd)
    wanted = QgsRectangle(area)
    wanted.setXMinimum(area.xMinimum() - margin * pixel[0])
    wanted.setXMaximum(area.xMaximum() + margin * pixel[0])
    wanted.setYMinimum(area.yMinimum() - margin * pixel[1])
    wanted.setYMaximum(area.yMaximum() + margin * pixel[1])
    within = wanted.intersect(source.extent)
    if not area.intersects(source.extent) or within.isEmpty():
        raise EngineError(
            tr("The area lies beside the layer '{name}'.").format(name=source.name),
            code="argument",
            hint=tr("Choose an area that the layer shows."),
        )
    grid = ExportGrid.over(within, pixel, name=source.name)
    is_picture = source.provider.dataType(1) in _PICTURES
    _check_room(path, grid, _CHANNELS if is_picture else source.provider.bandCount() * 4)
    try:
        with _cancelled_with(is_cancelled) as feedback:
            export = _Pictures if is_picture else _Values
            export(source, grid, path, feedback).run(on_event, is_cancelled)
    except (EngineError, ExportCancelled):
        if os.path.exists(path):
            os.remove(path)
        raise


class _Pictures:
    """Export of a layer that gives pictures: red, green, blue and alpha."""

    def __init__(self, source: LayerSource, grid: ExportGrid, path: str, feedback: QgsRasterBlockFeedback) -> None:
        self.source, self.grid, self.path, self.feedback = source, grid, path, feedback
        self.provider = source.provider
        self.empty = 0

    def run(self, on_event: Callable[[dict[str, Any]], None], is_cancelled: Callable[[], bool]) -> None:
        """Fetch and write all tiles."""
        target = self.begin()
        tiles = list(self.tiles())
        for done, (column, row, columns, rows) in enumerate(tiles):
            on_event({"event": "progress", "done": done, "total": len(tiles), "unit": UNIT})
            if not self.copy(target, self.grid.window(column, row, columns, rows), column, row, columns, rows):
                self.empty += 1
            if is_cancelled():
                del target
                raise ExportCancelled
        target.setEditable(False)
        del target  # closes the file
        self.judge(len(tiles), on_event)

    def tiles(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield column, row, columns and rows of each tile."""
        for row in range(0, self.grid.rows, TILE):
            for column in range(0, self.grid.columns, TILE):
                yield column, row, min(TILE, self.grid.columns - column), min(TILE, self.grid.rows - row)

    def begin(self) -> QgsRasterDataProvider:
        """Create the file."""
        return self.create(Qgis.DataType.Byte, _CHANNELS, [*_OPTIONS, "PHOTOMETRIC=RGB", "ALPHA=YES"])

    def create(self, kind: Any, bands: int, options: list[str]) -> QgsRasterDataProvider:
        """Create a file with bands of a type, ready to be written to."""
        writer = QgsRasterFileWriter(self.path)
        writer.setOutputFormat("GTiff")
        writer.setCreateOptions(options)
        grid = self.grid
        target = writer.createMultiBandRaster(kind, grid.columns, grid.rows, grid.extent, self.source.crs, bands)
        if target is None or not target.isValid() or not (target.isEditable() or target.setEditable(True)):
            raise EngineError(
                tr("The layer '{name}' cannot be exported to {path}.").format(name=self.source.name, path=self.path),
                code="output",
                hint=tr("Make room on the disk with the temporary files."),
            )
        return target

    def copy(self, target: QgsRasterDataProvider, ground: QgsRectangle, column: int, row: int, columns: int, rows: int) -> bool:
        """Fetch a tile and write it; say whether there is anything to see in it."""
        picture = self.provider.block(1, ground, columns, rows, self.feedback).image()
        if picture.isNull():
            return False
        picture = picture.convertToFormat(QImage.Format.Format_RGBA8888)
        bits = picture.constBits()
        bits.setsize(columns * rows * _CHANNELS)
        values = bytes(bits)
        for channel in range(_CHANNELS):
            self.write(target, values[channel::_CHANNELS], channel + 1, column, row, columns, rows)
        return any(values[3::_CHANNELS]) and any(len(set(values[channel::_CHANNELS])) > 1 for channel in range(3))

    def write(
        self, target: QgsRasterDataProvider, values: bytes, band: int, column: int, row: int, columns: int, rows: int
    ) -> None:
        """Write the bytes of a band."""
        block = QgsRasterBlock(Qgis.DataType.Byte, columns, rows)
        block.setData(QByteArray(values))
        self.write_block(target, block, band, column, row)

    def write_block(self, target: QgsRasterDataProvider, block: QgsRasterBlock, band: int, column: int, row: int) -> None:
        """Write a block."""
        if not target.writeBlock(block, band, column, row):
            raise EngineError(
                tr("The layer '{name}' cannot be exported: writing {path} failed.").format(
                    name=self.source.name, path=self.path
                ),
                code="output",
                hint=tr("Make room on the disk with the temporary files."),
            )

    def judge(self, tiles: int, on_event: Callable[[dict[str, Any]], None]) -> None:
        """Refuse a picture in which there is nothing to see; say where it has holes."""
        reasons = self.feedback.errors()
        said = f" {reasons[0]}" if reasons else ""
        if self.empty == tiles:
            raise EngineError(
                tr("The layer '{name}' shows nothing here: all that came is of one colour or transparent.").format(
                    name=self.source.name
                )
                + said,
                code="raster",
                hint=tr("Look at the layer at this place and this fineness; its server may be down, or refuse so many tiles."),
            )
        if self.empty:
            message = tr("{empty} of {tiles} tiles of '{name}' came empty; no buildings can be found there.").format(
                empty=self.empty, tiles=tiles, name=self.source.name
            )
            on_event({"event": "log", "level": "warning", "message": message + said})


class _Values(_Pictures):
    """Export of a layer that holds values: all its bands, as they are."""

    def begin(self) -> QgsRasterDataProvider:
        """Create the file, with the values that stand for no data."""
        bands = range(1, self.provider.bandCount() + 1)
        self.kind = max((self.provider.dataType(band) for band in bands), key=_width)
        target = self.create(self.kind, len(bands), _OPTIONS)
        for band in bands:
            if self.provider.sourceHasNoDataValue(band):
                target.setNoDataValue(band, self.provider.sourceNoDataValue(band))
        return target

    def copy(self, target: QgsRasterDataProvider, ground: QgsRectangle, column: int, row: int, columns: int, rows: int) -> bool:
        """Fetch a tile of each band and write it; say whether there is anything in it."""
        seen = False
        for band in range(1, self.provider.bandCount() + 1):
            block = self.provider.block(band, ground, columns, rows, self.feedback)
            if block.isEmpty():
                continue
            values = block.data().data()
            seen = seen or values != values[: block.dataTypeSize()] * (columns * rows)
            block.convert(self.kind)
            self.write_block(target, block, band, column, row)
        return seen


def _pixel_size(source: LayerSource, area: QgsRectangle, gsd: float | None) -> tuple[float, float]:
    """Choose the size of the pixels to fetch, in map units."""
    provider = source.provider
    own = None
    if has_pixels(provider):
        own = (source.extent.width() / provider.xSize(), source.extent.height() / provider.ySize())
    scale = metres_per_unit(source.crs, area.center(), source.transform_context) if gsd is not None else None
    if gsd is None or scale is None:
        if own is None:
            raise EngineError(
                tr("Nothing says how fine '{name}' should be fetched.").format(name=source.name),
                code="argument",
                hint=tr("Give a ground sampling distance, and the layer a CRS."),
            )
        return own
    wanted = (gsd / scale[0], gsd / scale[1])
    if own is None:
        return wanted
    # Never finer than the layer is; and where it is much finer, two of its pixels a side are left for the engine to average.
    return max(own[0], wanted[0] / 2), max(own[1], wanted[1] / 2)


def _width(kind: Any) -> int:
    return QgsRasterBlock.typeSize(kind)


def _check_room(path: str, grid: ExportGrid, bytes_a_pixel: int) -> None:
    needed = grid.columns * grid.rows * bytes_a_pixel
    folder = os.path.dirname(path)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EngineError(
            tr("The export needs up to {needed:,.1f} GB, and {folder} has {free:,.1f} GB left.").format(
                needed=needed / 1e9, folder=folder, free=free / 1e9
            ),
            code="output",
            hint=tr("Make room, or choose a smaller area."),
        )


@contextmanager
def _cancelled_with(is_cancelled: Callable[[], bool]) -> Iterator[QgsRasterBlockFeedback]:
    """Give the feedback of a fetch that is cancelled, in the middle of a tile too, as soon as somebody cancels."""
    feedback = QgsRasterBlockFeedback()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if is_cancelled():
                feedback.cancel()
                return

    watcher = threading.Thread(target=watch, name="maskdino-export-cancel", daemon=True)
    watcher.start()
    try:
        yield feedback
    finally:
        over.set()
        watcher.join()
