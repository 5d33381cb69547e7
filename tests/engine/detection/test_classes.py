"""Objects of several classes from a raster file to a layer; one class alone is written as before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

import engine
from engine.commands import answer
from engine.detection import Instances
from engine.detection.classes import wanted_classes
from engine.errors import ArgumentError, OutputError, RequestError
from engine.job import Job
from engine.model.build import build_model
from engine.model.header import ModelHeader
from engine.model.model_file import save_model
from tests.engine.detection.label_raster import LabelPredictor, numbered_polygons, write_label_raster
from tests.engine.detection.label_towns import TOWNS, shapes_town
from tests.engine.model.small_model import SMALL_CONFIG
from training.data.synthetic.town import write_town

VEHICLES = ("Car", "truck", "bus")
ALL = {"outline": "raw", "min_area": 0, "overlap": 32}


def rows_of(path: Path) -> set[tuple[bytes, str]]:
    layer = geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)
    return {
        (shapely.to_wkb(shapely.normalize(polygon)), name) for polygon, name in zip(layer.geometry, layer["class"], strict=True)
    }


def truth_of(labels: np.ndarray, classes: tuple[str, ...], only: tuple[str, ...] | None = None) -> set[tuple[bytes, str]]:
    rows = {
        (shapely.to_wkb(shapely.normalize(polygon)), classes[number % len(classes)])
        for polygon, number in numbered_polygons(labels)
    }
    return {row for row in rows if only is None or row[1] in only}


@pytest.mark.slow
@settings(max_examples=10)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(sorted(TOWNS)),
    tile_size=st.integers(40, 96),
    overlap=st.integers(32, 39),
    batch_size=st.integers(1, 5),
    workers=st.integers(1, 3),
    only=st.sampled_from([None, ("Car",), ("truck", "bus")]),
)
def test_the_layer_has_every_object_with_its_class(
    tmp_path_factory, seed, kind, tile_size, overlap, batch_size, workers, only
) -> None:
    folder = tmp_path_factory.mktemp("town")
    labels = TOWNS[kind](np.random.default_rng(seed), 120, 130)
    raster = write_label_raster(folder / "town.tif", labels)
    summary = engine.detect(
        raster, folder / "out.gpkg", predictor=LabelPredictor(tile_size, classes=VEHICLES), outline="raw", min_area=0,
        overlap=overlap, batch_size=batch_size, workers=workers, classes=only,
    )  # fmt: skip
    truth = truth_of(labels, VEHICLES, only)
    assert rows_of(folder / "out.gpkg") == truth
    names = [name for _, name in truth]
    assert summary.by_class == {name: names.count(name) for name in only or VEHICLES}
    assert (summary.buildings, summary.layer) == (len(truth), "instances")


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
@pytest.mark.parametrize("empty", [False, True])
def test_every_format_has_the_class(tmp_path, suffix, empty) -> None:
    labels = np.zeros((80, 90), np.int32) if empty else shapes_town(np.random.default_rng(3), 80, 90)
    raster = write_label_raster(tmp_path / "town.tif", labels)
    output = tmp_path / f"out{suffix}"
    engine.detect(raster, output, predictor=LabelPredictor(classes=VEHICLES), **ALL)
    if empty and suffix == ".geojson":
        assert geopandas.read_file(output).empty  # the format has no fields without features
        return
    assert rows_of(output) == truth_of(labels, VEHICLES)
    layer = geopandas.read_parquet(output) if suffix == ".parquet" else geopandas.read_file(output)
    assert list(layer.columns) == ["score", "class", "area_m2", "geometry"]
    if suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow.parquet")
        assert str(pyarrow.read_schema(output).field("class").type) == "string"
    else:
        info = pyogrio.read_info(output)
        assert info["dtypes"][1] == "object"
    if suffix == ".gpkg":
        assert [name for name, _ in pyogrio.list_layers(output)] == ["instances"]


@pytest.fixture(scope="module")
def demo_town(tmp_path_factory) -> Path:
    """The demo's town, its footprints as labels on its own grid."""
    folder = tmp_path_factory.mktemp("demo")
    write_town(folder / "town.tif", folder / "truth.gpkg", seed=7, size=512, gsd=0.3)
    truth = geopandas.read_file(folder / "truth.gpkg")
    with rasterio.open(folder / "town.tif") as town:
        numbered = ((geometry, number) for number, geometry in enumerate(truth.to_crs(town.crs).geometry, 1))
        labels = rasterize(numbered, out_shape=town.shape, transform=town.transform, dtype=np.int32)
        return write_label_raster(folder / "labels.tif", labels, crs=town.crs, transform=town.transform)


