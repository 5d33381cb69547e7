"""Class rasters against polygons and against each other, in windows, in an area, on other grids."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

from engine.errors import ArgumentError, MaskDinoError, RasterError, RasterFitError, VectorError
from tests.engine.raster.raster_files import UTM, UTM_TRANSFORM, write_raster
from training.evaluation.classes import rasters
from training.evaluation.classes.evaluation import evaluate_classes

WIDTH, HEIGHT = 60, 45


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Several windows to a raster, those at the end smaller."""
    monkeypatch.setattr(rasters, "WINDOW", 16)


def labels(seed: int = 0, *, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, (HEIGHT, WIDTH)).astype(np.uint8)


def raster(path: Path, values: np.ndarray, **more) -> Path:
    return write_raster(path, values[None], **more)


def named(path: Path, names: list[str]) -> Path:
    """Name the classes of a raster where GDAL looks for names."""
    entries = "".join(f"<Category>{name}</Category>" for name in names)
    band = f'<PAMRasterBand band="1"><CategoryNames>{entries}</CategoryNames></PAMRasterBand>'
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    return path


def pixels_as_polygons(values: np.ndarray, *, crs: str = UTM) -> geopandas.GeoDataFrame:
    """A square for each pixel, with its label as the class."""
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    squares = shapely.box(columns.ravel(), rows.ravel(), columns.ravel() + 1, rows.ravel() + 1)
    squares = shapely.transform(squares, on_ground)
    return geopandas.GeoDataFrame({"class": values.ravel().astype(str)}, geometry=squares, crs=UTM).to_crs(crs)


def in_pixels(*bounds: float) -> shapely.Geometry:
    """A rectangle by its left, top, right and bottom in pixels, on the ground."""
    return shapely.transform(shapely.box(*bounds), on_ground)


def on_ground(points: np.ndarray) -> np.ndarray:
    """Bring columns and rows (N, 2) to the CRS."""
    return points * (UTM_TRANSFORM.a, UTM_TRANSFORM.e) + (UTM_TRANSFORM.c, UTM_TRANSFORM.f)


def layer(path: Path, shapes, crs: str = UTM, **fields) -> Path:
    geopandas.GeoDataFrame(fields, geometry=list(shapes), crs=UTM).to_crs(crs).to_file(path)
    return path


def counted(truth: np.ndarray, found: np.ndarray, classes: int = 3) -> list[list[int]]:
    """The confusion matrix, pixel by pixel; -1 is no class."""
    matrix = np.zeros((classes, classes + 1), dtype=int)
    for true, given in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
        if true >= 0:
            matrix[true, given] += 1
    return matrix.tolist()


def test_two_rasters_of_one_grid(tmp_path):
    truth, found = labels(1), labels(2)
    truth[3, 4:9], found[7:9, 5] = 255, 9
    evaluation = evaluate_classes(raster(tmp_path / "found.tif", found, nodata=9), raster(tmp_path / "truth.tif", truth))
    expected = counted(np.where(truth == 255, -1, truth.astype(int)), np.where(found == 9, -1, found.astype(int)))
    assert evaluation.matrix.counts.tolist() == expected
    assert evaluation.kind == "rasters"


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
def test_polygons_in_any_crs_are_the_pixels_that_they_cover(tmp_path, crs):
    truth, found = labels(1), labels(2)
    pixels_as_polygons(truth, crs=crs).to_file(tmp_path / "truth.gpkg")
    evaluation = evaluate_classes(raster(tmp_path / "found.tif", found), tmp_path / "truth.gpkg")
    assert evaluation.matrix.counts.tolist() == counted(truth, found)
    assert (evaluation.kind, evaluation.contested) == ("polygons", 0)


def test_inside_an_area_pixels_count_whose_centres_lie_there(tmp_path):
    truth, found = labels(1), labels(2)
    aoi = layer(tmp_path / "aoi.gpkg", [in_pixels(10.4, 5.6, 40.6, 30.4)], crs="EPSG:4326")
    inside = np.full(truth.shape, -1)
    inside[6:30, 10:41] = truth[6:30, 10:41]
    paths = raster(tmp_path / "found.tif", found), raster(tmp_path / "truth.tif", truth)
    assert evaluate_classes(*paths, aoi=aoi).matrix.counts.tolist() == counted(inside, found)
    pixels_as_polygons(truth).to_file(tmp_path / "truth.gpkg")
    assert evaluate_classes(paths[0], tmp_path / "truth.gpkg", aoi=aoi).matrix.counts.tolist() == counted(inside, found)


