"""Read any raster that GDAL opens, by windows of the working grid, as the 0..255 that models see."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from engine.errors import ArgumentError, RasterError
from engine.raster.bands import select_bands
from engine.raster.gdal_warnings import gdal_warnings, speaks_of_damage
from engine.raster.georeference import georeference_of
from engine.raster.opening import display_name, gdal_settings, open_dataset
from engine.raster.referenced_files import refuse_distant, refuse_distant_files, report_other_files
from engine.raster.resampling import AxisResampling, resample, resample_valid
from engine.raster.stretch import SAMPLE_WINDOWS, SpreadWindows, check_values, find_stretch, is_plausible
from engine.raster.working_grid import choose_working_grid

logger = logging.getLogger(__name__)

_EXACT = 1 << 24
# Source pixels of a band resampled at once: bounds the memory of a tile, however fine the raster is.
PIXELS_AT_ONCE = 1 << 22
# An overview is read only if at least so many of its pixels make one of the working grid, so that how the overview was
# made (often by taking the nearest pixel) is averaged out.
OVERVIEW_MARGIN = 2.0


class RasterSource:
    """A raster as a model wants to see it.

    The **working grid** is the lattice of pixels that everything after this class counts in: the raster's own, or one of
    another pixel size over exactly the same ground, with the raster's origin and rotation. Two windows always give the
    same pixels where they overlap. Any number of threads may read at once, each through a handle of its own.

    Attributes:
        name: what messages call the raster.
        width: columns of the working grid.
        height: rows of the working grid.
        bands: bands of a tile.
        crs: coordinate reference system, or None.
        transform: affine of the working grid.
        pixel_size: metres on the ground along a row and along a column of the working grid; None where unknown.
        metadata: what was done to the pixels, in words for the output's metadata.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[int] | None = None,
        band_count: int | None = None,
        gsd: float | None = None,
        fill: float | Sequence[float] = 0.0,
        on_damage: Literal["fail", "skip"] = "fail",
        local_only: bool = False,
    ) -> None:
        """Open a raster.

        Args:
            path: a file, or any name of a dataset that GDAL understands.
            bands: 1-based bands in the order of the model's; None chooses by colour interpretation, else the first ones.
            band_count: bands of the model; None takes 3, or 1 from a grey raster.
            gsd: metres per pixel that the model wants; None reads the raster's own pixels, whatever they are. A raster that
                does not say how large its pixels are is read as it is, and taken to have this size.
            fill: what pixels without data become, 0..255, one value or one a band.
            on_damage: whether a block that cannot be decoded is an error, or has no data and is named in the log.
            local_only: refuse a raster that reads from the network or from outside its own folder.

        Raises:
            ArgumentError: a value that cannot be used.
            RasterError: the raster cannot be opened or read.
            RasterFitError: it opens, but no model can see buildings in it.
        """
        if gsd is not None and not 0 < gsd < float("inf"):
            raise ArgumentError(f"gsd is {gsd}.", hint="Give metres per pixel, such as 0.3.")
        self.name = display_name(path)
        self._path = path
        self._overview: int | None = None
        self._local = threading.local()
        self._handles: list[DatasetReader | WarpedVRT] = []
        self._lock = threading.Lock()
        self._offset = 0
        self._damaged: list[tuple[tuple[int, int, int, int], RasterError]] = []
        self._warnings: set[str] = set()
        self._skips_damage = on_damage == "skip"
        self._skipped: set[tuple[int, int, int, int]] = set()  # blocks
        if local_only:
            refuse_distant(str(path))
        try:
            report_other_files(str(path))
            if local_only:
                refuse_distant_files(str(path), self._dataset())
            self._choose_pixels(bands, band_count, fill)
            self._choose_grid(gsd)
            with gdal_settings():
                self._choose_values()
        except BaseException:
            self.close()
            raise
        self.metadata = self._describe()

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> RasterSource:
        """Open a raster: the constructor, by the name that reads well in a ``with`` statement."""
        return cls(path, **options)

    @property
    def gsd(self) -> float | None:
        """Ground sampling distance of the working grid: metres per pixel, the mean of both axes; None where unknown."""
        return None if self.pixel_size is None else sum(self.pixel_size) / 2

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the working grid.

        Args:
            window: in whole pixels, inside the working grid.

        Returns:
            The (bands, h, w) float32 pixels, 0..255, and which of them (h, w) bool have data.

        Raises:
            ArgumentError: the window leaves the grid.
            RasterError: the file is damaged there.
        """
        col, row, width, height = (int(value) for value in window.flatten())
        if not (0 <= col < col + width <= self.width and 0 <= row < row + height <= self.height):
            raise ArgumentError(f"{window} is not inside the working grid of {self.width} x {self.height} pixels.")
        with gdal_settings():
            if self._columns.is_identity and self._rows.is_identity:
                pixels, valid = self._raw(col, row, col + width, row + height)
            else:
                pixels, valid = self._resampled(col, row, col + width, row + height)
        if self._stretch is not None:
            pixels = self._stretch(pixels)
        elif self._dtype != np.uint8:  # what a sample of the raster showed need not hold for every pixel
            pixels = np.clip(pixels, 0, 255)
        if len(pixels) < self.bands:
            pixels = np.repeat(pixels, self.bands, axis=0)
        if not valid.all():
            pixels = np.where(valid, pixels, self._fill)
        return pixels, valid

    @property
    def files(self) -> list[str]:
        """The files that it is read from: those of a mosaic and what belongs to them too; none for what is no file."""
        return list(self._dataset().files)

    def close(self) -> None:
        """Close every thread's handle; none may be reading any more."""
        with self._lock:
            handles, self._handles = self._handles, []
        for handle in handles:
            handle.close()
        self._local = threading.local()

    def __enter__(self) -> RasterSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _dataset(self) -> DatasetReader | WarpedVRT:
        dataset = getattr(self._local, "dataset", None)
        if dataset is None:
            dataset = self._local.dataset = open_dataset(self._path, overview=self._overview)
            with self._lock:
                self._handles.append(dataset)
        return dataset

    def _choose_pixels(self, bands: Sequence[int] | None, band_count: int | None, fill: float | Sequence[float]) -> None:
        dataset = self._dataset()
        self._selection = select_bands(dataset, bands=bands, band_count=band_count, name=self.name)
        self.bands = self._selection.count
        indexes = self._selection.indexes
        names = [dataset.dtypes[index - 1] for index in indexes]
        check_values(names, name=self.name)
        self._dtype = np.result_type(*names)
        self._mask_indexes = _bands_with_mask(dataset, indexes)
        self._has_gaps = bool(self._mask_indexes) or self._dtype.kind == "f" or self._selection.opaque is not None
        self._has_gaps |= self._skips_damage
        self._fill = np.broadcast_to(np.asarray(fill, np.float32).reshape(-1, 1, 1), (self.bands, 1, 1))

    def _choose_grid(self, gsd: float | None) -> None:
        dataset = self._dataset()
        place = georeference_of(dataset, name=self.name)
        grid = choose_working_grid(place, dataset.width, dataset.height, gsd=gsd, name=self.name)
        self.crs: CRS | None = place.crs
        self.transform: Affine = grid.transform
        self.pixel_size = grid.pixel_size
        self.width, self.height = grid.width, grid.height
        if self._selection.palette is None:  # averaged numbers of colours are other colours
            scale = min(dataset.width / grid.width, dataset.height / grid.height)
            self._overview = _coarsest_overview(dataset, self._selection.indexes, scale)
        if self._overview is not None:
            self.close()
            dataset = self._dataset()
        self._columns = AxisResampling(dataset.width, grid.width)
        self._rows = AxisResampling(dataset.height, grid.height)

    def _choose_values(self) -> None:
        dataset = self._dataset()
        self._stretch = None
        self._offset = self._find_offset()
        if self._selection.palette is None:
            self._stretch = find_stretch(
                lambda window: self._raw(*_bounds(window)),
                width=dataset.width,
                height=dataset.height,
                block_shape=dataset.block_shapes[self._selection.indexes[0] - 1],
                dtype=self._dtype,
                name=self.name,
            )

    def _describe(self) -> dict[str, str]:
        selection = self._selection
        values = f"{self._dtype} as it is" if self._stretch is None else f"{self._dtype} stretched: {self._stretch}"
        if self._offset:
            values += f", {self._offset} taken off before"
        ways = {self._columns.method, self._rows.method} - {"none"}
        if isinstance(self._dataset(), WarpedVRT):
            ways.add("warped by ground control points")
        return {
            "raster": self.name,
            "bands": ",".join(map(str, selection.indexes)),
            "values": "palette" if selection.palette is not None else values,
            "gsd": "unknown" if self.gsd is None else f"{self.gsd:.6g}",
            "resampling": " and ".join(sorted(ways)) or "none",
        }

    def _resampled(self, col0: int, row0: int, col1: int, row1: int) -> tuple[np.ndarray, np.ndarray]:
        """Resample a window in strips of so few rows that their source fits ``PIXELS_AT_ONCE``."""
        left, right = self._columns.source_span(col0, col1)
        columns = self._columns.weights(col0, col1)
        step = max(1, int(PIXELS_AT_ONCE / ((right - left) * self._rows.scale)))
        strips = []
        for start in range(row0, row1, step):
            stop = min(start + step, row1)
            top, bottom = self._rows.source_span(start, stop)
            pixels, valid = self._raw(left, top, right, bottom)
            rows = self._rows.weights(start, stop)
            if self._has_gaps:
                strips.append(resample_valid(pixels, valid, rows, columns))
            else:
                strips.append((resample(pixels, rows, columns), np.ones((stop - start, col1 - col0), bool)))
        return np.concatenate([strip[0] for strip in strips], axis=1), np.concatenate([strip[1] for strip in strips])

    def _raw(self, col0: int, row0: int, col1: int, row1: int) -> tuple[np.ndarray, np.ndarray]:
        """Read source pixels: (bands, h, w) float32 in the raster's own values, zero without data, and (h, w) bool."""
        read = self._read_around_damage if self._skips_damage else self._read_checked
        pixels, valid = read(col0, row0, col1, row1)
        if self._selection.palette is not None:
            index = pixels[0].astype(np.int64)
            valid &= self._selection.opaque[index]
            pixels = np.moveaxis(self._selection.palette[index], -1, 0)
        elif pixels.dtype.kind == "f":
            plausible = is_plausible(pixels)
            valid &= plausible.any(axis=0)
            pixels = np.where(plausible, pixels, 0)
        if self._offset:  # float32 has 24 bits: what is left of a large number is less exact than its differences
            pixels = pixels.astype(np.int64) - self._offset
        pixels = pixels.astype(np.float32)
        if not valid.all():
            pixels *= valid
        return pixels, valid

    def _read_checked(self, col0: int, row0: int, col1: int, row1: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a window as the file has it, (bands, h, w) and (h, w) bool.

        Raises:
            RasterError: the file is damaged there.
        """
        dataset = self._dataset()
        window = Window(col0, row0, col1 - col0, row1 - row0)
        self._refuse_known_damage(col0, row0, col1, row1)
        try:
            with gdal_warnings() as warnings:
                pixels = dataset.read(list(self._selection.indexes), window=window)
                valid = np.ones(pixels.shape[1:], bool)
                if self._mask_indexes:
                    valid = dataset.read_masks(list(self._mask_indexes), window=window).any(axis=0)
        except (RasterioError, OSError) as error:
            raise self._damage((col0, row0, col1, row1), str(error.__cause__ or error)) from error
        self._heed(warnings, (col0, row0, col1, row1))
        return pixels, valid

    def _read_around_damage(self, col0: int, row0: int, col1: int, row1: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a window block by block, as the file is stored; a damaged block has no data, and is named once."""
        dataset = self._dataset()
        height, width = dataset.block_shapes[self._selection.indexes[0] - 1]
        names = [dataset.dtypes[index - 1] for index in self._selection.indexes]
        pixels = np.zeros((len(names), row1 - row0, col1 - col0), np.result_type(*names))
        valid = np.zeros(pixels.shape[1:], bool)
        for top in range(row0 // height * height, row1, height):
            for left in range(col0 // width * width, col1, width):
                block = (left, top, min(left + width, dataset.width), min(top + height, dataset.height))
                with self._lock:
                    if block in self._skipped:
                        continue
                low, high = (max(left, col0), max(top, row0)), (min(block[2], col1), min(block[3], row1))
                place = np.s_[low[1] - row0 : high[1] - row0, low[0] - col0 : high[0] - col0]
                try:
                    pixels[(slice(None), *place)], valid[place] = self._read_checked(*low, *high)
                except RasterError as error:
                    self._skip(block, error)
        return pixels, valid

    def _skip(self, block: tuple[int, int, int, int], error: RasterError) -> None:
        with self._lock:
            is_new = block not in self._skipped
            self._skipped.add(block)
        if is_new:
            col0, row0, col1, row1 = block
            logger.warning("%s Columns %d to %d, rows %d to %d are taken for no data.", error.message, col0, col1, row0, row1)

    def _heed(self, warnings: list[str], bounds: tuple[int, int, int, int]) -> None:
        """Pass on what GDAL warned of while it read a window.

        Raises:
            RasterError: what it read cannot be what was once written.
        """
        for warning in warnings:
            if speaks_of_damage(warning):
                error = self._damage(bounds, warning)
                with self._lock:
                    self._damaged.append((bounds, error))
                raise error
            with self._lock:
                is_new = warning not in self._warnings
                self._warnings.add(warning)
            if is_new:
                logger.warning("%s: GDAL says: %s", self.name, warning)

    def _refuse_known_damage(self, col0: int, row0: int, col1: int, row1: int) -> None:
        """Refuse a window that shares pixels with a damaged one: GDAL keeps its blocks, and warns once."""
        with self._lock:
            known = list(self._damaged)
        for (left, top, right, bottom), error in known:
            if left < col1 and col0 < right and top < row1 and row0 < bottom:
                raise error

    def _damage(self, bounds: tuple[int, int, int, int], reason: str) -> RasterError:
        col0, row0, col1, row1 = bounds
        return RasterError(
            f"{self.name} is damaged at columns {col0} to {col1}, rows {row0} to {row1}: {reason.rstrip('.')}.",
            hint="Fetch or export the file again, or leave the place out with --extent or --on-damage skip.",
        )

    def _find_offset(self) -> int:
        """Return what is taken off all values before they become float32, which counts to 2**24 exactly."""
        if self._dtype.kind not in "iu" or self._dtype.itemsize < 4 or self._selection.palette is not None:
            return 0
        dataset = self._dataset()
        block = dataset.block_shapes[self._selection.indexes[0] - 1]
        for window in islice(SpreadWindows(dataset.width, dataset.height, block), SAMPLE_WINDOWS):
            col0, row0, col1, row1 = _bounds(window)
            self._offset = 0
            _, valid = self._raw(col0, row0, col1, row1)
            if valid.any():
                values = dataset.read(list(self._selection.indexes), window=window).astype(np.int64)[:, valid]
                low = int(values.min())
                return low if max(abs(low), abs(int(values.max()))) > _EXACT else 0
        return 0


def _bounds(window: Window) -> tuple[int, int, int, int]:
    return window.col_off, window.row_off, window.col_off + window.width, window.row_off + window.height


def _bands_with_mask(dataset: DatasetReader | WarpedVRT, indexes: Sequence[int]) -> tuple[int, ...]:
    """Return the bands whose masks say where the raster has data: none, one for all, or each its own."""
    flags = {index: dataset.mask_flag_enums[index - 1] for index in indexes}
    shared = [index for index, flag in flags.items() if MaskFlags.per_dataset in flag]
    if shared:
        return tuple(shared[:1])
    # A pixel has data where any band has: a black or white roof may hit the nodata value in one of them.
    return () if any(MaskFlags.all_valid in flag for flag in flags.values()) else tuple(flags)


def _coarsest_overview(dataset: DatasetReader | WarpedVRT, indexes: Sequence[int], scale: float) -> int | None:
    """Return the coarsest overview of which ``OVERVIEW_MARGIN`` pixels still make one of the working grid, if any."""
    levels = [dataset.overviews(index) for index in indexes]
    if any(level != levels[0] for level in levels):
        return None
    fitting = [place for place, factor in enumerate(levels[0]) if factor * OVERVIEW_MARGIN <= scale]
    return max(fitting, key=lambda place: levels[0][place]) if fitting else None
