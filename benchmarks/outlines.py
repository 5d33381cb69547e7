"""How much outlines look like those that a person drew: `regular`, `simplified` and `raw` beside the annotation.

    python benchmarks/outlines.py [--model NAME_OR_FILE] [--data FOLDER] [--cache FOLDER]

Each place is measured twice: on the masks that the model finds there, matched one to one with the annotation at an IoU of a
half, and on masks of the annotated footprints with the wobble of a network's, all of which are found. All kinds of outlines are
measured on the same pairs. Places other than the generated town need the real imagery, which is not part of the project, and
are left out where it is missing. With ``--cache``, what the model finds is kept for the next run.
"""

from __future__ import annotations

import functools
import json
import statistics
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
from rasterio.features import rasterize
from scipy import ndimage

import engine
from engine.detection.merging.tile_instances import Building
from engine.detection.polygons.outlines import outlines_of
from engine.detection.polygons.tracing import polygons_of
from engine.raster.source import RasterSource
from training.data.synthetic.town import write_town
from training.evaluation.layers.overlaps import find_overlaps
from training.evaluation.layers.shape_agreement import direction_errors, polis_distances
from training.evaluation.matching import match

GSD = 0.3  # metres per pixel
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
UNSEEN_SHARE = 0.34  # of the height of Banepa's labelled area, from the south: no embedded model was trained on it
CORNER_FROM = 8.0  # degrees: what turns by less is no corner, and a right angle is this near to 90
DETAIL = 0.6  # metres: two pixels, about the least that a mask shows
STRIDE = 4  # pixels between the logits of a network's masks
ROUNDS = 5

load_model = functools.cache(engine.load_model)


