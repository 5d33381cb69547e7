"""Measure on a GPU machine all that waits for one, in one go: ``make gpu-report``.

    python benchmarks/gpu_report.py [--output FOLDER] [--minutes N] [--step NAME]... [--device cpu]
        [--packages FILE] [--official CHECKOUT --detectron2 CHECKOUT]

The machine needs Python with torch, torchvision, timm, scipy, safetensors, typer and pytest; of this project nothing but a
checkout, and no network. What else it lacks, ``make gpu-bundle`` packs for Python 3.12 into dist/gpu-bundle; a run unpacks that
where it finds it.

Every step is a process with a time limit of its own: one that fails or hangs leaves the others. What they print appears as they
print it, and in FOLDER/report.log; their figures stand in FOLDER/report.json, which is written anew after each step.
``--device cpu`` runs everything in a small form, to see that it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = PROJECT / "dist" / "gpu-bundle" / f"packages-{sys.version_info.major}.{sys.version_info.minor}.tar.xz"
_PACKED = ("pydantic", "rasterio", "pyogrio", "pyproj", "shapely")
_GRACE = 5  # seconds that a step gets to end by itself after its limit
_MACHINE = """
import platform, torch
from measuring import machine, note
device = {device!r}
print(machine(device), "Python", platform.python_version())
note(machine=machine(device), python=platform.python_version(), torch=torch.__version__, cuda=torch.version.cuda)
if device == "cuda":
    note(memory_gib=torch.cuda.mem_get_info()[1] / 2**30, capability=torch.cuda.get_device_capability())
"""


@dataclass(frozen=True)
class Step:
    """One program of the report.

    Attributes:
        name: what ``--step`` calls it.
        limit: seconds after which it is ended.
        arguments: of Python.
        environment: beside that of the report.
    """

    name: str
    limit: float
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Run the steps; exit with 1 where one of them did not succeed."""
    parser = argparse.ArgumentParser(description="Measure on a GPU machine all that waits for one.")
    parser.add_argument("--output", type=Path, default=PROJECT / "runs" / "gpu-report", help="folder of report.json and .log")
    parser.add_argument("--minutes", type=float, default=6.0, help="that all steps together may take")
    parser.add_argument("--step", action="append", default=[], help="run this one; may be given several times")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--packages", type=Path, default=PACKAGES, help="what make gpu-bundle wrote")
    parser.add_argument("--official", type=Path, help="checkout of github.com/IDEA-Research/MaskDINO")
    parser.add_argument("--detectron2", type=Path, help="checkout of github.com/facebookresearch/detectron2")
    arguments = parser.parse_args()
    if (arguments.official is None) != (arguments.detectron2 is None):
        parser.error("give --official and --detectron2 together: one needs the other")
    steps = full_steps(_official(arguments)) if arguments.device == "cuda" else small_steps()
    unknown = set(arguments.step) - {step.name for step in steps}
    if unknown:
        parser.error(f"no step is called {', '.join(sorted(unknown))}; there are {', '.join(step.name for step in steps)}")
    if arguments.device == "cuda" and not _has_gpu():
        print("CUDA: no device here, nothing measured")
        return
    chosen = [step for step in steps if not arguments.step or step.name in arguments.step]
    sys.exit(0 if run(chosen, arguments.output, arguments.packages, seconds=60 * arguments.minutes) else 1)


def full_steps(official: list[str]) -> list[Step]:
    """List what an H100 or H200 does in six minutes, what is wanted most first.

    Args:
        official: arguments that name checkouts of the official code; empty where it does not take part.
    """
    gpu = ["--device", "cuda"]
    swin = ["--model", "maskdino_swinl", *gpu]
    steps = [
        Step("machine", 30, ["-c", _MACHINE.format(device="cuda")]),
        Step("kernels", 75, [*_tests_of_kernels("not slow"), *_workers()]),
        Step("operator", 80, [_program("attention_operator_gpu"), "--rounds", "9"]),
        Step("parts", 80, [_program("model_parts"), *gpu]),
        Step("training", 60, [_program("training_step"), *swin, "--size", "320", "--batch", "32", "--rounds", "3"]),
        Step("detection", 90, [_program("detection_gpu")]),
        Step("profile", 60, [_program("kernels_gpu")]),
        Step("compiled", 120, [_program("model_parts"), *swin, "--batch", "32", "--compile"]),
    ]
    if official:
        steps += [
            Step("official-inference", 60, [_program("model_speed"), *swin, "--size", "320", "--batch", "8", *official]),
            Step("official-training", 90, [_program("training_step"), *swin, "--batch", "8", "--rounds", "3", *official]),
        ]
    return steps


