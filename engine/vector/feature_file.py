"""Whole layers, fields and all, for what changes their geometries alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyogrio
import shapely

from engine.errors import ArgumentError, VectorError
from engine.vector.polygon_file import PARQUET, check_file, file_of, known_crs, ogr_layer

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf"}
POLYGON, MULTIPOLYGON = int(shapely.GeometryType.POLYGON), int(shapely.GeometryType.MULTIPOLYGON)
_EXACT = 2**53  # whole numbers from here on are no longer exact as float64


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """The features of a layer, in its order.

    Attributes:
        name: of the layer.
        crs: name or WKT; None where the layer has none.
        geometries: (N,) of any kind, in two dimensions; None where a feature has none.
        columns: (N,) values of each field by its name, of the type that the field has.
        nulls: (N,) bool by the name of the field, where it has no value.
    """

    name: str
    crs: str | None
    geometries: np.ndarray
    columns: dict[str, np.ndarray]
    nulls: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.geometries)

    def with_geometries(self, geometries: np.ndarray) -> FeatureTable:
        """Return the same features with other geometries (N,)."""
        return replace(self, geometries=geometries)


def read_features(path: str | Path, *, role: str = "layer") -> FeatureTable:
    """Read all of a layer.

    Args:
        path: as ``read_layer`` takes it, but for GeoParquet.
        role: what the file is for the one who gave it, for messages.

    Raises:
        VectorError: the file or layer is not there or cannot be read, or has a field whose values would change.
    """
    file = file_of(path)
    check_file(file, role)
    if Path(file).suffix.lower() in PARQUET:
        raise VectorError(f"{role} {file} is GeoParquet.", hint="Give a GeoPackage, GeoJSON, FlatGeobuf or shapefile.")
    with ogr_layer(path, role) as (plain, layer):
        about, _, wkb, values = pyogrio.raw.read(plain, layer=layer, force_2d=True)
    columns, nulls = {}, {}
    for name, kind, column in zip(about["fields"], about["dtypes"], values, strict=True):
        columns[name], nulls[name] = _typed(column, np.dtype(kind), f"{role} {path}: field {name}")
    shapes = shapely.from_wkb(np.full(len(values[0]) if columns else 0, None) if wkb is None else wkb, on_invalid="ignore")
    return FeatureTable(layer or Path(file).stem, known_crs(about["crs"]), shapes, columns, nulls)


def write_features(table: FeatureTable, path: Path) -> None:
    """Write a layer to a new file.

    Args:
        table: what to write.
        path: with an extension of ``DRIVERS``; a file that stands there, empty, is replaced.

    Raises:
        pyogrio's errors, and OSError.
    """
    there, driver = ~shapely.is_missing(table.geometries), DRIVERS[path.suffix.lower()]
    kinds = set(shapely.get_type_id(table.geometries[there]).tolist())
    # An index of FlatGeobuf's has no place for features without a geometry.
    options = {"SPATIAL_INDEX": "NO"} if driver == "FlatGeobuf" and not there.all() else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)  # the layer that was read has none either
        pyogrio.raw.write(
            path,
            shapely.to_wkb(table.geometries),
            list(table.columns.values()),
            np.array(list(table.columns), dtype=object),
            field_mask=list(table.nulls.values()),
            layer=table.name,
            driver=driver,
            geometry_type=_common_type(kinds),
            promote_to_multi=kinds == {POLYGON, MULTIPOLYGON},
            crs=table.crs,
            nan_as_null=False,
            **options,
        )


def check_feature_file(path: Path) -> None:
    """Refuse a file to write whose format cannot be written.

    Raises:
        ArgumentError: it has another extension.
    """
    if path.suffix.lower() not in DRIVERS:
        what = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise ArgumentError(f"The output {path} has {what}.", hint="Use .gpkg, .geojson or .fgb.")


def _common_type(kinds: set[int]) -> str:
    """Return what OGR calls a layer whose geometries are of these kinds."""
    if kinds <= {POLYGON}:
        return "Polygon"
    return "MultiPolygon" if kinds <= {POLYGON, MULTIPOLYGON} else "Unknown"


def _typed(column: np.ndarray, kind: np.dtype, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a field as it is in the file, and where it is null; pyogrio makes float64 of numbers with nulls."""
    if column.dtype == object:
        return column, np.array([value is None for value in column], dtype=bool)
    nulls = np.isnat(column) if column.dtype.kind == "M" else np.isnan(column) if column.dtype.kind == "f" else None
    if nulls is None:
        return column, np.zeros(len(column), dtype=bool)
    if kind.kind not in "iub" or column.dtype.kind != "f":
        return column, nulls
    if (np.abs(column[~nulls]) >= _EXACT).any():
        raise VectorError(
            f"{what} has whole numbers of 16 digits and more beside empty values, which would lose their last digits.",
            hint="Turn the field into text, or fill the empty values.",
        )
    return np.where(nulls, 0, column).astype(kind), nulls
