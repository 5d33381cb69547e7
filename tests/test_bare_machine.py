"""What is meant for a bare GPU machine runs without the packages that it lacks; here on a CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from engine.model.model_file import read_header
from tests.training.run.training_run import config_document, write_houses

HIDING = Path(__file__).with_name("bare_machine")


def run_bare(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python in the checkout as on a bare machine."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project, capture_output=True, text=True, timeout=1500,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HIDING, project))), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("package", ["rasterio", "pyogrio", "pyproj", "shapely"])
def test_packages_are_hidden(package: str, project: Path) -> None:
    assert f"No module named '{package}'" in run_bare(project, "-c", f"import {package}").stderr


@pytest.mark.slow
def test_the_tests_of_the_kernels_pass_on_a_cpu(project: Path) -> None:
    done = run_bare(
        project, "-m", "pytest", "tests/gpu", "--confcutdir=tests/gpu", "-m", "gpu and not slow", "-p", "no:cacheprovider",
        MASKDINO_TEST_DEVICE="cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.slow
def test_the_report_of_a_gpu_machine_runs_on_a_cpu(project: Path, tmp_path: Path) -> None:
    """All but the detection, which needs packages that are hidden here, and says so."""
    where = ["--output", str(tmp_path), "--packages", "none"]
    done = run_bare(project, "benchmarks/gpu_report.py", "--device", "cpu", "--minutes", "25", *where)
    assert (tmp_path / "report.json").exists(), done.stdout + done.stderr
    steps = {step["step"]: step for step in json.loads((tmp_path / "report.json").read_text())["steps"]}
    assert steps.pop("detection")["ended"] == "failed with status 1", done.stdout
    assert "A detection needs rasterio" in (tmp_path / "report.log").read_text()
    assert {name: step["ended"] for name, step in steps.items()} == dict.fromkeys(steps, "done"), done.stdout
    assert all(step["figures"] for name, step in steps.items() if name != "kernels")


def test_the_program_knows_its_version_and_its_commands_without_being_installed(project: Path) -> None:
    done = run_bare(project, "-m", "engine", "--version")
    assert f"version={done.stdout.removeprefix('maskdino ').strip()}\n" in (project / "metadata.txt").read_text()
    listed = run_bare(project, "-m", "engine", "--help").stdout
    assert all(f"  {name} " in listed for name in ("detect", "train", "evaluate-coco"))


@pytest.mark.slow
def test_training_on_coco_folders_and_towns_needs_no_geospatial_package(project: Path, tmp_path: Path) -> None:
    document = config_document(tmp_path, steps=2, validate_every=2)
    document["data"] |= {
        "sources": [str(write_houses(tmp_path / "train", images=3)), {"kind": "towns", "count": 1, "size": 128}],
        "validation": [str(write_houses(tmp_path / "val", images=2, seed=1))],
        "gsd": 0.3,
        "samples_per_epoch": 4,
    }
    config, folder = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(document))
    carried = "shapely,pycocotools"
    done = run_bare(project, "-m", "training", str(config), "-o", str(folder), MASKDINO_TEST_CARRIED=carried)
    assert done.returncode == 0, done.stderr
    assert read_header(folder / "houses.safetensors").training.steps == 2


@pytest.mark.slow
def test_the_bundle_trains_the_embedded_model_within_its_time(project: Path, tmp_path: Path) -> None:
    """A small stand-in for the places and the model; the real ones are a matter of half an hour and of imagery."""
    document = config_document(tmp_path, calibrate=True, average=0.9)
    place = {
        "kind": "coco", "folder": str(write_houses(tmp_path / "houses", images=4, size=128)), "name": "Houses",
        "in_memory": True, "gsd": 0.3, "hold_out": ["000.png", "001.png"],
    }  # fmt: skip
    towns = {"kind": "towns", "count": 1, "size": 128, "weight": 0.2}
    document["data"] |= {"sources": [place, towns], "validation": [], "gsd": 0.3, "samples_per_epoch": 4}
    config, bundle = tmp_path / "config.yaml", tmp_path / "bundle"
    config.write_text(yaml.safe_dump(document))
    build = [sys.executable, "packaging/embedded_bundle.py", "--no-wheels", "--config", str(config), "-o", str(bundle)]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    built = subprocess.run(build, cwd=project, capture_output=True, text=True, timeout=300, env=environment)
    assert built.returncode == 0, built.stderr
    assert sorted(path.name for path in bundle.iterdir()) == ["code", "config.yaml", "data.zip", "start", "train.py"]

    environment = {**os.environ, "PYTHONPATH": str(HIDING), "MASKDINO_TEST_CARRIED": "shapely,pycocotools"}
    train = [sys.executable, str(bundle / "train.py"), "--minutes", "0.5", "--device", "cpu", "--workers", "1"]
    done = subprocess.run(
        [*train, "-o", str(tmp_path / "run"), "run.minutes=0.1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AP50 0." in done.stdout
    record = read_header(tmp_path / "run" / "houses.safetensors").training
    assert record.steps >= 1 and record.data[0].name == "Houses" and record.data[0].images == 2

    # Stopped as `timeout` stops it, in the course of its steps.
    stopped = tmp_path / "stopped"
    with (tmp_path / "words").open("w") as words:
        process = subprocess.Popen(
            [*train, "-o", str(stopped), "run.minutes=3"],
            cwd=tmp_path, stdout=words, stderr=words, env=environment, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (stopped / "losses.csv").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 130, (tmp_path / "words").read_text()
    assert "Model files of the last weights are in" in (tmp_path / "words").read_text()
    record = read_header(stopped / "houses.safetensors").training
    assert record.steps >= 1 and record.evaluated_on is None
    assert (stopped / "checkpoints" / "last.ckpt").exists()

    occupied = tmp_path / "mine"
    occupied.mkdir()
    (occupied / "notes.txt").write_text("keep")
    refused = subprocess.run([*build[:-1], str(occupied)], cwd=project, capture_output=True, text=True, env=environment)
    assert refused.returncode == 2 and "name another folder" in refused.stderr and (occupied / "notes.txt").exists()
