"""Write a raster of classes row by row, so that a finished file, and nothing else, ever stands under the output's name.

It is a tiled, compressed GeoTIFF on the raster's own grid: every pixel at its place, those that nothing is known of without
data, and those far from an area of interest not even stored. Names of the classes stand in its metadata (``classes``, a JSON
list); GDAL and QGIS take those of a legend from a file beside it, ``NAME.aux.xml``, since a GeoTIFF has no place for them.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from engine.errors import ArgumentError, MaskDinoError, OutputError
from engine.files.output_file import OutputFile, explained
from engine.raster.georeference import PICTURE_TRANSFORM
from engine.raster.opening import gdal_settings
from engine.raster.source import RasterSource
from engine.segmentation.colours import class_colours
from engine.segmentation.pixel_values import LARGEST, NODATA
from engine.tiles.fingerprint import SOFTWARE

BLOCK = 256  # pixels along a block's side
_TAG = "TIFFTAG_SOFTWARE"
# Of the columns of a GDAL raster attribute table: type and usage.
_COLUMNS = {"Value": (0, 5), "Class": (2, 2), "Red": (0, 6), "Green": (0, 7), "Blue": (0, 8)}


def reserve_raster(path: str | os.PathLike[str], *, overwrite: bool = False) -> OutputFile:
    """Reserve the file of a class raster.

    Args:
        path: of the file.
        overwrite: also replace a file that this program did not write.

    Raises:
        ArgumentError: the extension is not that of a GeoTIFF.
        OutputError: as ``OutputFile``, or somebody else's file would be lost.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        what = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise ArgumentError(f"The output {path} has {what}.", hint="Use .tif.")
    file = OutputFile(path)
    if not overwrite and file.target.exists() and not _is_own(file.target):
        file.close()
        raise OutputError(
            f"The output {path} is there, and is no raster that this program wrote.",
            hint="Name another file, or replace it with --overwrite.",
        )
    return file


