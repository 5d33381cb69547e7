"""How much the outlines of detected buildings look like those that a person drew: `regular`, `simplified` and `raw` side by side.

    python benchmarks/outlines.py [--model NAME_OR_FILE] [--data FOLDER] [--cache FOLDER]

Each place is measured twice: on the masks that the model finds there, matched one to one with the annotation at an IoU of a
half, and on masks of the annotated footprints themselves with the wobble of a network's, which no model has to find. All kinds
of outlines are measured on the same pairs, the annotation beside them. Places other than the generated town need the real
imagery, which is not part of the project, and are left out where it is missing. With ``--cache`` what the model found is
kept between two runs.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
import typer
from measuring import machine
from rasterio.features import rasterize
from scipy import ndimage

import engine
from engine.detection.pieces import Building
from engine.detection.raster_source import RasterSource
from engine.detection.regularise import outlines_of
from engine.detection.vectorise import polygons_of
from training.data.synthetic import write_town
from training.evaluation.matching import match
from training.evaluation.overlaps import find_overlaps
from training.evaluation.shape_agreement import direction_errors, polis_distances

GSD = 0.3
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
UNSEEN_SHARE = 0.34  # of the height of Banepa's labelled area, from the south: what the embedded model was not trained on
TOLERANCE = 8.0  # degrees: a corner that turns by less is none, and one as near to 90 is a right angle
STRIDE = 4  # of a network's mask logits
KINDS = ("regular", "simplified", "raw")


@dataclass(frozen=True, eq=False)
class Place:
    """Imagery with the footprints that are annotated on it.

    Attributes:
        name: of the place.
        raster: an image.
        annotated: (N,) polygons in pixels of the working grid.
        area: polygon in pixels of the working grid within which the annotation is complete.
        pixel_size: metres along x and y.
    """

    name: str
    raster: Path
    annotated: np.ndarray
    area: shapely.Geometry
    pixel_size: tuple[float, float]


def main(model: str = "maskdino_tiny", data: Path = DATA, cache: Path | None = None, score: float = 0.5) -> None:
    """Print a table for each place and source of masks."""
    print(f"{model}; {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        places: dict[str, list[Place]] = {}
        for place in _places(data, Path(folder)):
            places.setdefault(place.name, []).append(place)
        for name, parts in places.items():
            rng = np.random.default_rng(0)
            for source in ("masks of the model", "masks with a wobble"):
                pairs = []
                for part in parts:
                    if source == "masks with a wobble":
                        masks = wobbly_masks(part.annotated, rng)
                    else:
                        masks = _cached_masks(part, model, score, cache)
                    pairs.append(_matched(masks, part))
                _print_table(f"{name}, {source}", pairs)


def _places(data: Path, folder: Path) -> Iterator[Place]:
    write_town(folder / "town.tif", folder / "town.gpkg", seed=7, size=1024, gsd=GSD)
    yield _georeferenced("demo town", folder / "town.tif", folder / "town.gpkg")
    banepa = data / "banepa"
    if banepa.is_dir():
        area = geopandas.read_file(banepa / "labelled_area.gpkg")
        west, south, east, north = area.total_bounds
        unseen = area.clip(shapely.box(west, south, east, south + UNSEEN_SHARE * (north - south)))
        yield _georeferenced("Banepa, unseen part", banepa / "image.tif", banepa / "buildings.gpkg", unseen)
    indonesia = data / "places" / "indonesia"
    if indonesia.is_dir():
        yield from _tiles("Indonesia", indonesia, folder)


def _georeferenced(name: str, raster: Path, layer: Path, area: geopandas.GeoDataFrame | None = None) -> Place:
    with RasterSource.open(raster, gsd=GSD, band_count=3) as source:
        inverse = ~source.transform

        def in_pixels(frame: geopandas.GeoDataFrame) -> np.ndarray:
            shapes = frame.to_crs(source.crs).geometry.explode(index_parts=False).to_numpy()
            return shapely.transform(shapes, lambda points: np.stack(inverse * points.T, axis=-1))

        whole = shapely.box(0, 0, source.width, source.height)
        area_px = whole if area is None else shapely.union_all(in_pixels(area))
        return Place(name, raster, in_pixels(geopandas.read_file(layer)), area_px, source.pixel_size)


def _tiles(name: str, place: Path, folder: Path) -> Iterator[Place]:
    """Tiles of a COCO file, written as GeoTIFF; the annotations are cut at their borders."""
    coco = json.loads((place / "annotation.json").read_text())
    for record in coco["images"]:
        with rasterio.open(place / "images" / record["file_name"]) as tile:
            pixels = tile.read()
        raster = folder / f"{record['file_name']}.tif"
        transform = rasterio.Affine(record["gsd"], 0, 500_000, 0, -record["gsd"], 9_000_000)
        profile = {"driver": "GTiff", "count": len(pixels), "dtype": "uint8", "crs": "EPSG:32749", "transform": transform}
        with rasterio.open(raster, "w", height=pixels.shape[1], width=pixels.shape[2], **profile) as target:
            target.write(pixels)
        rings = [each["segmentation"][0] for each in coco["annotations"] if each["image_id"] == record["id"]]
        annotated = np.array([shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in rings], dtype=object)
        area = shapely.box(1, 1, pixels.shape[2] - 1, pixels.shape[1] - 1)
        yield Place(name, raster, annotated, area, (record["gsd"], record["gsd"]))


def _cached_masks(place: Place, model: str, score: float, cache: Path | None) -> np.ndarray:
    """Return polygons (N,) along the borders of the masks that the model finds, in pixels of the working grid."""
    if cache is None:
        return _masks_of_model(place, model, score)
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{Path(model).stem}_{score:g}_{place.raster.name}.wkb"
    if not kept.exists():
        kept.write_text("\n".join(shapely.to_wkb(_masks_of_model(place, model, score), hex=True)))
    return shapely.from_wkb(np.array(kept.read_text().split(), dtype=object))


_loaded: dict[str, object] = {}


def _masks_of_model(place: Place, model: str, score: float) -> np.ndarray:
    loaded = _loaded.setdefault(model, None) or _loaded.__setitem__(model, engine.load_model(model)) or _loaded[model]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "raw.gpkg")
        engine.detect(place.raster, output, model=loaded, score=score, outline="raw", gsd=GSD)
        found = geopandas.read_file(output).geometry.to_numpy()
    with RasterSource.open(place.raster, gsd=GSD, band_count=3) as source:
        inverse = ~source.transform
    return shapely.transform(found, lambda points: np.round(np.stack(inverse * points.T, axis=-1)))


def wobbly_masks(footprints: np.ndarray, rng: np.random.Generator, *, wobble: float = 0.2) -> np.ndarray:
    """Draw footprints as a network would: smooth logits at a stride of four pixels, made larger linearly and cut at zero.

    Args:
        footprints: (N,) polygons in pixels.
        rng: of the wobble, and of where the coarse cells lie.
        wobble: standard deviation of the noise on the share of a cell that a footprint covers.

    Returns:
        (N,) the largest part of each along pixel borders; footprints of which nothing is left are missing.
    """
    result = []
    for footprint in footprints:
        left, top = np.floor(np.array(footprint.bounds[:2])) - 3 * STRIDE - rng.integers(0, STRIDE, 2)
        cols, rows = (np.ceil((np.array(footprint.bounds[2:]) - (left, top)) / STRIDE) + 3).astype(int)
        local = shapely.transform(footprint, lambda points, origin=(left, top): points - origin)
        burnt = rasterize([(local, 1)], out_shape=(rows * STRIDE, cols * STRIDE)).astype(float)
        cells = burnt.reshape(rows, STRIDE, cols, STRIDE).mean(axis=(1, 3))
        noise = ndimage.gaussian_filter(rng.standard_normal((rows, cols)), 1.0)
        logits = ndimage.gaussian_filter(cells, 0.5) - 0.5 + wobble * noise / 0.28  # 0.28: what such smoothing leaves of 1
        fine = ndimage.zoom(logits, STRIDE, order=1, grid_mode=True, mode="nearest") > 0
        ((largest, *_),) = polygons_of([Building(int(left), int(top), fine, 1.0, 0)]) if fine.any() else ((None,),)
        result.append(largest)
    return np.array(result, dtype=object)


def _matched(masks: np.ndarray, place: Place) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return masks (P,) with the annotated footprint (P,) of each, of those that lie whole in the area."""
    annotated = place.annotated[shapely.is_valid(place.annotated) & shapely.covers(place.area, place.annotated)]
    masks = masks[~shapely.is_missing(masks)]
    overlaps = find_overlaps(masks, annotated)
    matched = match(overlaps, shapely.area(masks), annotations=len(annotated), threshold=0.5)
    return masks[matched >= 0], annotated[matched[matched >= 0]], place.pixel_size


