"""Write footprints as they are found, so that a finished file, and nothing else, ever stands under the output's name.

A GeoPackage is written as the footprints come; the other formats cannot grow, so their rows (some 300 bytes each) wait in
memory for the end. A layer that is added to a GeoPackage with others grows in a file beside it and is copied at the end, in one
transaction of SQLite's: a kill at any moment leaves the others, and all of the new one or nothing. So do rows that are appended
to a layer, see ``layer_to_append_to``.

GeoJSON keeps the raster's CRS in the ``crs`` member that GDAL and QGIS write and read: RFC 7946 would have longitude and
latitude with seven decimals, and the outlines are exact here.
"""

from __future__ import annotations

import json
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyogrio.util import vsi_path

from engine.detection.classes import layer_name
from engine.detection.layer_to_append_to import append_rows, check_fit, check_layer_to_append_to
from engine.errors import ArgumentError, MaskDinoError, OutputError
from engine.files.geopackage import check_new_layer, layers_of, refuse_to_lose_layers
from engine.files.output_file import OutputFile, explained
from engine.tiles.classes import BUILDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.detection.footprints import Footprints

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf", ".parquet": "Parquet"}
ROWS_A_WRITE = 4096
"""Opening a GeoPackage to append takes as long as writing a thousand rows."""

WRITE_ERRORS = (DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError, RuntimeError)


def check_output(path: Path) -> None:
    """Find out, before any work, whether an output can be written.

    Raises:
        ArgumentError, OutputError: as ``reserve_layer``.
    """
    reserve_layer(path).close()