class ClassRaster:
    """The raster, growing: ``write`` from top to bottom, ``complete``, then ``finish`` to keep it, or ``abort``."""

    def __init__(
        self,
        file: OutputFile,
        *,
        raster: RasterSource,
        names: Sequence[str],
        probability_of: str | None,
        metadata: Mapping[str, str],
    ) -> None:
        """Begin the file.

        Args:
            file: reserved, and stays so.
            raster: the one that is segmented, at its own resolution.
            names: of the classes, by their numbers.
            probability_of: the class whose probability is written; None for class numbers.
            metadata: what to keep of how the raster came to be.

        Raises:
            OutputError: it cannot be begun.
        """
        self.path = file.path
        self._file = file
        self._names = names
        self._is_probability = probability_of is not None
        self._side = None if self._is_probability else OutputFile(_side_of(file.target))
        self._waiting: list[np.ndarray] = []  # rows that do not fill a row of blocks yet
        self._next_row, self._left = 0, 0
        self._closing = threading.Lock()
        try:
            with explained(self.path, RasterioError), gdal_settings():
                self._dataset = self._begin(raster, probability_of, metadata)
        except BaseException:
            if self._side is not None:
                self._side.close()
            raise

    def _begin(self, raster: RasterSource, probability_of: str | None, metadata: Mapping[str, str]) -> DatasetReader:
        place = {"crs": raster.crs, "transform": raster.transform}
        if raster.crs is None and raster.transform == PICTURE_TRANSFORM:  # a picture without georeference stays one
            place = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(
                self._file.part, "w", driver="GTiff", width=raster.width, height=raster.height, count=1, dtype="uint8",
                nodata=NODATA, tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", sparse_ok=True,
                bigtiff="if_safer", **place,
            )  # fmt: skip
        if probability_of is None:
            colours = {number: (*colour, 255) for number, colour in enumerate(class_colours(self._names))}
            dataset.write_colormap(1, {**colours, NODATA: (0, 0, 0, 0)})
            dataset.set_band_description(1, "class")
        else:
            dataset.scales = (1 / LARGEST,)
            dataset.set_band_description(1, f"probability of {probability_of}")
        dataset.update_tags(**metadata, classes=json.dumps(list(self._names)), **{_TAG: metadata["software"]})
        return dataset

    def write(self, row: int, col: int, values: np.ndarray) -> None:
        """Write rows of pixels (H, W) uint8 that begin at ``row`` and ``col``, and follow those written before.

        Raises:
            OutputError: the disk takes no more.
        """
        if not values.size:
            return
        if not self._waiting:
            self._next_row, self._left = row, col
        self._waiting.append(values)
        height = sum(map(len, self._waiting))
        self._flush((self._next_row + height) // BLOCK * BLOCK - self._next_row)

    def complete(self) -> None:
        """Write what waits, and overviews: of class numbers the most frequent one, of probabilities the mean.

        Raises:
            OutputError: the disk takes no more.
        """
        self._flush(sum(map(len, self._waiting)))
        with explained(self.path, RasterioError), gdal_settings():
            size = max(self._dataset.shape)
            self._close()
            factors = [2**power for power in range(1, 32) if size > BLOCK * 2 ** (power - 1)]
            if factors:
                with rasterio.open(self._file.part, "r+") as dataset:
                    dataset.build_overviews(factors, Resampling.average if self._is_probability else Resampling.mode)

    def finish(self) -> None:
        """Give the file its name. What stands beside an older one of that name describes that one, and is removed before.

        Raises:
            OutputError: as ``OutputFile.finish``.
        """
        with explained(self.path):
            _side_of(self._file.target).unlink(missing_ok=True)
        self._file.finish()
        if self._side is not None:
            self._side.write_text(_legend(self._names))
            self._side.close()

    def abort(self) -> None:
        """Let go of an unfinished raster, also while ``complete`` is at work in another thread."""
        with gdal_settings():
            self._close()
        if self._side is not None:
            self._side.close()

    def _close(self) -> None:
        with self._closing:
            if not self._dataset.closed:
                self._dataset.close()

    def _flush(self, rows: int) -> None:
        """Write so many of the rows that wait."""
        if rows <= 0:
            return
        values = np.concatenate(self._waiting)
        window = Window(self._left, self._next_row, values.shape[1], rows)
        with explained(self.path, RasterioError), gdal_settings():
            self._dataset.write(values[:rows], 1, window=window)
        self._waiting = [values[rows:]] if len(values) > rows else []
        self._next_row += rows


def _side_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.aux.xml")


def _is_own(path: Path) -> bool:
    try:
        with gdal_settings(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                return dataset.tags().get(_TAG, "").startswith(SOFTWARE)
    except (RasterioError, MaskDinoError):
        return False


def _legend(names: Sequence[str]) -> str:
    """Return what GDAL keeps beside a raster of its classes: their names in order, and a table with their colours."""
    categories = "".join(f"      <Category>{escape(name)}</Category>\n" for name in names)
    columns = "".join(
        f'      <FieldDefn index="{index}">\n        <Name>{title}</Name>\n        <Type>{kind}</Type>\n'
        f"        <Usage>{usage}</Usage>\n      </FieldDefn>\n"
        for index, (title, (kind, usage)) in enumerate(_COLUMNS.items())
    )
    rows = "".join(
        f'      <Row index="{number}">\n'
        + "".join(f"        <F>{escape(str(each))}</F>\n" for each in (number, name, *colour))
        + "      </Row>\n"
        for number, (name, colour) in enumerate(zip(names, class_colours(names), strict=True))
    )
    return (
        f'<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n{categories}    </CategoryNames>\n'
        f'    <GDALRasterAttributeTable tableType="thematic">\n{columns}{rows}    </GDALRasterAttributeTable>\n'
        "  </PAMRasterBand>\n</PAMDataset>\n"
    )
