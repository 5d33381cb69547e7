"""``maskdino doctor``: what is installed, what the model will run on and why, and whether a small detection succeeds."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, ClassVar

import typer

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.distribution import version
from engine.errors import ArgumentError, CancelledError, MaskDinoError
from engine.job import Job
from engine.request import Request, device_option, option

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scipy", "rasterio", "shapely", "pyogrio", "pyproj", "safetensors")
_OPTIONAL = ("pyarrow", "pillow", "pycocotools", "lightning")


class DoctorRequest(Request):
    """What to examine."""

    command: ClassVar[str] = "doctor"

    device: str = device_option()


class TerminalRequest(DoctorRequest):
    """What to examine, or to clean, and how a terminal is told of it."""

    as_json: bool = option(False, "Print the report as JSON.", alias="json")
    clean: str | None = option(
        None,
        "Instead, remove what killed runs left in a folder; progress to resume is named and kept.",
        metavar="DIR",
    )


@terminal_command(TerminalRequest)
def command(request: TerminalRequest) -> None:
    """Say what is installed, what the model runs on and why, and whether a small detection succeeds."""
    if request.clean is not None:
        typer.echo("\n".join(clean_folder(Path(request.clean))))
        return
    report = examine(request.device)
    typer.echo(json.dumps(report, indent=2) if request.as_json else as_text(report))
    if not report["detection"]["succeeded"]:
        raise MaskDinoError(f"A small detection failed: {report['detection']['error']}")


@service_command(DoctorRequest)
def serve(request: DoctorRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: the report, also where the small detection fails."""
    return examine(request.device, job)


def examine(device: str = "auto", job: Job | None = None) -> dict[str, Any]:
    """Make the report: plain values only, fit for JSON."""
    return {
        "system": system(),
        "libraries": libraries(),
        "devices": devices(),
        "operator": operator(),
        "models": models(),
        "detection": small_detection(device, job),
    }


def clean_folder(folder: Path) -> list[str]:
    """Remove what killed runs left in a folder, and return a line on each; what a running one holds is not touched.

    Raises:
        ArgumentError: there is no such folder.
    """
    from engine.detection.checkpoint import is_progress_file
    from engine.files.output_lock import left_behind

    if not folder.is_dir():
        raise ArgumentError(f"clean is {folder}, which is no folder.", hint="Name the folder of the outputs.")
    lines = [f"removed: {path}" for path in left_behind(folder, remove=True)]
    lines += [
        f"kept: {path}, the progress of a run that `maskdino detect --resume` goes on with; remove it if nobody will"
        for path in sorted(folder.glob("*.progress"))
        if is_progress_file(path)
    ]
    return lines or [f"Killed runs have left nothing in {folder}."]


def system() -> dict[str, str]:
    """Name the program, the interpreter and the machine."""
    return {
        "maskdino": version(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
    }


def libraries() -> dict[str, str | None]:
    """Return the version of each library; None for one that is missing."""
    import pyogrio
    import pyproj
    import rasterio
    import shapely

    found: dict[str, str | None] = {}
    for name in (*_LIBRARIES, *_OPTIONAL):
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            found[name] = None
    found["GDAL of rasterio"] = rasterio.__gdal_version__
    found["GDAL of pyogrio"] = pyogrio.__gdal_version_string__
    found["GEOS"] = shapely.geos_version_string
    found["PROJ"] = pyproj.proj_version_str
    return found


def devices() -> dict[str, str]:
    """Describe each device that torch can use."""
    import torch

    found = {"cpu": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found[f"cuda:{index}"] = (
                f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
                f"compute capability {properties.major}.{properties.minor}"
            )
    elif torch.version.cuda is None:
        found["cuda"] = "not there: this torch is built without CUDA"
    else:
        found["cuda"] = f"not there: torch (CUDA {torch.version.cuda}) finds no driver or no device"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found


def operator() -> dict[str, Any]:
    """Return which kernel runs the attention operator, and why."""
    from engine.ops import kernel_report

    return kernel_report()


def models() -> dict[str, dict[str, Any]]:
    """Describe each embedded model by its header and its checksum."""
    from engine.model.model_file import embedded_models, read_header

    found: dict[str, dict[str, Any]] = {}
    for name, path in embedded_models().items():
        entry: dict[str, Any] = {
            "file": str(path),
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        try:
            header = read_header(path)
        except MaskDinoError as error:
            entry["error"] = str(error)
        else:
            entry.update(gsd=header.gsd, tile_size=header.tile_size, classes=list(header.classes), bands=list(header.bands))
            if header.training is not None:
                entry["figures"] = dict(header.training.figures)
        found[name] = entry
    return found


def small_detection(device: str = "auto", job: Job | None = None) -> dict[str, Any]:
    """Detect on a raster of one tile with the default model: what counts is that every part of the way works."""
    from engine.detection.pipeline import detect

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="maskdino-doctor-") as folder:
        raster, output = Path(folder, "scene.tif"), Path(folder, "buildings.gpkg")
        try:
            _write_scene(raster)
            summary = detect(raster, output, device=device, cancel=job.cancelled if job else None)
        except CancelledError:
            raise
        except Exception as error:  # whatever fails is what the report is for
            return {"succeeded": False, "error": f"{error}" if isinstance(error, MaskDinoError) else repr(error)}
        return {
            "succeeded": output.is_file(),
            "buildings": summary.buildings,
            "device": summary.device,
            "kernel": summary.kernel,
            "seconds": round(time.perf_counter() - started, 2),
        }


def _write_scene(path: Path) -> None:
    """Write a georeferenced 256 x 256 raster with a few bright roofs on grass, 0.3 m per pixel."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin

    image = np.random.default_rng(0).normal([[[84]], [[106]], [[70]]], 8, (3, 256, 256))
    for top, left, height, width in ((40, 30, 40, 60), (50, 150, 60, 50), (150, 60, 50, 50), (160, 160, 36, 64)):
        image[:, top + 6 : top + height + 6, left + 6 : left + width + 6] = 40  # the shadow
        image[:, top : top + height, left : left + width] = np.array([176, 88, 70])[:, None, None]
    profile = {"driver": "GTiff", "width": 256, "height": 256, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=from_origin(5e5, 5e6, 0.3, 0.3), **profile) as raster:
        raster.write(image.clip(0, 255).astype("uint8"))


def as_text(report: dict[str, Any]) -> str:
    """Lay the report out for a person."""
    lines = []
    for section, entries in report.items():
        lines.append(section.capitalize())
        for name, value in entries.items():
            if isinstance(value, dict):
                lines.append(f"  {name}")
                lines += [f"    {key:<14} {_short(item)}" for key, item in value.items()]
            else:
                lines.append(f"  {name:<18} {_short(value)}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _short(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