def small_steps() -> list[Step]:
    """List the same programs on a CPU, each on as little as it takes."""
    tiny = ["--model", "maskdino_tiny", "--size", "128", "--device", "cpu", "--threads", "1"]
    operator = ["--device", "cpu", "--shrink", "32", "--batch", "1", "--rounds", "2"]
    return [
        Step("machine", 400, ["-c", _MACHINE.format(device="cpu")]),
        Step("kernels", 400, [*_tests_of_kernels("not slow"), "-k", "one_query or outputs_agree or graph"], _ON_CPU),
        Step("operator", 400, [_program("attention_operator_gpu"), *operator]),
        Step("parts", 400, [_program("model_parts"), *tiny, "--batch", "1", "--batch", "2", "--rounds", "2"]),
        Step("training", 400, [_program("training_step"), *tiny, "--batch", "2", "--targets", "2", "--rounds", "2"]),
        Step("detection", 400, [_program("detection_gpu"), "--size", "300", "--device", "cpu"]),
        Step("profile", 400, [_program("kernels_gpu"), *tiny, "--batch", "1", "--passes", "1"]),
    ]


_ON_CPU = {"MASKDINO_TEST_DEVICE": "cpu"}


def run(steps: list[Step], output: Path, packages: Path, *, seconds: float) -> bool:
    """Run steps one after the other, and say whether all of them succeeded.

    Args:
        steps: in this order.
        output: folder for report.json and report.log, which are replaced.
        packages: archive of packages that the machine may lack; need not exist.
        seconds: that all steps together may take. What comes after that is left out.
    """
    output.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + seconds
    results: list[dict[str, Any]] = []
    with (output / "report.log").open("w", encoding="utf-8") as log, unpacked(packages) as folder:
        for step in steps:
            results.append(_result_of(step, log, folder, left=ends - time.monotonic()))
            _write(output / "report.json", {"steps": results})
        for result in results:
            _say(log, f"{result['step']:<20}{result['seconds']:>8.1f} s  {result['ended']}")
        _say(log, f"figures: {output / 'report.json'}")
    return all(result["ended"] == "done" for result in results)


@contextlib.contextmanager
def unpacked(packages: Path) -> Iterator[Path | None]:
    """Unpack an archive of packages for a while, where it is there and something of it is missing here."""
    if not packages.is_file() or all(find_spec(name) for name in _PACKED):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(packages) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def _result_of(step: Step, log: TextIO, packages: Path | None, *, left: float) -> dict[str, Any]:
    """Run a step and return how it ended, how long it took and what it noted."""
    if left <= 0:
        return {"step": step.name, "ended": "left out: no time was left", "seconds": 0.0, "figures": []}
    _say(log, f"== {step.name}")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder, "figures")
        noted.touch()
        ended = _ended(step, log, packages, noted, limit=min(step.limit, left))
        figures = [json.loads(line) for line in noted.read_text(encoding="utf-8").splitlines()]
    return {"step": step.name, "ended": ended, "seconds": round(time.monotonic() - start, 1), "figures": figures}


def _ended(step: Step, log: TextIO, packages: Path | None, noted: Path, *, limit: float) -> str:
    """Run a step's process, pass on what it prints, and say how it ended."""
    paths = [PROJECT, PROJECT / "benchmarks", *([packages] if packages else []), os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "TYPER_STANDARD_TRACEBACK": "1",
        "MASKDINO_FIGURES": str(noted),
        **step.environment,
    }
    process = subprocess.Popen(
        [sys.executable, *step.arguments], cwd=PROJECT, env=environment, text=True, encoding="utf-8", errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    passing_on = threading.Thread(target=lambda: [_say(log, line.rstrip("\n")) for line in process.stdout], daemon=True)
    passing_on.start()
    try:
        status = process.wait(limit)
        ended = "done" if status == 0 else f"failed with status {status}"
    except subprocess.TimeoutExpired:
        ended = f"ended after its limit of {limit:.0f} s"
    finally:
        _end(process)
    passing_on.join(_GRACE)
    return ended


def _end(process: subprocess.Popen) -> None:
    """End a process and those that it started: first by an interrupt, so that it can say what it has."""
    for how in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def _tests_of_kernels(marked: str) -> list[str]:
    tests = ["-m", "pytest", "tests/gpu", "--confcutdir=tests/gpu", "-p", "no:cacheprovider"]
    return [*tests, "-m", f"gpu and {marked}", "--durations=3"]


def _workers() -> list[str]:
    return ["-n", str(min(8, os.cpu_count() or 1))] if find_spec("xdist") else []


def _program(name: str) -> str:
    return f"benchmarks/{name}.py"


def _official(arguments: argparse.Namespace) -> list[str]:
    if arguments.official is None:
        return []
    return ["--official", str(arguments.official.resolve()), "--detectron2", str(arguments.detectron2.resolve())]


def _has_gpu() -> bool:
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")  # torch would take seconds to say so
    except OSError:
        return False
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _say(log: TextIO, line: str) -> None:
    print(line, flush=True)
    log.write(line + "\n")
    log.flush()


def _write(path: Path, document: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(document, indent=1), encoding="utf-8")
    beside.replace(path)


if __name__ == "__main__":
    main()