@dataclass(frozen=True, eq=False)
class Scene:
    """An image with the footprints annotated on it.

    Attributes:
        place: what it shows a part of.
        raster: the image.
        annotated: (N,) polygons in pixels of the working grid.
        area: polygon in these pixels within which the annotation is complete and whole.
        pixel_size: metres along x and y.
    """

    place: str
    raster: Path
    annotated: np.ndarray
    area: shapely.Geometry
    pixel_size: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Masks (N,), as polygons along pixel borders, with the annotated footprint of each (N,); both in pixels."""

    masks: np.ndarray
    annotated: np.ndarray
    pixel_size: tuple[float, float]


def main(model: str = "maskdino_lite", data: Path = DATA, cache: Path | None = None, score: float = 0.5) -> None:
    """Print a table for each place and source of masks."""
    from measuring import machine

    print(f"{model}; {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        places: dict[str, list[Scene]] = {}
        for scene in _scenes(data, Path(folder)):
            places.setdefault(scene.place, []).append(scene)
        for place, scenes in places.items():
            masks = [_cached_masks(scene, model, score, cache) for scene in scenes]
            _print_table(f"{place}, masks of the model", _matched(scenes, masks))
            rng = np.random.default_rng(0)
            masks = [wobbly_masks(scene.annotated, rng) for scene in scenes]
            _print_table(f"{place}, annotated footprints with a wobble", _matched(scenes, masks))


def wobbly_masks(footprints: np.ndarray, rng: np.random.Generator, *, wobble: float = 0.2) -> np.ndarray:
    """Draw footprints as a network would: smooth logits at a stride of four pixels, enlarged linearly and cut at zero.

    Args:
        footprints: (N,) polygons in pixels.
        rng: of the wobble, and of where the coarse cells lie.
        wobble: standard deviation of the noise in the share of a cell that a footprint covers. The default moves borders by
            about a pixel.

    Returns:
        (N,) polygons along pixel borders, the largest part of each; None where nothing is left of a footprint.
    """
    result = np.full(len(footprints), None, dtype=object)
    for index, footprint in enumerate(footprints):
        origin = np.floor(footprint.bounds[:2]) - 3 * STRIDE - rng.integers(0, STRIDE, 2)
        cols, rows = np.ceil((np.array(footprint.bounds[2:]) - origin) / STRIDE).astype(int) + 3
        local = shapely.transform(footprint, lambda points, origin=origin: points - origin)
        burnt = rasterize([(local, 1)], out_shape=(rows * STRIDE, cols * STRIDE)).astype(float)
        cells = burnt.reshape(rows, STRIDE, cols, STRIDE).mean(axis=(1, 3))
        noise = ndimage.gaussian_filter(rng.standard_normal((rows, cols)), 1.0) / 0.28  # what that leaves of a deviation of 1
        logits = ndimage.gaussian_filter(cells, 0.5) - 0.5 + wobble * noise
        mask = ndimage.zoom(logits, STRIDE, order=1, grid_mode=True, mode="nearest") > 0
        if mask.any():
            left, top = origin.astype(int)
            result[index] = polygons_of([Building(int(left), int(top), mask, 1.0, 0)])[0][0]
    return result


def turns_of(shapes: np.ndarray) -> list[np.ndarray]:
    """Return by how many degrees the outline of each shape turns at its corners, 0 to 180, those of holes included.

    Vertices that turn by less than ``CORNER_FROM`` are taken away before, the flattest first: they are no corners.
    """
    return [np.concatenate([_turns(np.asarray(ring.coords)[:-1]) for ring in shapely.get_rings(shape)]) for shape in shapes]


def mean_corners(turns: list[np.ndarray]) -> float:
    """Return how many corners a shape has on average."""
    return float(np.mean([len(each) for each in turns]))


def share_right_angled(turns: list[np.ndarray]) -> float:
    """Return the share of shapes whose corners are all within ``CORNER_FROM`` of a right angle."""
    return float(np.mean([bool((np.abs(each - 90) <= CORNER_FROM).all()) for each in turns]))


def _turns(points: np.ndarray) -> np.ndarray:
    points = points @ np.array([1, 1j])
    while len(points) > 3:
        before, after = points - np.roll(points, 1), np.roll(points, -1) - points
        turns = np.abs(np.degrees(np.angle(after * before.conj())))
        flattest = np.argmin(np.where(np.abs(before) * np.abs(after) > 0, turns, 0))
        if turns[flattest] >= CORNER_FROM:
            return turns
        points = np.delete(points, flattest)
    return np.full(len(points), 120.0)


def _scenes(data: Path, folder: Path) -> Iterator[Scene]:
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


def _georeferenced(place: str, raster: Path, layer: Path, area: geopandas.GeoDataFrame | None = None) -> Scene:
    with _opened(raster) as source:
        inverse = ~source.transform

        def in_pixels(frame: geopandas.GeoDataFrame) -> np.ndarray:
            shapes = frame.to_crs(source.crs).geometry.explode(index_parts=False).to_numpy()
            return shapely.transform(shapes, lambda points: np.stack(inverse * points.T, axis=-1))

        whole = shapely.box(0, 0, source.width, source.height)
        within = whole if area is None else shapely.union_all(in_pixels(area))
        return Scene(place, raster, in_pixels(geopandas.read_file(layer)), within, source.pixel_size)


def _tiles(place: str, folder: Path, georeferenced: Path) -> Iterator[Scene]:
    """Read tiles of a COCO file, whose annotations are cut at their borders, and write them as GeoTIFF."""
    coco = json.loads((folder / "annotation.json").read_text())
    for record in coco["images"]:
        gsd = record["gsd"]
        with rasterio.open(folder / "images" / record["file_name"]) as tile:
            pixels = tile.read()
        bands, height, width = pixels.shape
        raster = georeferenced / f"{record['file_name']}.tif"
        profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": "uint8", "crs": "EPSG:32749"}
        with rasterio.open(raster, "w", transform=rasterio.Affine(gsd, 0, 500_000, 0, -gsd, 9_000_000), **profile) as target:
            target.write(pixels)
        rings = [each["segmentation"][0] for each in coco["annotations"] if each["image_id"] == record["id"]]
        annotated = np.array([shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in rings], dtype=object)
        yield Scene(place, raster, annotated, shapely.box(1, 1, width - 1, height - 1), (gsd, gsd))


def _opened(raster: Path) -> RasterSource:
    return RasterSource.open(raster, gsd=GSD, band_count=3)


def _cached_masks(scene: Scene, model: str, score: float, cache: Path | None) -> np.ndarray:
    """Return polygons (N,) along the borders of the masks that the model finds, in pixels of the working grid."""
    if cache is None:
        return _detected(scene, model, score)
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"{Path(model).stem}_{score:g}_{scene.raster.name}.txt"
    if not file.exists():
        file.write_text("\n".join(shapely.to_wkb(_detected(scene, model, score), hex=True)))
    return shapely.from_wkb(np.array(file.read_text().split(), dtype=object))


def _detected(scene: Scene, model: str, score: float) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "raw.gpkg")
        engine.detect(scene.raster, output, model=load_model(model), score=score, outline="raw", gsd=GSD)
        found = geopandas.read_file(output).geometry.to_numpy()
    with _opened(scene.raster) as source:
        inverse = ~source.transform
    return shapely.transform(found, lambda points: np.round(np.stack(inverse * points.T, axis=-1)))


def _matched(scenes: list[Scene], masks: list[np.ndarray]) -> Pairs:
    """Match masks with the annotated footprints that lie whole in a scene's area."""
    found, annotated = [], []
    for scene, drawn in zip(scenes, masks, strict=True):
        drawn = drawn[~shapely.is_missing(drawn)]
        truth = scene.annotated[shapely.is_valid(scene.annotated) & shapely.covers(scene.area, scene.annotated)]
        matched = match(find_overlaps(drawn, truth), shapely.area(drawn), annotations=len(truth), threshold=0.5)
        found.append(drawn[matched >= 0])
        annotated.append(truth[matched[matched >= 0]])
    return Pairs(np.concatenate(found), np.concatenate(annotated), scenes[0].pixel_size)