@pytest.mark.parametrize("outline", ["raw", "regular"])
def test_a_layer_of_buildings_alone_has_the_same_rows_in_the_same_order_and_no_class(tmp_path, demo_town, outline) -> None:
    """Held against a model of several classes that finds the same: nothing but the field and the layer's name differs."""

    class OneOfSeveral(LabelPredictor):
        def predict(self, tiles: np.ndarray) -> list[Instances]:
            return [Instances(each.scores, np.full(len(each), 2), each.masks) for each in super().predict(tiles)]

    engine.detect(demo_town, tmp_path / "one.gpkg", predictor=LabelPredictor(128), outline=outline)
    engine.detect(
        demo_town, tmp_path / "several.gpkg", predictor=OneOfSeveral(128, classes=VEHICLES), outline=outline, min_area=4
    )
    one, several = geopandas.read_file(tmp_path / "one.gpkg"), geopandas.read_file(tmp_path / "several.gpkg")
    assert len(one) > 50
    assert list(one.columns) == ["score", "area_m2", "geometry"]
    assert [name for name, _ in pyogrio.list_layers(tmp_path / "one.gpkg")] == ["buildings"]
    assert set(several["class"]) == {"bus"}
    assert several.drop(columns="class").equals(one)


def test_one_class_that_is_not_buildings_is_a_layer_of_instances_without_a_class(tmp_path) -> None:
    raster = write_label_raster(tmp_path / "town.tif", shapes_town(np.random.default_rng(3), 80, 90))
    summary = engine.detect(raster, tmp_path / "out.gpkg", predictor=LabelPredictor(classes=("pool",)), **ALL)
    assert [name for name, _ in pyogrio.list_layers(tmp_path / "out.gpkg")] == ["instances"] == [summary.layer]
    assert list(geopandas.read_file(tmp_path / "out.gpkg").columns) == ["score", "area_m2", "geometry"]


def test_a_file_is_replaced_by_a_detection_of_its_kind_alone(tmp_path) -> None:
    """A layer of buildings is none of the layer `instances` that would take the place of its file, nor the other way round."""
    raster, output = (
        write_label_raster(tmp_path / "town.tif", shapes_town(np.random.default_rng(3), 80, 90)),
        tmp_path / "o.gpkg",
    )
    for _ in range(2):
        engine.detect(raster, output, predictor=LabelPredictor(classes=VEHICLES), **ALL)
    with pytest.raises(OutputError, match="other layers too: instances"):
        engine.detect(raster, output, predictor=LabelPredictor(), **ALL)
    summary = engine.detect(raster, output, predictor=LabelPredictor(), layer="roofs", **ALL)
    assert summary.layer == "roofs"
    assert sorted(name for name, _ in pyogrio.list_layers(output)) == ["instances", "roofs"]


def test_what_is_too_small_for_a_building_is_not_too_small_for_a_car(tmp_path) -> None:
    labels = np.zeros((80, 90), np.int32)
    labels[10:13, 10:15] = 1  # 15 pixels, 3.75 m2
    raster = write_label_raster(tmp_path / "town.tif", labels)
    counts = [
        engine.detect(
            raster, tmp_path / "out.gpkg", predictor=LabelPredictor(classes=classes), outline="raw", overwrite=True
        ).buildings
        for classes in (("Building",), ("car",), VEHICLES)
    ]
    assert counts == [0, 1, 1]


def test_names_are_found_whatever_their_case_and_unknown_ones_are_refused_with_the_nearest() -> None:
    assert wanted_classes(VEHICLES, None).tolist() == [True, True, True]
    assert wanted_classes(VEHICLES, ["CAR", "Bus"]).tolist() == [True, False, True]
    with pytest.raises(ArgumentError, match=r"no class 'trucks'.*Did you mean 'truck'\? It has Car, truck, bus\."):
        wanted_classes(VEHICLES, ["car", "trucks"])
    with pytest.raises(ArgumentError, match=r"no class 'xyz'\. It has Car"):
        wanted_classes(VEHICLES, ["xyz"])


@pytest.mark.parametrize("classes", ["", "car,,bus", [], 7])
def test_what_are_no_names_of_classes_is_refused_before_any_work(tmp_path, classes) -> None:
    with pytest.raises(ArgumentError, match="classes"):
        engine.detect(tmp_path / "none.tif", tmp_path / "out.gpkg", predictor=LabelPredictor(), classes=classes)


