"""``maskdino evaluate`` from outside, and what it writes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading

import geopandas
import numpy as np
import pytest
import shapely

from engine.commands import answer
from engine.errors import ArgumentError, CancelledError, MaskDinoError, OutputError
from engine.job import Job
from tests.training.evaluation.layers.layers import house, redrawn, street, write


@pytest.fixture
def layers(tmp_path):
    rng = np.random.default_rng(3)
    there = street(rng, 20)
    found = [*redrawn(there[:15], rng, by=0.5), house(0, 300), house(40, 300)]
    folder = tmp_path / "in"
    folder.mkdir()
    return write(folder / "found.gpkg", found, score=np.linspace(1, 0.2, 17), to="EPSG:3857"), write(
        folder / "there.gpkg", there
    )


def maskdino(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "engine", *map(str, arguments)], capture_output=True, text=True)


def ask(**arguments) -> dict:
    return answer("evaluate", {name: str(value) for name, value in arguments.items()}, Job(report=lambda progress: None))


def test_it_prints_figures_and_writes_what_is_asked_for(layers, tmp_path):
    outputs = [tmp_path / name for name in ("e.json", "e.html", "m.gpkg")]
    done = maskdino("evaluate", *layers, "--json", outputs[0], "--report", outputs[1], "-o", outputs[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"precision +0\.882\nrecall +0\.750\nF1 +0\.811\n", done.stdout)
    document = json.loads(outputs[0].read_text())
    assert document["figures"]["true_positives"] == 15
    assert document["figures"]["precision"] == pytest.approx(15 / 17)
    assert all(path.exists() for path in outputs)
    assert sorted(tmp_path.iterdir()) == sorted([*outputs, tmp_path / "in"])


def test_it_prints_a_table_by_class(tmp_path):
    shapes = [house(40 * number, 0) for number in range(3)]
    found = write(tmp_path / "found.gpkg", shapes[:2], score=[0.9, 0.8], kind=["car", "lorry"])
    there = write(tmp_path / "there.gpkg", shapes, **{"class": ["car", "truck", "truck"]})
    done = maskdino("evaluate", found, there, "--class-field", "kind", "--annotated-class-field", "class")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\ncar +1 +1 +1\.000 +1\.000 ", done.stdout)
    assert re.search(r"\nlorry +1 +0 +0\.000 +- ", done.stdout)
    assert re.search(r"\nmean over classes +0\.500 ", done.stdout)


def test_the_matches_hold_every_detection_and_every_miss(layers, tmp_path):
    ask(detections=layers[0], annotations=layers[1], output=tmp_path / "m.gpkg")
    matches = geopandas.read_file(tmp_path / "m.gpkg")
    found, there = (geopandas.read_file(path) for path in layers)
    assert matches.crs == found.crs
    assert matches.result.value_counts().to_dict() == {"true positive": 15, "false positive": 2, "miss": 5}
    detected = matches[matches.result != "miss"]
    assert detected.score.is_monotonic_decreasing
    assert (detected.geometry.to_numpy() == found.geometry.to_numpy()).all()
    hits, misses = matches[matches.result == "true positive"], matches[matches.result == "miss"]
    assert sorted([*hits.annotation_id, *misses.annotation_id]) == list(range(1, 21))
    assert hits.iou.min() >= 0.5 and misses.detection_id.isna().all() and misses.area_m2.is_monotonic_decreasing
    for name in ("area_error", "polis_m", "boundary_iou", "vertex_ratio", "direction_error"):
        assert hits[name].notna().all() and matches[matches.result != "true positive"][name].isna().all()
    own = there.geometry[misses.annotation_id.astype(int) - 1].to_crs(matches.crs).to_numpy()
    assert shapely.equals_exact(misses.geometry.to_numpy(), own, 1e-6).all()


@pytest.mark.parametrize("suffix", ["geojson", "fgb", "parquet"])
def test_matches_in_other_formats(layers, tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    ask(detections=layers[0], annotations=layers[1], output=path)
    read = geopandas.read_parquet if suffix == "parquet" else geopandas.read_file
    assert len(read(path)) == 22


@pytest.mark.parametrize(
    ("empty", "rows", "maps", "drawings"),
    [((0,), 20, 1, 1 + 12), ((1,), 17, 1, 1), ((0, 1), 0, 0, 0)],  # a chart of sizes, and the largest misses
    ids=["no detections", "no annotations", "nothing"],
)
def test_everything_is_written_of_empty_layers_too(layers, tmp_path, empty, rows, maps, drawings):
    pair = list(layers)
    for index in empty:
        pair[index] = write(tmp_path / f"empty_{index}.gpkg", [])
    outputs = {"json": tmp_path / "e.json", "report": tmp_path / "e.html", "output": tmp_path / "m.gpkg"}
    document = ask(detections=pair[0], annotations=pair[1], **outputs)
    assert document["figures"]["polis"] is None
    assert json.loads(outputs["json"].read_text()) == document
    assert len(geopandas.read_file(outputs["output"])) == rows
    page = outputs["report"].read_text()
    assert (page.count("<img"), page.count("nothing to draw"), page.count("<svg")) == (maps, 1 - maps, drawings)


def test_the_report_needs_nothing_from_elsewhere(layers, tmp_path):
    ask(detections=layers[0], annotations=layers[1], report=tmp_path / "e.html")
    page = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http" not in page and "@import" not in page
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', page)) == {"data:"}
    assert page.count("<svg") == 5 + 5  # charts and misses
    assert "found.gpkg" in page and "0.882" in page


def test_names_from_outside_are_text_in_the_report(layers, tmp_path):
    evil = tmp_path / "a<script>alert(1)<"
    evil.mkdir()
    path = write(evil / "b&<i>.gpkg", [house(0, 0)])
    ask(detections=path, annotations=path, report=tmp_path / "e.html")
    page = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert "<script" not in page and "b&amp;&lt;i&gt;.gpkg" in page


def test_one_line_and_status_1_for_what_cannot_be_done(layers):
    done = maskdino("evaluate", *layers, "--aoi", "no.gpkg")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "area no.gpkg does not exist" in done.stderr


def test_outputs_that_cannot_be_written_are_refused_before_any_work(layers, tmp_path):
    for name, value in [("output", tmp_path / "m.doc"), ("output", tmp_path / "no" / "m.gpkg"), ("report", tmp_path)]:
        with pytest.raises((ArgumentError, OutputError)):
            ask(detections="never read", annotations=layers[1], **{name: value})


def test_an_input_is_never_written_over(layers):
    area = layers[0].with_name("area.gpkg")
    area.write_bytes(layers[1].read_bytes())
    os.link(area, area.with_name("hard.gpkg"))
    area.with_name("link.gpkg").symlink_to(area)
    before = {path: path.read_bytes() for path in area.parent.iterdir()}
    for name in ("output", "json", "report"):
        for path in before:
            with pytest.raises(ArgumentError, match="would be lost"):
                ask(detections=f"{layers[0]}|layername=found", annotations=layers[1], aoi=str(area), **{name: path})
    assert {path: path.read_bytes() for path in area.parent.iterdir()} == before


def test_two_outputs_are_not_one_file(layers, tmp_path):
    with pytest.raises(ArgumentError, match="json and report are both"):
        ask(detections=layers[0], annotations=layers[1], json=tmp_path / "e", report=tmp_path / "." / "e")
    assert not (tmp_path / "e").exists()


def test_without_the_packages_of_training_a_report_is_refused_in_one_sentence(layers, tmp_path, monkeypatch):
    monkeypatch.setattr("training.errors.find_spec", lambda name: None)
    assert ask(detections=layers[0], annotations=layers[1])["figures"]["true_positives"] == 15
    with pytest.raises(MaskDinoError, match=r"A report needs the package PIL.*qgis-maskdino\[train\]"):
        ask(detections=layers[0], annotations=layers[1], report=tmp_path / "e.html")


def test_the_service_refuses_what_it_does_not_know(layers):
    with pytest.raises(ArgumentError, match="no argument 'wobble'"):
        ask(detections=layers[0], annotations=layers[1], wobble=1)
    with pytest.raises(ArgumentError, match="needs the argument 'annotations'"):
        ask(detections=layers[0])


def test_a_cancel_ends_it_and_writes_nothing(layers, tmp_path):
    cancelled = threading.Event()
    cancelled.set()
    job = Job(report=lambda progress: None, cancelled=cancelled)
    with pytest.raises(CancelledError):
        answer(
            "evaluate", {"detections": str(layers[0]), "annotations": str(layers[1]), "output": str(tmp_path / "m.gpkg")}, job
        )
    assert not (tmp_path / "m.gpkg").exists()


@pytest.mark.slow
def test_ctrl_c_is_status_130(tmp_path):
    rng = np.random.default_rng(0)
    there = street(rng, 40_000)
    layers = [write(tmp_path / name, there) for name in ("found.gpkg", "there.gpkg")]
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys, engine.cli as c, training.evaluation.layers.overlaps as o; f = o.find_overlaps\n"
         "import training.evaluation.layers.evaluation as e\n"
         "e.find_overlaps = lambda *a, **k: (print('go', flush=True), f(*a, **k))[1]\nc.main(sys.argv[1:])",
         "evaluate", *map(str, layers), "-o", str(tmp_path / "m.gpkg")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("go"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "m.gpkg").exists()
