"""Small web maps on this machine, as QGIS layers see them: XYZ tiles of a raster, a WMS, a WCS."""

from __future__ import annotations

import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from osgeo import gdal

TILE = 256
_WORLD = 2 * math.pi * 6378137.0


class MapServer:
    """An HTTP server on this machine that answers each address with a picture, or 404 where ``answer`` returns None."""

    def __init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = server.answer(self.path)
                kind = "text/xml" if content is not None and content.startswith(b"<") else "image/png"
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def answer(self, path: str) -> bytes | None:
        raise NotImplementedError

    def __enter__(self) -> MapServer:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()


class TileServer(MapServer):
    """Serves ``/z/x/y.png`` of a raster, or what ``paint`` returns for z, x and y: a PNG, or None where there is no tile."""

    def __init__(self, raster: Path | None = None, paint=None) -> None:
        super().__init__()
        self.requests: list[tuple[int, int, int]] = []
        self._raster, self._paint = raster, paint

    @property
    def source(self) -> str:
        """The data source of a layer of provider ``wms``."""
        return f"type=xyz&url={self.address}/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmax=20&zmin=0"

    def answer(self, path: str) -> bytes | None:
        """Return a tile."""
        z, x, y = (int(part) for part in path.removesuffix(".png").strip("/").split("/"))
        self.requests.append((z, x, y))
        if self._paint is not None:
            return self._paint(z, x, y)
        side = _WORLD / 2**z
        left, top = x * side - _WORLD / 2, _WORLD / 2 - y * side
        return warped(self._raster, "EPSG:3857", (left, top - side, left + side, top), TILE, TILE)


