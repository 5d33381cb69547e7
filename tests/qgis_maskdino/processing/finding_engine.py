"""The behaviour of engines that find buildings at once, for QGIS's own Python."""

from __future__ import annotations

from pathlib import Path

# Finds so many buildings in a row, and answers; `told` is a file that keeps what was asked.
FINDING = """
from osgeo import ogr, osr
def find(path, count, classes=()):
    system = osr.SpatialReference()
    system.ImportFromEPSG(32633)
    file = ogr.GetDriverByName("GPKG").CreateDataSource(path)
    layer = file.CreateLayer("instances" if classes else "buildings", system, ogr.wkbPolygon)
    layer.CreateField(ogr.FieldDefn("score", ogr.OFTReal))
    if classes:
        layer.CreateField(ogr.FieldDefn("class", ogr.OFTString))
    layer.CreateField(ogr.FieldDefn("area_m2", ogr.OFTReal))
    layer.StartTransaction()
    for number in range(count):
        x, y = 500000 + number % 1000 * 9, 5000000 - number // 1000 * 9
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetField("score", 0.9)
        feature.SetField("area_m2", 25.0)
        if classes:
            feature.SetField("class", classes[number % len(classes)])
        feature.SetGeometry(ogr.CreateGeometryFromWkt(
            f"POLYGON(({x} {y},{x} {y - 5},{x + 5} {y - 5},{x + 5} {y},{x} {y}))"))
        layer.CreateFeature(feature)
    layer.CommitTransaction()
"""


def finds(count: int, *, told: Path | None = None) -> str:
    """Return the behaviour of an engine that finds buildings at once."""
    keep = f"open({str(told)!r}, 'w').write(json.dumps(request)); " if told else ""
    return f"""
for request in requests():
    {keep}arguments = request["arguments"]
    say("progress", id=request["id"], done=1, total=2, unit="tiles", buildings=1, device="cpu")
    find(arguments["output"], {count})
    say("result", id=request["id"], output=arguments["output"], buildings={count}, area_m2=25.0 * {count},
        megapixels=1.0, device="cpu", cancelled=False)
"""