def _print_table(title: str, pairs: list[tuple[np.ndarray, np.ndarray, tuple[float, float]]]) -> None:
    annotated = np.concatenate([_in_metres(shapes, size) for _, shapes, size in pairs])
    print(f"\n{title}: {len(annotated)} pairs")
    head = ("corners", "right-angled", "direction", "IoU", "PoLiS", "area", "ms each")
    print(f"{'':<12}" + "".join(f"{name:>14}" for name in head))
    turns = turns_of(annotated)
    print(f"{'annotation':<12}{corners_of(turns):>14.2f}{right_angled(turns):>14.1%}")
    for kind in KINDS:
        outlines, seconds = [], 0.0
        for masks, _, size in pairs:
            started = time.process_time()
            outlines.append(outlines_of(masks, kind=kind, pixel_size=size))
            seconds += time.process_time() - started
        drawn = np.concatenate([_in_metres(part, size) for part, (*_, size) in zip(outlines, pairs, strict=True)])
        turns = turns_of(drawn)
        shared = shapely.area(shapely.intersection(drawn, annotated))
        union = shapely.area(drawn) + shapely.area(annotated) - shared
        print(
            f"{kind:<12}{corners_of(turns):>14.2f}{right_angled(turns):>14.1%}"
            f"{np.median(direction_errors(drawn, annotated)):>11.2f} deg{(shared / union).mean():>14.4f}"
            f"{polis_distances(drawn, annotated).mean():>12.3f} m"
            f"{shapely.area(drawn).sum() / shapely.area(annotated).sum() - 1:>14.1%}{1000 * seconds / len(drawn):>14.3f}"
        )


