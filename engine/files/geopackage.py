"""Look at the layers of a GeoPackage that an output is written to, so that none of them is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from engine.errors import ArgumentError, OutputError

_STYLES = "layer_styles"  # a table of QGIS's own, which goes with the layers
_RESERVED = ("gpkg_", "rtree_", "sqlite_", "idx_", "ogr_")
_LONGEST_NAME = 200  # characters: names of indices and triggers are longer


def layers_of(path: Path) -> list[str]:
    """Return the names of a GeoPackage's layers and tables; none where the file is no GeoPackage, or is not there."""
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            names = database.execute("SELECT table_name FROM gpkg_contents ORDER BY table_name").fetchall()
    except sqlite3.DatabaseError:
        return []
    return [name for (name,) in names]


def refuse_to_lose_layers(path: Path, *, own: str) -> None:
    """Refuse to replace a GeoPackage that holds more than one's own layer.

    Args:
        path: the file that would be replaced; need not be there.
        own: the name of the layer that takes its place.

    Raises:
        OutputError: it names the layers, and the ways out.
    """
    others = [name for name in layers_of(path) if name.lower() not in (own.lower(), _STYLES)]
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise OutputError(
            f"The output {path} is a GeoPackage that holds other layers too: {shown}.",
            hint="Name another file; or add a layer to this one with --layer NAME, or replace all of it with --overwrite, "
            "where the command has these options.",
        )


def check_new_layer(path: Path, name: str) -> None:
    """Refuse a name that no layer of a GeoPackage can have, or that one there has already.

    Raises:
        ArgumentError: it says why.
    """
    if path.suffix.lower() != ".gpkg":
        raise ArgumentError(
            f"The output {path} cannot hold several layers, so it cannot take one called {name!r}.", hint="Write a .gpkg."
        )
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable() or name.lower().startswith(_RESERVED):
        raise ArgumentError(f"A layer cannot be called {name!r}.", hint="Use letters, digits and underscores.")
    there = next((layer for layer in layers_of(path) if layer.lower() == name.lower()), None)
    if there is not None:
        raise ArgumentError(f"The GeoPackage {path} has a layer {there} already.", hint="Give another name.")
