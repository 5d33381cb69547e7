"""Check the file that a layer is going to be written to, so that nothing that is there or in use is lost."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from qgis.core import QgsDataSourceUri, QgsProject, QgsProviderRegistry, QgsVectorFileWriter, QgsVectorLayer

from qgis_maskdino.translation import tr

_STYLES = "layer_styles"  # a table of QGIS's own, which goes with the layers
_RESERVED = ("gpkg_", "rtree_", "sqlite_", "idx_", "ogr_")
_LONGEST_NAME = 200  # characters: names of indices and triggers are longer
_SHOWN = 5


def absolute_output(entered: str, project: QgsProject) -> str:
    """Return the file that a person means: relative to the project's folder, a GeoPackage where there is no suffix.

    The path stays relative where the project has no folder yet; ``why_not_a_place`` refuses that.
    """
    path = os.path.expanduser(entered.strip())
    if not os.path.splitext(path)[1]:
        path += ".gpkg"
    if not os.path.isabs(path) and project.homePath():
        path = os.path.join(project.homePath(), path)
    return os.path.normpath(path)


def why_not_a_place(path: str) -> str:
    """Return why no file can be written at a path; empty where nothing speaks against it."""
    if not os.path.isabs(path):
        return tr("The output {path} has no folder: save the project, which it would go beside, or give the full path.").format(
            path=path
        )
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return tr("The folder {path} of the output does not exist.").format(path=folder)
    if os.path.isdir(path):
        return tr("The output {path} is a folder. Name a file.").format(path=path)
    if not os.access(folder, os.W_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
        return tr("The output {path} cannot be written: permission denied. Choose another place.").format(path=path)
    return ""


def why_not_a_layer_file(path: str) -> str:
    """Return why QGIS cannot write a layer in the format that a file's suffix names; empty where it can."""
    suffix = os.path.splitext(path)[1][1:].lower()
    if suffix in QgsVectorFileWriter.supportedFormatExtensions():
        format_of_suffix = QgsVectorFileWriter.MetaData()
        QgsVectorFileWriter.driverMetadata(QgsVectorFileWriter.driverForExtension(suffix), format_of_suffix)
        # A format appends its own suffix to another one that it claims: out.txt becomes out.txt.gxt.
        if format_of_suffix.ext in ("", suffix):
            return ""
    return tr("'.{suffix}' is no format that a layer can be written in. Take .gpkg, .geojson, .fgb or .shp.").format(
        suffix=suffix
    )


def why_not_a_new_layer(path: str, name: str) -> str:
    """Return why a GeoPackage cannot get a layer of a name; empty where it can."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable() or name.lower().startswith(_RESERVED):
        return tr("A layer cannot be called '{name}'. Use letters, digits and underscores.").format(name=name)
    there = next((layer for layer in layers_of(path) if layer.lower() == name.lower()), None)
    if there is not None:
        return tr("The GeoPackage {path} has a layer {name} already. Give another name.").format(path=path, name=there)
    return ""


def layers_of(path: str) -> list[str]:
    """Return the names of a GeoPackage's layers and tables; none where the file is no GeoPackage, or is not there."""
    if not os.path.isfile(path):
        return []
    try:
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as database:
            names = database.execute("SELECT table_name FROM gpkg_contents ORDER BY table_name").fetchall()
    except sqlite3.DatabaseError:
        return []
    return [name for (name,) in names if name.lower() != _STYLES]


def other_layers(path: str) -> list[str]:
    """Return the layers of a GeoPackage that writing a single one in its place would lose.

    QGIS calls a layer by its file, so that a layer of this name is the one that is written anew.
    """
    own = os.path.splitext(os.path.basename(path))[0].lower()
    return [name for name in layers_of(path) if name.lower() != own]


def shown_names(names: list[str]) -> str:
    """Return names for a sentence, the first ones where there are many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (" " + tr("and {} more").format(more) if more > 0 else "")


def layers_using(path: str, project: QgsProject) -> list[str]:
    """Return the names of a project's layers that are read from a file. To be called in the main thread."""
    if not os.path.exists(path):
        return []
    names = []
    for layer in project.mapLayers().values():
        parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
        source = str(parts.get("path") or "")
        if source and os.path.exists(source) and os.path.samefile(source, path):
            names.append(layer.name())
    return sorted(names)


def free_file(path: str) -> str:
    """Return a path beside another that nothing has yet: mine.gpkg, mine_2.gpkg, mine_3.gpkg ..."""
    stem, suffix = os.path.splitext(path)
    return next(f"{stem}{ending}{suffix}" for ending in _endings() if not os.path.lexists(f"{stem}{ending}{suffix}"))


def free_layer_name(path: str, name: str) -> str:
    """Return a name that no layer of a GeoPackage has yet."""
    taken = {layer.lower() for layer in layers_of(path)}
    return next(f"{name}{ending}" for ending in _endings() if f"{name}{ending}".lower() not in taken)


def layer_output(path: str, name: str) -> str:
    """Return how an algorithm's output names a layer of a GeoPackage."""
    uri = QgsDataSourceUri()
    uri.setDataSource("", name, "geom")
    uri.setDatabase(path)
    return f"ogr:{uri.uri()}"


def layer_of_output(output: str) -> tuple[str, str] | None:
    """Return the file and the layer of an output that is one of a GeoPackage's; None for any other."""
    kind, _, rest = output.partition(":")
    uri = QgsDataSourceUri(rest) if kind == "ogr" else QgsDataSourceUri()
    return (uri.database(), uri.table()) if uri.database() and uri.table() else None


def in_file(output: str) -> bool:
    """Return whether an output names a file, or a layer in one."""
    return os.path.isabs(output) or layer_of_output(output) is not None


def opened(output: str) -> QgsVectorLayer:
    """Open the layer that an output in a file names; it is not valid where there is none."""
    path, name = layer_of_output(output) or (output, "")
    return QgsVectorLayer(f"{path}|layername={name}" if name else path, name, "ogr")


def _endings() -> Iterator[str]:
    yield ""
    number = 2
    while True:
        yield f"_{number}"
        number += 1
