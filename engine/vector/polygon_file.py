"""Read the polygons of a vector file, a row a feature, ready to be measured."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.util import vsi_path

from engine.errors import MaskDinoError, VectorError
from engine.files.input_file import refuse_special
from engine.vector.valid_polygons import mended, only_polygons

logger = logging.getLogger(__name__)

LAYER_MARK = "|layername="
_UNDEFINED = re.compile(r'\w+\["Undefined (geographic|Cartesian) SRS"')
_DATABASES = {".gpkg", ".sqlite", ".db"}
_VIEW_SECONDS = 30
_MOST_ROWS = 20_000_000
PARQUET = {".parquet", ".geoparquet"}  # the GDAL that comes with pyogrio's wheels does not read it


@dataclass(frozen=True, eq=False)
class PolygonLayer:
    """Features with polygons, one row each.

    Attributes:
        path: as it was asked for.
        crs: name or WKT; None where the layer has none.
        geometries: (N,) valid polygons and multipolygons with an area.
        ids: (N,) int64 feature ids.
        fields: (N,) values each, of the fields asked for that the layer has, by the name asked for.
        features: how many the layer has, those without a polygon included.
        mended: how many crossed themselves.
    """

    path: str
    crs: Any
    geometries: np.ndarray
    ids: np.ndarray
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    features: int = 0
    mended: int = 0

    def __len__(self) -> int:
        return len(self.geometries)

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return Path(self.path).name

    def only(self, rows: np.ndarray) -> PolygonLayer:
        """Return the layer with some of its rows, in the order given."""
        fields = {name: values[rows] for name, values in self.fields.items()}
        return PolygonLayer(
            self.path, self.crs, self.geometries[rows], self.ids[rows], fields, features=self.features, mended=self.mended
        )


def read_layer(
    path: str | Path,
    *,
    role: str = "layer",
    fields: Callable[[Sequence[str]], Sequence[str]] = lambda names: (),
) -> PolygonLayer:
    """Read a layer; what has no area is left out, what crosses itself is mended, what has several parts stays one row.

    Args:
        path: anything that OGR reads, and GeoParquet; ``FILE|layername=NAME``, as QGIS writes it, names one layer of several.
            Without a name it is the only layer with polygons.
        role: what the file is for the one who gave it, for messages.
        fields: chooses fields to read from the names that there are.

    Raises:
        VectorError: the file or layer is not there, or cannot be read.
    """
    file = file_of(path)
    check_file(file, role)
    if Path(file).suffix.lower() in PARQUET:
        crs, ids, shapes, values = _read_parquet(file, role, fields)
    else:
        with ogr_layer(path, role) as (plain, layer):
            crs, ids, shapes, values = _read_ogr(plain, layer, fields)
    features = len(shapes)
    usable = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    if not usable.all():
        logger.warning("%s: %d of %d features have no geometry that can be used.", path, (~usable).sum(), features)
    broken = usable & ~shapely.is_valid(shapes)
    if broken.any():
        logger.info("%s: %d polygons that cross themselves are mended.", path, broken.sum())
        shapes[broken] = mended(shapes[broken])
    shapes = only_polygons(shapes)
    with_area = usable & (shapely.area(shapes) > 0)
    if with_area.sum() < usable.sum():
        logger.warning("%s: %d of %d features are no polygons; left out.", path, usable.sum() - with_area.sum(), features)
    rows = np.flatnonzero(with_area)
    return PolygonLayer(
        str(path), crs, shapes[rows], ids[rows], {name: column[rows] for name, column in values.items()},
        features=features, mended=int(broken.sum()),
    )  # fmt: skip


_Rows = tuple[Any, np.ndarray, np.ndarray, dict[str, np.ndarray]]


def file_of(path: str | Path) -> str:
    """Return the file in which a layer stands that is named as ``read_layer`` takes it."""
    return str(path).partition(LAYER_MARK)[0]


def check_file(file: str, role: str) -> None:
    """Refuse a file that is not there, or is none.

    Raises:
        VectorError: it says so.
    """
    if "://" not in file and not file.startswith("/vsi") and not Path(file).exists():
        raise VectorError(f"{role} {file} does not exist.", hint="Check the path.")
    refuse_special(file, what=role, error=VectorError)


@contextmanager
def ogr_layer(path: str | Path, role: str) -> Iterator[tuple[str, str | None]]:
    """Yield the names of file and layer by which pyogrio reads what was asked for; its errors become one line.

    Raises:
        VectorError: the layer cannot be read, is one of several, or a view without an end.
    """
    file, layer = file_of(path), str(path).partition(LAYER_MARK)[2].partition("|")[0]
    with _plainly_named(file) as plain, _explained(path, role):
        layer = layer or _only_layer(plain, role)
        _refuse_endless_view(plain, layer, path, role)
        yield plain, layer


def _read_ogr(file: str, layer: str | None, fields: Callable) -> _Rows:
    wanted = list(fields(list(pyogrio.read_info(file, layer=layer)["fields"])))
    meta, ids, geometries, values = pyogrio.raw.read(
        file, layer=layer, columns=wanted, force_2d=True, return_fids=True, read_geometry=True
    )
    shapes = shapely.from_wkb([] if geometries is None else geometries, on_invalid="ignore")
    read = list(meta["fields"])  # in the order of the layer, not in that asked for
    return known_crs(meta["crs"]), ids, shapes, dict(zip(read, values, strict=True)) if read else {}


def _refuse_endless_view(file: str, layer: str | None, path: str | Path, role: str) -> None:
    """Refuse a view of a database that does not come to an end: whoever sends a file may have written anything into it.

    Raises:
        VectorError: it gives more rows than any layer has, or none within ``_VIEW_SECONDS``.
    """
    if layer is None or not os.path.isfile(file) or Path(file).suffix.lower() not in _DATABASES:
        return
    until = time.monotonic() + _VIEW_SECONDS
    name = layer.replace('"', '""')
    try:
        with closing(sqlite3.connect(f"{Path(file).absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.set_progress_handler(lambda: time.monotonic() > until, 100_000)
            kind = database.execute("SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE", [layer]).fetchone()
            if kind != ("view",):
                return
            rows = database.execute(f'SELECT count(*) FROM (SELECT 1 FROM "{name}" LIMIT {_MOST_ROWS})').fetchone()[0]  # nosec B608
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            return  # a function that GDAL has and Python's SQLite has not
        rows = _MOST_ROWS
    except sqlite3.Error:
        return  # whatever is wrong with it, GDAL says it better
    if rows >= _MOST_ROWS:
        raise VectorError(
            f"{role} {path} is a view, {layer}, that did not end within {_VIEW_SECONDS} s or {_MOST_ROWS:,} rows.",
            hint="Save it as a layer of its own.",
        )


@contextmanager
def _plainly_named(file: str) -> Iterator[str]:
    """Yield a name under which pyogrio opens a file, whatever its own: it takes ``!`` and ``;`` for parts of an address."""
    if not os.path.exists(file) or (vsi_path(file) == file and "\n" not in file):
        yield file
        return
    path = Path(file).absolute()
    with tempfile.TemporaryDirectory(prefix="maskdino-") as folder:
        for part in path.parent.iterdir():  # what belongs to a shapefile has its name
            if part.stem == path.stem:
                Path(folder, f"layer{part.suffix}").symlink_to(part)
        yield str(Path(folder, f"layer{path.suffix}"))


def known_crs(crs: Any) -> Any:
    """Return a CRS, None for one of the two by which a GeoPackage says that it does not know (its srs_id 0 and -1)."""
    return None if crs is not None and _UNDEFINED.match(str(crs)) else crs


@contextmanager
def _explained(path: str | Path, role: str) -> Iterator[None]:
    """Turn the errors of reading into one line that names the file."""
    try:
        yield
    except (MaskDinoError, MemoryError):
        raise
    except Exception as error:  # of a broken file pyogrio raises whatever its code then runs into, an UnboundLocalError too
        reason = str(error).partition(";")[0].rstrip(".")  # what follows is advice to programmers
        raise VectorError(
            f"{role} {path} cannot be read: {reason}.", hint="Give a polygon layer, such as a GeoPackage."
        ) from error


def _read_parquet(file: str, role: str, fields: Callable) -> _Rows:
    import geopandas

    try:
        table = geopandas.read_parquet(file)
    except (ImportError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise VectorError(
            f"{role} {file} cannot be read: {reason}.", hint="Give a polygon layer, such as a GeoPackage."
        ) from error
    shapes = shapely.force_2d(table.geometry.to_numpy())
    names = [name for name in table.columns if name != table.geometry.name]
    crs = None if table.crs is None else table.crs.to_wkt()
    return crs, np.arange(len(table)), shapes, {name: table[name].to_numpy() for name in fields(names)}


def _only_layer(file: str, role: str) -> str | None:
    """Return the one layer with polygons; None leaves the choice to OGR, which then says what is wrong."""
    layers = {name: kind for name, kind in pyogrio.list_layers(file) if kind is not None}
    with_polygons = [name for name, kind in layers.items() if "Polygon" in kind or "Surface" in kind]
    candidates = with_polygons or list(layers)
    if len(candidates) > 1:
        raise VectorError(
            f"{role} {file} has {len(candidates)} layers: {', '.join(candidates[:20])}.",
            hint=f"Name one of them, for example '{file}{LAYER_MARK}{candidates[0]}'.",
        )
    return candidates[0] if candidates else None