def test_the_size_of_the_windows_is_not_seen(tmp_path, monkeypatch):
    found = labels(2)
    shapes = [in_pixels(3.3, 2.2, 50.1, 20.7), in_pixels(20.2, 22.1, 58, 44)]
    polygons = layer(tmp_path / "truth.gpkg", shapes, kind=["1", "2"])
    paths = raster(tmp_path / "found.tif", found), polygons
    matrices = []
    for side in (7, 16, 1024):
        monkeypatch.setattr(rasters, "WINDOW", side)
        matrices.append(evaluate_classes(*paths, class_field="kind", background="0").matrix.counts.tolist())
    assert matrices[0] == matrices[1] == matrices[2]
    assert np.sum(matrices[0]) == WIDTH * HEIGHT


def test_a_truth_on_another_grid_is_read_at_the_nearest_pixel(tmp_path):
    coarse = labels(1)[: HEIGHT // 3, : WIDTH // 3]
    fine = coarse.repeat(3, axis=0).repeat(3, axis=1)
    found = labels(2)
    transform = UTM_TRANSFORM @ Affine.scale(3)
    evaluation = evaluate_classes(
        raster(tmp_path / "found.tif", found), raster(tmp_path / "truth.tif", coarse, transform=transform)
    )
    assert evaluation.matrix.counts.tolist() == counted(fine, found)
    moved = UTM_TRANSFORM @ Affine.translation(WIDTH - 10, 0)  # they share ten columns; label 0 is no void beyond
    evaluation = evaluate_classes(tmp_path / "found.tif", raster(tmp_path / "truth.tif", labels(1), transform=moved))
    assert evaluation.matrix.counts.tolist() == counted(labels(1)[:, :10], found[:, -10:])


def test_a_truth_in_another_crs_is_brought_to_the_pixels_of_the_prediction(tmp_path):
    truth, found = labels(1).repeat(4, axis=0).repeat(4, axis=1), labels(2)
    transform, width, height = calculate_default_transform(
        UTM, "EPSG:4326", truth.shape[1], truth.shape[0], left=360_000, bottom=3_050_000 - 0.3 * HEIGHT,
        right=360_000 + 0.3 * WIDTH, top=3_050_000,
    )  # fmt: skip
    warped = np.full((height, width), 77, dtype=np.uint8)
    reproject(
        truth, warped, src_crs=UTM, src_transform=UTM_TRANSFORM @ Affine.scale(0.25), dst_crs="EPSG:4326",
        dst_transform=transform, resampling=Resampling.nearest, init_dest_nodata=False,
    )  # fmt: skip
    path = raster(tmp_path / "truth.tif", warped, crs="EPSG:4326", transform=transform, nodata=77)
    matrix = evaluate_classes(raster(tmp_path / "found.tif", labels(1)), path).matrix
    assert matrix.counts.sum() == pytest.approx(WIDTH * HEIGHT, rel=0.1)
    assert matrix.figures().pixel_accuracy > 0.9  # pixels of a quarter of the size: nearest ones are hardly ever others
    assert evaluate_classes(raster(tmp_path / "found.tif", found), path).matrix.figures().pixel_accuracy < 0.5


def test_ground_that_polygons_of_two_classes_cover_is_left_out_and_counted(tmp_path):
    found = labels(2)
    shapes = [in_pixels(0, 0, 30, 10), in_pixels(20, 0, 50, 10), in_pixels(5, 0, 25, 10)]
    truth = layer(tmp_path / "truth.gpkg", shapes, **{"class": [1, 2, 1]})
    evaluation = evaluate_classes(raster(tmp_path / "found.tif", found), truth)
    expected = np.full(found.shape, -1)
    expected[:10, :20], expected[:10, 30:50] = 1, 2
    assert evaluation.matrix.counts.sum(axis=1).tolist() == [0, 200, 200]
    assert evaluation.matrix.counts.tolist() == counted(expected, found)
    assert evaluation.contested == 100


def test_names_in_the_file_are_the_classes_whatever_their_labels(tmp_path):
    found = named(raster(tmp_path / "found.tif", labels(2)), ["nothing", "Water", "forest"])
    truth = layer(
        tmp_path / "truth.gpkg", [in_pixels(0, 0, 30, 45), in_pixels(30, 0, 60, 45)], **{"class": ["water", "forest"]}
    )
    there = np.where(np.arange(WIDTH) < 30, 1, 2) * np.ones((HEIGHT, 1), dtype=int)
    evaluation = evaluate_classes(found, truth)
    assert evaluation.matrix.names == ("nothing", "Water", "forest")
    assert evaluation.matrix.counts.tolist() == counted(there, labels(2))
    other = named(raster(tmp_path / "truth.tif", (2 - there).astype(np.uint8)), ["forest", "water"])  # other labels
    assert evaluate_classes(found, other).matrix.counts.tolist() == counted(there, labels(2))
    with pytest.raises(ArgumentError, match=r"truth\.gpkg has the class 'forest', which is none of the 3 classes \(a, b, c\)"):
        evaluate_classes(found, truth, classes="a,b,c")
    assert evaluate_classes(found, truth, ignore=["water"]).matrix.names == ("nothing", "forest")


def test_features_without_a_class_are_not_compared(tmp_path):
    truth = layer(tmp_path / "truth.gpkg", [in_pixels(0, 0, 10, 10), in_pixels(10, 0, 20, 10)], **{"class": ["1", None]})
    evaluation = evaluate_classes(raster(tmp_path / "found.tif", labels()), truth, background="0")
    assert evaluation.matrix.counts.sum() == WIDTH * HEIGHT - 100


def test_whole_numbers_may_be_written_as_floating_point(tmp_path):
    truth, found = labels(1), labels(2).astype(np.float32)
    found[0, :5] = np.nan
    expected = counted(truth, np.where(np.isnan(found), -1, found).astype(int))
    paths = raster(tmp_path / "found.tif", found), raster(tmp_path / "truth.tif", truth)
    assert evaluate_classes(*paths).matrix.counts.tolist() == expected
    found[30, 30] = 0.5
    with pytest.raises(RasterError, match=r"found\.tif has the value 0\.5, which is no label"):
        evaluate_classes(raster(tmp_path / "found.tif", found), paths[1])


def test_pictures_without_georeference_are_compared_pixel_by_pixel(tmp_path):
    truth, found = labels(1), labels(2)
    plain = {"crs": None, "transform": None}
    paths = raster(tmp_path / "found.png", found, driver="PNG", **plain), raster(tmp_path / "truth.tif", truth, **plain)
    assert evaluate_classes(*paths).matrix.counts.tolist() == counted(truth, found)
    with pytest.raises(RasterFitError, match=r"found\.png is 60x45 pixels, truth\.tif 60x44, and not both have a CRS"):
        evaluate_classes(paths[0], raster(tmp_path / "truth.tif", truth[:-1], **plain))


def wrong_inputs(folder: Path) -> dict[str, tuple[dict, type[MaskDinoError], str]]:
    found = raster(folder / "found.tif", labels())
    far = layer(folder / "far.gpkg", [in_pixels(9000, 9000, 9010, 9010)], **{"class": ["1"]})
    near = layer(folder / "near.gpkg", [in_pixels(0, 0, 10, 10)], kind=["1"])
    bands = write_raster(folder / "bands.tif", np.zeros((3, HEIGHT, WIDTH), np.uint8))
    broken = folder / "broken.tif"
    broken.write_bytes(found.read_bytes()[:-600])
    return {
        "no file": ({"truth": folder / "none.tif"}, RasterError, r"none\.tif does not exist"),
        "neither": ({"truth": Path(__file__)}, RasterError, "cannot be opened as a raster"),
        "beside": ({"truth": far}, VectorError, r"far\.gpkg lies beside found\.tif"),
        "no field": ({"truth": near}, ArgumentError, r"near\.gpkg has no field 'class'"),
        "other field": ({"truth": near, "class_field": "klass"}, ArgumentError, "class field 'klass' is not in"),
        "background": ({"truth": near, "class_field": "kind", "background": "x"}, ArgumentError, "--background has the class"),
        "bands": ({"truth": bands}, RasterFitError, r"bands\.tif has 3 bands"),
        "damaged": ({"truth": broken}, RasterError, r"broken\.tif cannot be read"),
        "unknown label": ({"truth": found, "classes": "a,b"}, ArgumentError, "has the label 2, which is none of the 2 classes"),
        "polygon option": ({"truth": found, "background": "0"}, ArgumentError, "--background belongs to polygons"),
        "picture option": ({"truth": found, "reduce_zero_label": True}, ArgumentError, "--reduce-zero-label belongs"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "case",
    ["no file", "neither", "beside", "no field", "other field", "background", "bands", "damaged", "unknown label",
     "polygon option", "picture option"],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, case):
    options, error, message = wrong_inputs(tmp_path)[case]
    with pytest.raises(error, match=message):
        evaluate_classes(tmp_path / "found.tif", **options)
