"""Which other files a raster reads from: a VRT is a text that may name any file of this machine, and any address."""

from __future__ import annotations

import html
import logging
import os
import re
from pathlib import Path

from engine.errors import RasterError

logger = logging.getLogger(__name__)

_SOURCE = re.compile(r"<(Source(?:Filename|Dataset|DEM)|OverviewFile)([^>]*)>([^<]*)</\1>")
_NETWORK_DRIVERS = {"WMS", "WMTS", "WCS", "HTTP", "OGCAPI", "EEDAI", "PLMOSAIC", "DAAS", "STACTA", "STACIT", "NGW", "PLSCENES"}
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
        RasterError: it names the first such place.
    """
    if not os.path.isfile(path) and not (path.startswith(_ARCHIVES) and "://" not in path and "/vsi" not in path[1:]):
        raise RasterError(f"raster {path} is no file here, as --local-only wants it.", hint="Download it first.")
    home = os.path.realpath(Path(path).parent)
    for source in sources_of(path):
        if not os.path.isfile(source) or not Path(os.path.realpath(source)).is_relative_to(home):
            raise RasterError(
                f"{Path(path).name} reads from {source}, which is no file in its folder; --local-only forbids it.",
                hint="Put the file beside it, or leave --local-only out if you trust it.",
            )


def refuse_network_driver(path: str, driver: str) -> None:
    """Refuse a local file that describes a service.

    Raises:
        RasterError: GDAL opened it by a driver that asks the network.
    """
    if driver in _NETWORK_DRIVERS:
        raise RasterError(
            f"{Path(path).name} reads from the network ({driver}); --local-only forbids it.", hint="Download it first."
        )


def sources_of(path: str) -> list[str]:
    """Return what a VRT names, and the VRTs that it names in turn."""
    found: dict[str, None] = {}
    pending = [path]
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