class WebMapService(MapServer):
    """A WMS 1.3.0 with one layer, ``town``, in web mercator."""

    def __init__(self, raster: Path) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []
        self._raster = raster

    @property
    def source(self) -> str:
        """The data source of a layer of provider ``wms``."""
        return f"crs=EPSG:3857&format=image/png&layers=town&styles&url={self.address}/?"

    def answer(self, path: str) -> bytes | None:
        """Return the capabilities, or a map of the size that is asked for."""
        query = {name.upper(): values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if query.get("REQUEST") == "GetCapabilities":
            return _CAPABILITIES.format(address=self.address).encode()
        size = int(query["WIDTH"]), int(query["HEIGHT"])
        self.sizes.append(size)
        return warped(self._raster, "EPSG:3857", tuple(float(part) for part in query["BBOX"].split(",")), *size)


_CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms" xmlns:xlink="http://www.w3.org/1999/xlink">
<Service><Name>WMS</Name><Title>town</Title><OnlineResource xlink:href="{address}/"/></Service>
<Capability><Request>
<GetCapabilities><Format>text/xml</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{address}/?"/></Get></HTTP></DCPType></GetCapabilities>
<GetMap><Format>image/png</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{address}/?"/></Get></HTTP></DCPType></GetMap>
</Request><Exception><Format>XML</Format></Exception>
<Layer><Title>all</Title><CRS>EPSG:3857</CRS>
<EX_GeographicBoundingBox><westBoundLongitude>-180</westBoundLongitude><eastBoundLongitude>180</eastBoundLongitude>
<southBoundLatitude>-85</southBoundLatitude><northBoundLatitude>85</northBoundLatitude></EX_GeographicBoundingBox>
<BoundingBox CRS="EPSG:3857" minx="-20000000" miny="-20000000" maxx="20000000" maxy="20000000"/>
<Layer queryable="0"><Name>town</Name><Title>town</Title></Layer></Layer></Capability></WMS_Capabilities>"""


class CoverageService(MapServer):
    """A WCS 1.0.0 with one coverage, ``town``: the values of a raster in its own CRS, EPSG:32633."""

    def __init__(self, raster: Path) -> None:
        super().__init__()
        self._raster = raster

    @property
    def source(self) -> str:
        """The data source of a layer of provider ``wcs``."""
        return f"url={self.address}/&identifier=town&crs=EPSG:32633&format=GeoTIFF&version=1.0.0&cache=AlwaysNetwork"

    def answer(self, path: str) -> bytes | None:
        """Return a document, or the values of a rectangle."""
        query = {name.upper(): values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        raster = gdal.Open(str(self._raster))
        left, pixel, _, top, _, _ = raster.GetGeoTransform()
        right, bottom = left + pixel * raster.RasterXSize, top - pixel * raster.RasterYSize
        if query["REQUEST"] == "GetCapabilities":
            return _COVERAGES.format(address=self.address, name=_NAME).encode()
        if query["REQUEST"] == "DescribeCoverage":
            return _COVERAGE.format(
                name=_NAME, left=left, bottom=bottom, right=right, top=top, pixel=pixel,
                columns=raster.RasterXSize - 1, rows=raster.RasterYSize - 1,
            ).encode()  # fmt: skip
        size = int(query["WIDTH"]), int(query["HEIGHT"])
        bounds = tuple(float(part) for part in query["BBOX"].split(","))
        name = f"/vsimem/{threading.get_ident()}.tif"
        gdal.Warp(name, raster, format="GTiff", outputBounds=bounds, width=size[0], height=size[1])
        return content_of(name)


_NAME = """<name>town</name><label>town</label><lonLatEnvelope srsName="urn:ogc:def:crs:OGC:1.3:CRS84">
<gml:pos>14.99 45.14</gml:pos><gml:pos>15.01 45.16</gml:pos></lonLatEnvelope>"""
_COVERAGES = """<WCS_Capabilities version="1.0.0" xmlns="http://www.opengis.net/wcs" xmlns:gml="http://www.opengis.net/gml"
 xmlns:xlink="http://www.w3.org/1999/xlink"><Service><name>WCS</name><label>towns</label></Service><Capability><Request>
<GetCapabilities><DCPType><HTTP><Get><OnlineResource xlink:href="{address}/?"/></Get></HTTP></DCPType></GetCapabilities>
<DescribeCoverage><DCPType><HTTP><Get><OnlineResource xlink:href="{address}/?"/></Get></HTTP></DCPType></DescribeCoverage>
<GetCoverage><DCPType><HTTP><Get><OnlineResource xlink:href="{address}/?"/></Get></HTTP></DCPType></GetCoverage>
</Request></Capability><ContentMetadata><CoverageOfferingBrief>{name}</CoverageOfferingBrief></ContentMetadata>
</WCS_Capabilities>"""
_COVERAGE = """<CoverageDescription version="1.0.0" xmlns="http://www.opengis.net/wcs" xmlns:gml="http://www.opengis.net/gml">
<CoverageOffering>{name}<domainSet><spatialDomain>
<gml:Envelope srsName="EPSG:32633"><gml:pos>{left} {bottom}</gml:pos><gml:pos>{right} {top}</gml:pos></gml:Envelope>
<gml:RectifiedGrid dimension="2"><gml:limits><gml:GridEnvelope><gml:low>0 0</gml:low><gml:high>{columns} {rows}</gml:high>
</gml:GridEnvelope></gml:limits><gml:axisName>x</gml:axisName><gml:axisName>y</gml:axisName>
<gml:origin><gml:pos>{left} {top}</gml:pos></gml:origin><gml:offsetVector>{pixel} 0</gml:offsetVector>
<gml:offsetVector>0 -{pixel}</gml:offsetVector></gml:RectifiedGrid></spatialDomain></domainSet>
<rangeSet><RangeSet><name>values</name><label>values</label></RangeSet></rangeSet>
<supportedCRSs><requestResponseCRSs>EPSG:32633</requestResponseCRSs></supportedCRSs>
<supportedFormats nativeFormat="GeoTIFF"><formats>GeoTIFF</formats></supportedFormats>
</CoverageOffering></CoverageDescription>"""


def warped(raster: Path, crs: str, bounds: tuple[float, ...], width: int, height: int) -> bytes:
    """Return a part of a raster in another CRS, transparent where it has none."""
    picture = gdal.Warp(
        "", gdal.Open(str(raster)), format="MEM", dstSRS=crs, outputBounds=bounds, width=width, height=height,
        dstAlpha=True, resampleAlg="bilinear",
    )  # fmt: skip
    return png(picture)


def png(dataset: gdal.Dataset) -> bytes:
    """Return a dataset as a PNG."""
    name = f"/vsimem/{threading.get_ident()}.png"
    gdal.GetDriverByName("PNG").CreateCopy(name, dataset)
    return content_of(name)


def content_of(name: str) -> bytes:
    """Take the content of a file in memory, which then is gone."""
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
