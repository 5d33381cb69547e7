"""The path of a person with a raster and footprints of their own: export, audit, train, detect, evaluate; all as commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest
import shapely
import yaml

BANEPA = Path(__file__).resolve().parents[2] / "shared" / "data" / "banepa"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BANEPA.is_dir(), reason="../shared/data/banepa with real imagery is not there"),
]


def maskdino(*arguments: object) -> str:
    """Run the program as a person does; return what it printed."""
    program = Path(sys.executable).with_name("maskdino")
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{arguments}: {result.stderr}"
    return result.stdout


def test_from_annotations_to_a_model_of_ones_own_and_its_figures(tmp_path: Path) -> None:
    town, run = tmp_path / "town", tmp_path / "run"
    image, footprints, area = BANEPA / "image.tif", BANEPA / "buildings.gpkg", BANEPA / "labelled_area.gpkg"

    maskdino("export-dataset", image, footprints, "-o", town, "--aoi", area, "--tile-size", 256, "--split", 0.8)
    assert "none of the" in maskdino("audit-dataset", town)  # no validation image stands in training

    printed = maskdino(
        "train", "finetune", f"data.sources={town / 'train'}", f"data.validation={town / 'val'}",
        "run.epochs=2", "run.workers=0", "-o", run,
    )  # fmt: skip
    model = run / "finetuned.safetensors"
    assert str(model) in printed and "AP50" in printed
    assert yaml.safe_load((run / "config.yaml").read_text())["run"]["epochs"] == 2
    rows = (run / "validation.csv").read_text().splitlines()
    assert len(rows) == 3, rows  # a header, and a row for each epoch

    west, south, east, north = geopandas.read_file(area).to_crs(4326).total_bounds
    extent = [west, south, west + (east - west) / 2, south + (north - south) / 3]
    found, figures = tmp_path / "buildings.gpkg", tmp_path / "figures.json"
    maskdino("detect", image, "-o", found, "--model", model, "--extent", *extent)
    part = geopandas.GeoDataFrame(geometry=[shapely.box(*extent)], crs=4326)
    part.to_file(tmp_path / "part.gpkg")
    maskdino(
        "evaluate", found, footprints, "--aoi", tmp_path / "part.gpkg", "--json", figures, "--report", tmp_path / "report.html"
    )
    document = json.loads(figures.read_text())
    # The embedded model knows this town; two short epochs must not have spoilt it.
    assert document["figures"]["detections"] > 20
    assert document["figures"]["f1"] > 0.3, document["figures"]
    assert (tmp_path / "report.html").stat().st_size > 10_000
