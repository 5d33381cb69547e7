"""Append rows to a layer that a GeoPackage has already, whole or not at all: in one transaction of SQLite's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyogrio
import pyproj

from engine.errors import ArgumentError
from engine.files.geopackage import layers_of

_POLYGONS = ("Polygon", "MultiPolygon", "Unknown")  # of two dimensions, as footprints are


def check_layer_to_append_to(path: Path, name: str) -> None:
    """Refuse a file that has no layer of a name.

    Raises:
        ArgumentError: it names those that are there.
    """
    if path.suffix.lower() != ".gpkg":
        raise ArgumentError(f"Nothing can be appended to {path}.", hint="Append to a layer of a .gpkg, or write another file.")
    there = layers_of(path)
    if name not in there:
        has = f"has no layer {name!r}, but {', '.join(there)}" if there else "is not there, or has no layers"
        raise ArgumentError(f"The GeoPackage {path} {has}.", hint="Name a layer that it has, or leave out --append.")


def check_fit(path: Path, name: str, *, fields: Mapping[str, np.ndarray], crs: str | None) -> None:
    """Refuse to append rows to a layer of another kind. It may have more fields, which stay empty in the new rows.

    Args:
        fields: of the rows, by name.
        crs: of the rows, in a form that PROJ understands; None for none.

    Raises:
        ArgumentError: the layer's fields, geometries or CRS are others.
    """
    info = pyogrio.read_info(path, layer=name)
    types = dict(zip(info["fields"], info["dtypes"], strict=True))
    lacking = [field for field, values in fields.items() if not _takes(types.get(field), values.dtype)]
    if lacking:
        raise _does_not_fit(path, name, f"lacks the fields {', '.join(lacking)}, or has them of another type")
    if info["geometry_type"] not in _POLYGONS:
        raise _does_not_fit(path, name, f"holds geometries of the type {info['geometry_type']}, not Polygon")
    if not _same_crs(info["crs"], crs):
        raise _does_not_fit(path, name, f"has the CRS {_crs_name(info['crs'])}, the raster {_crs_name(crs)}")


def append_rows(part: Path, path: Path, name: str) -> int:
    """Append the rows of a file's layer to the layer of the same name in a GeoPackage.

    Returns:
        How many rows the layer has then.
    """
    there = pyogrio.read_info(path, layer=name, force_feature_count=True)
    about, _, wkb, columns = pyogrio.raw.read(part, layer=name)
    multi = there["geometry_type"] == "MultiPolygon"
    ours = dict(zip(about["fields"], columns, strict=True))
    values, nulls = _filled(ours, dict(zip(there["fields"], there["dtypes"], strict=True)), rows=len(wkb))
    pyogrio.raw.write(
        path,
        wkb,
        values,
        there["fields"],
        field_mask=nulls,
        layer=name,
        driver="GPKG",
        geometry_type="MultiPolygon" if multi else "Polygon",
        promote_to_multi=multi,
        crs=there["crs"],
        append=True,
    )
    return there["features"] + len(wkb)


def _filled(ours: dict[str, np.ndarray], kinds: dict[str, str], *, rows: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return all fields of a layer in its order, and where they are null: pyogrio 0.11 appends by place, not by name."""
    values = [
        ours[name] if name in ours else np.full(rows, None, object) if kind == "object" else np.zeros(rows, kind)
        for name, kind in kinds.items()
    ]
    return values, [np.full(rows, name not in ours) for name in kinds]


def _takes(there: str | None, ours: np.dtype) -> bool:
    """Return whether a field of a layer can hold values of a type."""
    return there is not None and (there == "object" if ours.kind == "O" else there.startswith("float"))


def _same_crs(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return pyproj.CRS.from_user_input(one).equals(pyproj.CRS.from_user_input(other), ignore_axis_order=True)


def _crs_name(crs: str | None) -> str:
    return "none" if crs is None else pyproj.CRS.from_user_input(crs).name


def _does_not_fit(path: Path, name: str, why: str) -> ArgumentError:
    return ArgumentError(
        f"The layer {name} of {path} {why}.", hint="Give the buildings a layer of their own with --layer and without --append."
    )
