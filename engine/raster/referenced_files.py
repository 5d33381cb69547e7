"""Which other files a raster reads from: a VRT is a text that may name any file of this machine, and any address."""

from __future__ import annotations

import html
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import NotLocalError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, WarpedVRT

logger = logging.getLogger(__name__)

_SOURCE = re.compile(r"<(Source(?:Filename|Dataset|DEM)|OverviewFile)([^>]*)>([^<]*)</\1>")
_VRT_OF_A_FILE = re.compile(r"^vrt://([^?]*)(?:\?.*)?$", re.DOTALL)  # with settings, such as another CRS
_DISTANT_DRIVERS = {
    "WMS", "WMTS", "WCS", "HTTP", "OGCAPI", "EEDAI", "PLMOSAIC", "DAAS", "STACTA", "STACIT", "NGW", "PLSCENES", "GTI", "MRF",
    "KMLSUPEROVERLAY",
}  # fmt: skip
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/")
_BEGINNING = 4096  # bytes, in which GDAL looks for what a VRT begins with
_SHOWN = 10


def report_other_files(path: str) -> None:
    """Log which files and addresses a raster reads from besides itself."""
    others = sources_of(path)
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        logger.info("%s reads from other files: %s%s.", Path(path).name, ", ".join(others[:_SHOWN]), more)


def refuse_distant(path: str) -> None:
    """Refuse, before it is opened, a raster that is no file here, or reads from outside its own folder.

    Raises:
        NotLocalError: it names the first such place.
    """
    path = _file_of(path)
    if not os.path.isfile(path) and not (path.startswith(_ARCHIVES) and "://" not in path and "/vsi" not in path[1:]):
        raise NotLocalError(f"raster {path} is no file here, as --local-only wants it.", hint="Download it first.")
    home = _folder_of(path)
    for source in sources_of(path):
        if not os.path.isfile(source) or not _is_inside(source, home):
            raise _reads_from(path, source)


def refuse_distant_files(path: str, dataset: DatasetReader | WarpedVRT) -> None:
    """Refuse a local file that turned out to describe a service, an index of other rasters, or a raster in other folders.

    Raises:
        NotLocalError: GDAL opened it by a driver that asks the network or reads what it does not list, or lists a file from
            outside the raster's folder.
    """
    if dataset.driver in _DISTANT_DRIVERS:
        raise NotLocalError(
            f"{Path(path).name} reads from the network or from other files ({dataset.driver}); --local-only forbids it.",
            hint="Download it first.",
        )
    home = _folder_of(path)
    for file in dataset.files:
        if os.path.isfile(file) and not _is_inside(file, home):
            raise _reads_from(path, file)


def sources_of(path: str) -> list[str]:
    """Return what a VRT names, and the VRTs that it names in turn."""
    found: dict[str, None] = {}
    pending = [_file_of(path)]
    while pending:
        place = Path(pending.pop())
        if not place.is_file():
            continue
        with place.open("rb") as file:
            if b"<VRTDataset" not in file.read(_BEGINNING):
                continue
        for _, attributes, name in _SOURCE.findall(place.read_text(encoding="utf-8", errors="replace")):
            name = html.unescape(name)
            relative = re.search(r'relative[tT]oVRT\s*=\s*"1"', attributes)
            source = str(place.parent / name.strip()) if relative else name.strip()
            if source not in found:
                found[source] = None
                pending.append(source)
    return list(found)


def _file_of(path: str) -> str:
    return _VRT_OF_A_FILE.sub(r"\1", path)


def _folder_of(path: str) -> str:
    return os.path.realpath(Path(_file_of(path)).parent)


def _is_inside(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _reads_from(path: str, other: str) -> NotLocalError:
    return NotLocalError(
        f"{Path(_file_of(path)).name} reads from {other}, which is no file in its folder; --local-only forbids it.",
        hint="Put the file beside it, or leave --local-only out if you trust it.",
    )