def _in_metres(shapes: np.ndarray, pixel_size: tuple[float, float]) -> np.ndarray:
    return shapely.transform(shapes, lambda points: points * pixel_size)


def turns_of(shapes: np.ndarray) -> list[np.ndarray]:
    """Return by how many degrees the outline of each shape turns at its corners, 0 to 180, holes included.

    Vertices that turn by less than ``TOLERANCE`` are taken away first, the flattest first: they are no corners.
    """
    return [np.concatenate([_turns(np.asarray(ring.coords)[:-1]) for ring in shapely.get_rings(shape)]) for shape in shapes]


def _turns(points: np.ndarray) -> np.ndarray:
    points = points @ np.array([1, 1j])
    while len(points) > 3:
        before, after = points - np.roll(points, 1), np.roll(points, -1) - points
        turns = np.abs(np.degrees(np.angle(after * before.conj())))
        flattest = np.argmin(np.where(np.abs(before) * np.abs(after) > 0, turns, 0))
        if turns[flattest] >= TOLERANCE:
            return turns
        points = np.delete(points, flattest)
    return np.full(len(points), 120.0)


def corners_of(turns: list[np.ndarray]) -> float:
    """Return the mean number of corners."""
    return float(np.mean([len(each) for each in turns]))


def right_angled(turns: list[np.ndarray]) -> float:
    """Return the share of outlines of which every corner is within ``TOLERANCE`` of a right angle."""
    return float(np.mean([bool((np.abs(each - 90) <= TOLERANCE).all()) for each in turns]))


if __name__ == "__main__":
    typer.run(main)
