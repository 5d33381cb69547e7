"""Write what matched and what did not as a layer to look at."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import shapely

from engine.detection.layer_writer import DRIVERS, WRITE_ERRORS
from engine.files.output_file import OutputFile, explained
from training.evaluation.layers.evaluation import LayerEvaluation
from training.evaluation.matching import by_score

LAYER = "matches"
TRUE_POSITIVE, FALSE_POSITIVE, MISS = "true positive", "false positive", "miss"


def write_matches(evaluation: LayerEvaluation, output: OutputFile) -> int:
    """Write one row a detection, best score first, and then one a missed annotation, the largest first.

    Outlines are those of the detections as they came, and those of missed annotations brought to the detections' CRS. Fields:

    - ``result``: true positive, false positive or miss, at IoU 0.5;
    - ``iou``: with the match, else the largest with anything of the other layer;
    - ``score``; ``class``, where classes are told apart; ``area_m2``;
    - ``detection_id``, ``annotation_id``: feature ids in the layers that were compared, null where there is none;
    - ``area_error``, ``polis_m``, ``boundary_iou``, ``vertex_ratio``, ``direction_error``: of true positives.

    Returns:
        The number of rows.

    Raises:
        OutputError: it cannot be written. What stood under the name still does then.
    """
    columns = _columns(evaluation)
    geometries, crs = _outlines(evaluation)
    with explained(output.path, *WRITE_ERRORS):
        _write(output.part, geometries, crs, columns)
    output.finish()
    return len(geometries)


def _columns(evaluation: LayerEvaluation) -> dict[str, np.ndarray]:
    order, missed = _order(evaluation)
    matched, shapes, classes = evaluation.matched[order], evaluation.shapes, evaluation.classes
    right = matched >= 0
    place = np.empty(len(order), dtype=np.int64)  # of a detection among the rows
    place[order] = np.arange(len(order))

    def both(of_detections: np.ndarray, of_missed: np.ndarray) -> np.ndarray:
        return np.concatenate([of_detections, of_missed])

    def of_pairs(values: np.ndarray) -> np.ndarray:
        column = np.full(len(order) + len(missed), np.nan)
        column[place[shapes.detection]] = values
        return column

    none = np.full(len(missed), np.nan)
    ids = np.full(len(order), np.nan)
    ids[right] = evaluation.annotations.ids[matched[right]]
    scores = evaluation.scores[order]
    return {
        "result": both(np.where(right, TRUE_POSITIVE, FALSE_POSITIVE), np.full(len(missed), MISS)).astype(object),
        "iou": both(evaluation.detection_iou[order], evaluation.annotation_iou[missed]),
        "score": both(np.where(np.isfinite(scores), scores, np.nan), none),
        **({} if classes is None else {"class": both(classes.detected[order], classes.annotated[missed])}),
        "area_m2": shapely.area(both(evaluation.detected[order], evaluation.annotated[missed])),
        "detection_id": both(evaluation.detections.ids[order], none),
        "annotation_id": both(ids, evaluation.annotations.ids[missed]),
        "area_error": of_pairs(shapes.area_error),
        "polis_m": of_pairs(shapes.polis),
        "boundary_iou": of_pairs(shapes.boundary_iou),
        "vertex_ratio": of_pairs(shapes.vertex_ratio),
        "direction_error": of_pairs(shapes.direction_error),
    }


def _outlines(evaluation: LayerEvaluation) -> tuple[np.ndarray, Any]:
    order, missed = _order(evaluation)
    outlines = evaluation.annotations.geometries[missed]
    there, here = evaluation.annotations.crs, evaluation.detections.crs or evaluation.annotations.crs
    if len(outlines) and there and not pyproj.CRS(there).equals(pyproj.CRS(here), ignore_axis_order=True):
        transformer = pyproj.Transformer.from_crs(there, here, always_xy=True)
        outlines = shapely.transform(outlines, lambda points: np.stack(transformer.transform(*points.T), axis=1))
    return np.concatenate([evaluation.detections.geometries[order], outlines]), here


def _order(evaluation: LayerEvaluation) -> tuple[np.ndarray, np.ndarray]:
    missed = evaluation.missed
    largest = np.argsort(-shapely.area(evaluation.annotated[missed]), kind="stable")
    return by_score(evaluation.scores), missed[largest]


def _write(path: Path, geometries: np.ndarray, crs: Any, columns: dict[str, np.ndarray]) -> None:
    if (shapely.get_type_id(geometries) == shapely.GeometryType.MULTIPOLYGON).any():
        parts, owner = shapely.get_parts(geometries, return_index=True)
        geometries = shapely.multipolygons(parts, indices=owner)
        kind = "MultiPolygon"
    else:
        kind = "Polygon"
    driver = DRIVERS[path.suffix.lower()]
    if driver == "Parquet":
        import geopandas

        frame = geopandas.GeoDataFrame(columns, geometry=geometries, crs=crs)
        frame.astype({"detection_id": "Int64", "annotation_id": "Int64"}).to_parquet(path)
        return
    whole = ("detection_id", "annotation_id")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)  # the layers have none either
        pyogrio.raw.write(
            path,
            shapely.to_wkb(geometries),
            [np.nan_to_num(values, nan=-1).astype(np.int64) if name in whole else values for name, values in columns.items()],
            np.array(list(columns), dtype=object),
            field_mask=[np.isnan(values) if name in whole else None for name, values in columns.items()],
            layer=LAYER,
            driver=driver,
            geometry_type=kind,
            crs=crs,
        )