def _print_table(title: str, pairs: Pairs) -> None:
    def in_metres(shapes: np.ndarray) -> np.ndarray:
        return shapely.transform(shapes, lambda points: points * pairs.pixel_size)

    annotated = in_metres(pairs.annotated)
    print(f"\n{title}: {len(annotated)} pairs")
    columns = ("corners", "right angles", "direction", "IoU", "PoLiS", "area", "each")
    print(f"{'':<24}" + "".join(f"{name:>14}" for name in columns))
    for name, shapes in (("annotation", annotated), (f"  without {DETAIL} m details", shapely.simplify(annotated, DETAIL))):
        turns = turns_of(shapes)
        print(f"{name:<24}{mean_corners(turns):>14.2f}{share_right_angled(turns):>14.1%}")
    for kind in ("regular", "simplified", "raw"):
        seconds = []
        for _ in range(ROUNDS):
            started = time.process_time()
            outlines = outlines_of(pairs.masks, kind=kind, pixel_size=pairs.pixel_size)
            seconds.append(time.process_time() - started)
        drawn = in_metres(outlines)
        turns = turns_of(drawn)
        shared = shapely.area(shapely.intersection(drawn, annotated))
        iou = shared / (shapely.area(drawn) + shapely.area(annotated) - shared)
        more_area = shapely.area(drawn).sum() / shapely.area(annotated).sum() - 1
        print(
            f"{kind:<24}{mean_corners(turns):>14.2f}{share_right_angled(turns):>14.1%}"
            f"{np.median(direction_errors(drawn, annotated)):>10.2f} deg{iou.mean():>14.4f}"
            f"{polis_distances(drawn, annotated).mean():>12.3f} m{more_area:>14.1%}"
            f"{1000 * statistics.median(seconds) / len(drawn):>11.3f} ms"
        )


if __name__ == "__main__":
    typer.run(main)