def reserve_layer(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    append: bool = False,
    overwrite: bool = False,
    own: str = layer_name(BUILDING),
) -> OutputFile:
    """Reserve the file of a layer.

    Args:
        path: of the file.
        layer: what the layer is to be called, beside the others of a GeoPackage; None for a file of its own.
        append: the layer is there already, and gets more rows.
        overwrite: also replace a GeoPackage that holds other layers than its ``own``.
        own: what the layer of such a file is called.

    Raises:
        ArgumentError: the extension is not that of a format that can be written, or the layer cannot be added.
        OutputError: as ``OutputFile``, what the format needs is not installed, or layers would be lost.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in DRIVERS:
        what = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise ArgumentError(f"The output {path} has {what}.", hint="Use .gpkg, .geojson, .fgb or .parquet.")
    if DRIVERS[suffix] == "Parquet":
        _require_pyarrow(path)
    file = OutputFile(path)
    if vsi_path(file.part) != str(file.part):
        file.close()
        raise OutputError(
            f"The folder of the output {path} has a character in its name that GDAL takes for part of an address.",
            hint="Write elsewhere.",
        )
    try:
        if append:
            check_layer_to_append_to(file.target, layer or own)
        elif layer is not None:
            check_new_layer(file.target, layer)
        elif not overwrite:
            refuse_to_lose_layers(file.target, own=own)
    except MaskDinoError:
        file.close()
        raise
    return file


class LayerWriter:
    """The layer of what was found, growing: ``write``, then ``close`` to keep it or ``abort`` to leave nothing.

    Fields are ``score`` (0..1), ``class`` (the name, where there is more than one) and ``area_m2`` (null where nothing says
    how large a pixel is); geometries are polygons in the raster's CRS. A GeoPackage has a spatial index, and the metadata as
    the layer's own, where QGIS shows it.

    Attributes:
        layer: its name.
        appends: whether the rows are for a layer that is there already.
    """

    def __init__(
        self,
        output: str | os.PathLike[str] | OutputFile,
        *,
        crs: Any,
        classes: Sequence[str] = BUILDING,
        metadata: dict[str, str] | None = None,
        layer: str | None = None,
        append: bool = False,
    ) -> None:
        """Begin the file.

        Args:
            output: where, or the reserved file, which then stays so; what stands under the name is replaced by ``close``
                and not touched before.
            crs: anything with ``to_wkt()``, a string that GDAL understands, or None for a layer without CRS.
            classes: their names by label.
            metadata: what to keep of how the layer came to be.
            layer: its name where it is added to what the GeoPackage holds already; None for ``buildings`` or,
                of other classes than that, ``instances``, alone in its file.
            append: add the rows to that layer, which is there already and keeps its metadata.

        Raises:
            ArgumentError, OutputError: as ``reserve_layer`` and ``check_fit``, or it cannot be begun.
        """
        self._is_own = not isinstance(output, OutputFile)
        own = layer_name(classes)
        self._file = reserve_layer(output, layer=layer, append=append, own=own) if self._is_own else output
        self.layer = layer or own
        self.appends = append
        self._is_added = layer is not None and bool(layers_of(self._file.target))
        self.path = self._file.path
        self.rows = 0
        self._closed = False
        self._driver = DRIVERS[self.path.suffix.lower()]
        self._crs = crs.to_wkt() if hasattr(crs, "to_wkt") else crs
        self._metadata = {name: str(value) for name, value in (metadata or {}).items()}
        self._classes = np.array(classes, dtype=object) if len(classes) > 1 else None
        self._waiting: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self._rows_waiting = 0
        if self._driver == "GPKG":
            with self._undone_on_error():
                if append:
                    check_fit(self._file.target, self.layer, fields=self._fields_of(None), crs=self._crs)
                self._write_ogr(append=False)

    def write(self, footprints: Footprints) -> None:
        """Add footprints.

        Raises:
            OutputError: they cannot be written; nothing is left of the unfinished file.
        """
        wkb = shapely.to_wkb(np.asarray(footprints.geometries, dtype=object))
        self._waiting.append((wkb, self._fields_of(footprints)))
        self._rows_waiting += len(wkb)
        if self._driver == "GPKG" and self._rows_waiting >= ROWS_A_WRITE:
            with self._undone_on_error():
                self._write_ogr(append=True)

    def close(self) -> None:
        """Finish the file and give it its name, in one step. A second call does nothing.

        Raises:
            OutputError: it cannot be finished or named; what stood under the name still does.
        """
        if self._closed:
            return
        with self._undone_on_error():
            if self._driver == "Parquet":
                self._write_parquet()
            elif self._driver != "GPKG" or self._rows_waiting:
                self._write_ogr(append=self._driver == "GPKG")
            self._verify(self._file.part, self.rows)
            if self.appends:
                self._verify(self._file.target, append_rows(self._file.part, self._file.target, self.layer))
            elif self._is_added:
                self._copy_to_target()
                self._verify(self._file.target, self.rows)
            else:
                self._file.finish()
        self._let_go()

    def abort(self) -> None:
        """Leave nothing of an unfinished file. After ``close``, or a second time, this does nothing."""
        self._let_go()
        self._waiting = []

    def _let_go(self) -> None:
        self._closed = True
        if self._is_own:  # whoever reserved it otherwise has the end of the run to wait for
            self._file.close()

    @contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        try:
            with explained(self.path, *WRITE_ERRORS):
                yield
        except MaskDinoError:
            self.abort()
            raise

    def _fields_of(self, footprints: Footprints | None) -> dict[str, np.ndarray]:
        """Return the fields of some rows by name, in the layer's order; of none, empty fields of the right types."""
        none = np.zeros(0)
        fields = {"score": np.asarray(none if footprints is None else footprints.scores, dtype=np.float32)}
        if self._classes is not None:
            fields["class"] = self._classes[np.asarray(none if footprints is None else footprints.labels, dtype=np.int64)]
        fields["area_m2"] = np.asarray(none if footprints is None else footprints.areas, dtype=np.float64)
        return fields

    def _taken(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Take the rows that wait: WKB, and the fields by name."""
        waiting = [(np.zeros(0, dtype=object), self._fields_of(None)), *self._waiting]
        wkb = np.concatenate([each for each, _ in waiting])
        fields = {name: np.concatenate([each[name] for _, each in waiting]) for name in waiting[0][1]}
        self._waiting = []
        self._rows_waiting = 0
        self.rows += len(wkb)
        return wkb, fields

    def _write_ogr(self, *, append: bool) -> None:
        wkb, fields = self._taken()
        options: dict[str, Any] = {}
        if not append:
            options = {"layer_metadata": self._metadata or None} if self._driver == "GPKG" else {}
            if self._driver != "GeoJSON":
                options["SPATIAL_INDEX"] = "YES"
        with warnings.catch_warnings():
            # The raster has none either, and whoever opened it has said so.
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
            pyogrio.raw.write(
                self._file.part,
                wkb,
                list(fields.values()),
                np.array(list(fields), dtype=object),
                layer=self.layer,
                driver=self._driver,
                geometry_type="Polygon",
                crs=self._crs,
                append=append,
                **options,
            )

    def _copy_to_target(self) -> None:
        """Copy the layer into the GeoPackage that it is added to."""
        about, _, wkb, columns = pyogrio.raw.read(self._file.part, layer=self.layer)
        pyogrio.raw.write(
            self._file.target,
            wkb,
            columns,
            about["fields"],
            layer=self.layer,
            driver=self._driver,
            geometry_type="Polygon",
            crs=self._crs,
            layer_metadata=self._metadata or None,
            SPATIAL_INDEX="YES",
        )

    def _write_parquet(self) -> None:
        """Write GeoParquet 1.1, with the metadata beside the key ``geo`` under a key of its own."""
        import pyarrow
        import pyarrow.parquet
        import pyproj

        wkb, fields = self._taken()
        column = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": pyproj.CRS.from_user_input(self._crs).to_json_dict() if self._crs else None,
        }
        if len(wkb):
            column["bbox"] = shapely.total_bounds(shapely.from_wkb(wkb)).tolist()
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        table = pyarrow.table(
            {
                **{name: _arrow_array(values) for name, values in fields.items()},
                "geometry": pyarrow.array(wkb.tolist(), type=pyarrow.binary()),
            },
            metadata={"geo": json.dumps(geo), "maskdino": json.dumps(self._metadata)},
        )
        pyarrow.parquet.write_table(table, self._file.part)

    def _verify(self, file: Path, rows: int) -> None:
        """Read back how many rows there are: a full disk is not always noticed while a database is being closed."""
        if self._driver == "Parquet":
            return
        found = pyogrio.read_info(file, layer=self.layer, force_feature_count=True)["features"]
        if found != rows:
            raise OSError(f"{found} of {rows} rows are there")


def _arrow_array(values: np.ndarray) -> Any:
    """Return a field for Arrow; NaN, an area that is not known, becomes null."""
    import pyarrow

    return pyarrow.array(values, type=pyarrow.string() if values.dtype == object else None, from_pandas=True)


def _require_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise OutputError(
            f"The output {path} needs pyarrow, which is not installed.",
            hint='Install it with `pip install "qgis-maskdino[parquet]"`, or write a .gpkg.',
        ) from error