def test_a_name_that_a_model_file_does_not_know_is_refused_before_the_raster_is_opened(tmp_path) -> None:
    with pytest.raises(ArgumentError, match=r"no class 'bulding'.*Did you mean 'building'"):
        engine.detect(tmp_path / "none.tif", tmp_path / "out.gpkg", model="maskdino_lite", classes="bulding")


@pytest.fixture(scope="module")
def vehicles(tmp_path_factory) -> Path:
    """A small model of several classes, untrained: what it finds means nothing."""
    torch.manual_seed(0)
    model = build_model(SMALL_CONFIG.model_copy(update={"num_classes": 3, "detections_per_image": 20}))
    header = ModelHeader(name="vehicles", config=model.config, classes=VEHICLES, gsd=0.3, tile_size=128)
    return save_model(tmp_path_factory.mktemp("model") / "vehicles.safetensors", model, header)


@pytest.mark.slow
def test_a_model_brings_its_classes_from_the_command_line_to_the_layer(tmp_path, scene, vehicles) -> None:
    found = {}
    for classes in (None, "CAR, bus"):
        output = tmp_path / f"{classes}.gpkg"
        options = [] if classes is None else ["--classes", classes]
        done = subprocess.run(
            [sys.executable, "-m", "engine", "detect", scene, "-o", output, "--model", vehicles, "--score", "0.01",
             "--min-area", "0", "--outline", "raw", *options], capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        counts = geopandas.read_file(output)["class"].value_counts()
        found[classes] = set(counts.index)
        assert f"{counts.sum()} objects (" in done.stdout
        assert all(f"{count} {name}" in done.stdout for name, count in counts.items())
    assert set(VEHICLES) >= found[None]
    assert {"Car", "bus"} >= found["CAR, bus"] > set()


@pytest.mark.slow
def test_the_service_takes_names_as_a_list_or_a_text(tmp_path, scene, vehicles) -> None:
    arguments = {"raster": str(scene), "output": str(tmp_path / "o.gpkg"), "model": str(vehicles), "score": 0.01, "min_area": 0}
    answers = [
        answer("detect", {**arguments, "classes": classes}, Job(report=lambda progress: None)) for classes in ("bus", ["bus"])
    ]
    assert answers[0]["by_class"] == answers[1]["by_class"] and set(answers[0]["by_class"]) == {"bus"}
    assert answers[0]["layer"] == "instances"
    with pytest.raises(ArgumentError, match=r"no class 'lorry'"):
        answer("detect", {**arguments, "classes": ["lorry"]}, Job(report=lambda progress: None))
    with pytest.raises(RequestError, match="classes is 3"):
        answer("detect", {**arguments, "classes": 3}, Job(report=lambda progress: None))


def test_a_label_of_no_class_is_refused(tmp_path) -> None:
    raster = write_label_raster(tmp_path / "town.tif", shapes_town(np.random.default_rng(3), 80, 90))
    predictor = LabelPredictor(classes=VEHICLES)
    predictor.predict = lambda tiles: [Instances(np.ones(1), np.full(1, 3), np.ones((1, 64, 64), bool)) for _ in tiles]
    with pytest.raises(ArgumentError, match="gave the label 3; it has 3 classes"):
        engine.detect(raster, tmp_path / "out.gpkg", predictor=predictor, **ALL)


def test_a_run_is_resumed_with_the_same_classes_alone(tmp_path) -> None:
    labels = shapes_town(np.random.default_rng(11), 300, 300)
    raster, output = write_label_raster(tmp_path / "town.tif", labels), tmp_path / "out.gpkg"
    predictor = LabelPredictor(classes=VEHICLES, seconds=0.01)
    begun = engine.detect(raster, output, predictor=predictor, classes="car", cancel=lambda: len(predictor.batches) > 10, **ALL)
    assert begun.cancelled
    predictor = LabelPredictor(classes=VEHICLES)
    with pytest.raises(ArgumentError, match="classes was car, is bus, car"):
        engine.detect(raster, output, predictor=predictor, classes=["Bus", "car"], resume=True, **ALL)
    done = engine.detect(raster, output, predictor=predictor, classes=["CAR"], resume=True, **ALL)
    assert done.tiles_seen < done.tiles
    assert rows_of(output) == truth_of(labels, VEHICLES, ("Car",))
