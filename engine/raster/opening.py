"""Open a dataset with GDAL: bounded memory, nothing executed, and one clear line when it cannot be."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import rasterio
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from engine.errors import RasterError, RasterFitError
from engine.files.input_file import refuse_special
from engine.raster.georeference import needs_warping

# Left alone, GDAL keeps blocks worth 5 % of the machine's memory. The cache is one for the process, and GDAL asks for its
# size (in MB) once, at first use: an environment that each thread enters and leaves would keep resetting it.
os.environ.setdefault("GDAL_CACHEMAX", "256")

GDAL_SETTINGS = {
    # Pixel functions in Python inside a VRT would run whatever a stranger wrote there.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    # A JPEG that stops half-way is an error, not a grey area.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",
    # GDAL's short cut for whole PNG files gives unwritten memory for what is missing of a truncated one.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
}


def gdal_settings() -> rasterio.Env:
    """Return the environment in which every call to GDAL has to be made."""
    return rasterio.Env(**GDAL_SETTINGS)


def open_dataset(path: str | Path, *, overview: int | None = None) -> DatasetReader | WarpedVRT:
    """Open a raster for reading; one that ground control points distort comes warped to north-up in their CRS.

    Args:
        path: a file, or any name of a dataset that GDAL understands.
        overview: which of its overviews to read instead, from 0; None reads the full resolution.

    Raises:
        RasterError: there is no such file, or GDAL cannot read it.
        RasterFitError: it holds no raster of its own, but several others.
    """
    name = display_name(path)
    refuse_special(path, what="raster", error=RasterError)
    options = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    try:
        with gdal_settings(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said in our own words by the georeference
            dataset = rasterio.open(str(path), **options)
    except RasterioError as error:
        raise _why_not(path, error) from error
    if dataset.count == 0 or dataset.width == 0 or dataset.height == 0:
        subdatasets = dataset.subdatasets
        dataset.close()
        if subdatasets:
            raise RasterFitError(
                f"{name} holds {len(subdatasets)} rasters.", hint=f"Name one of them: {'  '.join(subdatasets[:20])}"
            )
        raise RasterError(f"{name} has no bands to read.", hint="Give a raster with at least one band.")
    for file in dataset.files:  # of a mosaic they are opened when they are read
        refuse_special(file, what=f"{name} reads from other files, of which", error=RasterError)
    if needs_warping(dataset):
        return _warped(dataset)
    return dataset


def display_name(path: str | Path) -> str:
    """Return what messages call a dataset: its file name where it has one."""
    return Path(path).name or str(path)


def _why_not(path: str | Path, error: RasterioError) -> RasterError:
    name = display_name(path)
    place = Path(path)
    is_plain = not str(path).startswith("/vsi") and "://" not in str(path) and ":" not in str(path)[2:]
    if is_plain and not place.exists():
        return RasterError(f"raster {path} does not exist.", hint="Check the path.")
    if is_plain and place.is_dir():
        return RasterError(f"raster {path} is a folder.", hint="Give a file; gdalbuildvrt makes one of many.")
    return RasterError(
        f"{name} cannot be opened as a raster: {str(error).rstrip('.')}.",
        hint="`gdalinfo` says more; other formats go through gdal_translate.",
    )


def _warped(dataset: DatasetReader) -> WarpedVRT:
    _, crs = dataset.gcps
    flags = {flag for band in dataset.mask_flag_enums for flag in band}
    has_palette = ColorInterp.palette in dataset.colorinterp
    return WarpedVRT(
        dataset,
        crs=crs,
        src_crs=crs,
        resampling=Resampling.nearest if has_palette else Resampling.bilinear,
        # Ground that the picture does not reach has to be told from black roofs.
        add_alpha=flags == {MaskFlags.all_valid},
        tolerance=0,
    )
