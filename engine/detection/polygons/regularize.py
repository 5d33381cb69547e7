"""Draw the outlines of a layer anew, whoever made it: the way from a mask to a map, without the mask."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

import numpy as np
import shapely

from engine.detection.layer_writer import WRITE_ERRORS
from engine.detection.polygons.outlines import outlines_of
from engine.detection.polygons.request import RegularizeRequest
from engine.errors import CancelledError
from engine.files.geopackage import refuse_to_lose_layers
from engine.files.output_file import OutputFile, explained, reserved
from engine.job import Progress
from engine.vector.feature_file import MULTIPOLYGON, POLYGON, FeatureTable, check_feature_file, read_features, write_features
from engine.vector.local_scale import metres_per_unit
from engine.vector.polygon_file import file_of
from engine.vector.valid_polygons import mended

_AT_ONCE = 2048  # polygons

Redrawn = Literal["regular", "simplified"]


@dataclass(frozen=True)
class Regularized:
    """What became of a layer.

    Attributes:
        output: the file.
        features: in it, as many as in the layer.
        redrawn: polygons with another outline than before; of a feature with several parts each is one.
        kept: polygons left as they were, because no simpler outline holds, or because they have no place on Earth.
        corners_before, corners_after: vertices of all polygons.
        seconds: that it took.
    """

    output: str
    features: int
    redrawn: int
    kept: int
    corners_before: int
    corners_after: int
    seconds: float


def regularize(
    layer: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    outline: Redrawn = "regular",
    detail: float = 0.3,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancel: Event | None = None,
) -> Regularized:
    """Draw the polygons of a layer anew, with right angles or smooth; fields, order and CRS stay.

    The options are those of ``maskdino regularize``, whose ``--help`` describes them; they are declared in
    ``engine.detection.polygons.request.RegularizeRequest``. What is different in Python:

    Args:
        progress: called in this thread now and then.
        cancel: set by whoever wants it to end; nothing is written then.

    Raises:
        ArgumentError: a value that cannot be used.
        VectorError: the layer cannot be read.
        OutputError: the output cannot be written; what stood under its name still does.
        CancelledError: it was cancelled.
    """
    request = RegularizeRequest.checked(layer=layer, output=output, outline=outline, detail=detail, overwrite=overwrite)
    return run_regularization(request, progress=progress, cancel=cancel)


def run_regularization(
    request: RegularizeRequest,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancel: Event | None = None,
) -> Regularized:
    """Do what ``regularize`` does, of a request."""
    started = time.monotonic()
    output = Path(request.output)
    check_feature_file(output)
    with reserved({"output": output}, inputs=[file_of(request.layer)], reserve={"output": OutputFile}) as files:
        file = files["output"]
        table = read_features(request.layer)
        if not request.overwrite:
            refuse_to_lose_layers(file.target, own=table.name)
        redrawing = _Redrawing(table, outline=request.outline, detail=request.detail)
        for done, total in redrawing.run():
            if cancel is not None and cancel.is_set():
                raise CancelledError(f"Cancelled after {done} of {total} polygons; nothing was written.")
            if progress is not None:
                left = (time.monotonic() - started) * (total - done) / done
                progress(Progress(done, total, unit="polygons", buildings=None, seconds_left=left))
        with explained(file.path, *WRITE_ERRORS):
            write_features(redrawing.table, file.part)
        file.finish()
    return Regularized(
        request.output, len(table), redrawing.redrawn, redrawing.kept, redrawing.corners_before, redrawing.corners_after,
        time.monotonic() - started,
    )  # fmt: skip


class _Redrawing:
    """The polygons of a layer on their way; a feature with several parts is several polygons until it is put together again."""

    def __init__(self, table: FeatureTable, *, outline: Redrawn, detail: float) -> None:
        self.table, self._outline, self._detail = table, outline, detail
        self.redrawn = self.kept = self.corners_before = self.corners_after = 0

    def run(self) -> Iterator[tuple[int, int]]:
        """Draw them anew; yield how many are done, and how many there are."""
        shapes = self.table.geometries.copy()
        crossing = ~shapely.is_missing(shapes) & ~shapely.is_valid(shapes)
        shapes[crossing] = mended(shapes[crossing])
        rows = np.flatnonzero(np.isin(shapely.get_type_id(shapes), (POLYGON, MULTIPOLYGON)) & (shapely.area(shapes) > 0))
        parts, owner = _parts(shapes[rows])
        for begin in range(0, len(parts), _AT_ONCE):
            parts[begin : begin + _AT_ONCE] = self._redraw(parts[begin : begin + _AT_ONCE])
            yield min(begin + _AT_ONCE, len(parts)), len(parts)
        shapes[rows] = _together(parts, owner, len(rows))
        self.table = self.table.with_geometries(shapes)

    def _redraw(self, polygons: np.ndarray) -> np.ndarray:
        origins = shapely.get_coordinates(shapely.centroid(polygons))
        scales = metres_per_unit(origins, self.table.crs) / self._detail
        result = polygons.copy()
        on_earth = np.flatnonzero((np.isfinite(scales) & (scales > 0)).all(1))
        inner = _moved(polygons[on_earth], lambda points, owner: (points - origins[on_earth][owner]) * scales[on_earth][owner])
        drawn = outlines_of(inner, kind=self._outline)
        outer = _moved(drawn, lambda points, owner: points / scales[on_earth][owner] + origins[on_earth][owner])
        another = np.array([after is not before for before, after in zip(inner, drawn, strict=True)], dtype=bool)
        another &= shapely.is_valid(outer)
        result[on_earth[another]] = outer[another]
        self.redrawn += int(another.sum())
        self.kept += len(polygons) - int(another.sum())
        self.corners_before += _corners(polygons)
        self.corners_after += _corners(result)
        return result


def _moved(polygons: np.ndarray, move: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return polygons whose points ``move`` has moved, given (P, 2) points and the (P,) places of their polygons."""
    points, owner = shapely.get_coordinates(polygons, return_index=True)
    return shapely.set_coordinates(polygons.copy(), move(points, owner))


def _parts(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the polygons with an area in polygons and multipolygons (N,), and the places of their owners."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    with_area = shapely.area(parts) > 0
    return parts[with_area], owner[with_area]


def _together(parts: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Return a geometry for each owner: its polygon, or its polygons as one; those that overlap now are united."""
    result = np.full(count, None, dtype=object)
    first, size = np.unique(owner, return_index=True)[1], np.bincount(owner, minlength=count)
    result[:] = parts[first]
    for row in np.flatnonzero(size > 1):
        several = shapely.multipolygons(parts[first[row] : first[row] + size[row]])
        result[row] = several if shapely.is_valid(several) else shapely.union_all(shapely.get_parts(several))
    return result


def _corners(polygons: np.ndarray) -> int:
    """Count vertices: the last point of a ring is the first one again."""
    return int(shapely.get_num_coordinates(polygons).sum()) - len(shapely.get_rings(polygons))
