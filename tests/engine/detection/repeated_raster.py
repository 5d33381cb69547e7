"""A raster of any size that takes no room: a VRT that repeats a small one."""

from __future__ import annotations

from pathlib import Path

import rasterio


def write_repeated(path: Path, source: Path, *, width: int, height: int) -> Path:
    """Write a VRT of ``width`` by ``height`` pixels that shows ``source`` again and again, cut off at the far edges."""
    with rasterio.open(source) as dataset:
        count, step_x, step_y = dataset.count, dataset.width, dataset.height
        wkt, transform = dataset.crs.to_wkt(), ", ".join(str(number) for number in dataset.transform.to_gdal())
        colours = [interpretation.name.capitalize() for interpretation in dataset.colorinterp]
    bands = []
    for band in range(1, count + 1):
        sources = []
        for y in range(0, height, step_y):
            for x in range(0, width, step_x):
                w, h = min(step_x, width - x), min(step_y, height - y)
                sources.append(
                    f'<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>{band}</SourceBand>'
                    f'<SrcRect xOff="0" yOff="0" xSize="{w}" ySize="{h}"/>'
                    f'<DstRect xOff="{x}" yOff="{y}" xSize="{w}" ySize="{h}"/></SimpleSource>'
                )
        interpretation = f"<ColorInterp>{colours[band - 1]}</ColorInterp>"
        bands.append(f'<VRTRasterBand dataType="Byte" band="{band}">{interpretation}{"".join(sources)}</VRTRasterBand>')
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{wkt.replace("<", "&lt;")}</SRS>'
        f"<GeoTransform>{transform}</GeoTransform>{''.join(bands)}</VRTDataset>"
    )
    return path
