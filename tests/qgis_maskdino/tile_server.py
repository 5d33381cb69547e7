"""A small web map on this machine: XYZ tiles of a raster, as a QGIS layer sees them."""

from __future__ import annotations

import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from osgeo import gdal

TILE = 256
_WORLD = 2 * math.pi * 6378137.0


class TileServer:
    """Serves ``/z/x/y.png`` of a raster, or what ``paint`` returns for z, x and y: a PNG, or None where there is no tile."""

    def __init__(self, raster: Path | None = None, paint=None) -> None:
        self.requests: list[tuple[int, int, int]] = []
        self._raster, self._paint = raster, paint
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                z, x, y = (int(part) for part in self.path.removesuffix(".png").strip("/").split("/"))
                server.requests.append((z, x, y))
                picture = server.picture(z, x, y)
                self.send_response(404 if picture is None else 200)
                self.send_header("Content-Type", "image/png")
                self.send_header("Content-Length", str(len(picture or b"")))
                self.end_headers()
                self.wfile.write(picture or b"")

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def source(self) -> str:
        """The data source of a layer of provider ``wms``."""
        return f"type=xyz&url=http://127.0.0.1:{self._http.server_port}/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmax=20&zmin=0"

    def picture(self, z: int, x: int, y: int) -> bytes | None:
        """Return a tile."""
        if self._paint is not None:
            return self._paint(z, x, y)
        side = _WORLD / 2**z
        left, top = x * side - _WORLD / 2, _WORLD / 2 - y * side
        raster = gdal.Open(str(self._raster))
        tile = gdal.Warp(
            "", raster, format="MEM", dstSRS="EPSG:3857", outputBounds=(left, top - side, left + side, top),
            width=TILE, height=TILE, dstAlpha=True, resampleAlg="bilinear",
        )  # fmt: skip
        return png(tile)

    def __enter__(self) -> TileServer:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def png(dataset: gdal.Dataset) -> bytes:
    """Return a dataset as a PNG."""
    name = f"/vsimem/{threading.get_ident()}.png"
    gdal.GetDriverByName("PNG").CreateCopy(name, dataset)
    file = gdal.VSIFOpenL(name, "rb")
    size = gdal.VSIStatL(name).size
    content = bytes(gdal.VSIFReadL(1, size, file))
    gdal.VSIFCloseL(file)
    gdal.Unlink(name)
    return content


def plain_tile(red: int, green: int, blue: int, alpha: int = 255) -> bytes:
    """Return a tile of one colour."""
    dataset = gdal.GetDriverByName("MEM").Create("", TILE, TILE, 4, gdal.GDT_Byte)
    for band, value in enumerate((red, green, blue, alpha), start=1):
        dataset.GetRasterBand(band).Fill(value)
    return png(dataset)
