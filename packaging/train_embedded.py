"""Train the embedded model on a machine that has a GPU, PyTorch, timm, Lightning and scikit-image, and no network.

    python3 train.py --minutes 10

It runs from the folder that ``make embedded-bundle`` wrote and needs nothing else: the code, the prepared images of all places,
the weights to start from and wheels of the few packages that such a machine may lack lie beside it. The time limit is that of
the whole program; the learning rate falls by the clock. ``--output`` then holds the model file and the table of all
validations, AP50 by place among them, which are printed as they are made. Ctrl-C, or the signal that ``timeout`` sends, ends
the program in seconds, with model files of the last weights and a checkpoint.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

STARTED = time.monotonic()
BUNDLE = Path(__file__).resolve().parent
LEAST_MINUTES = 0.5
_ENDING = 0.15  # minutes
# By import name; their wheels are taken where this Python does not have them.
CARRIED = {"pydantic": ("typing_extensions", "typing_inspection", "annotated_types"), "shapely": (), "pycocotools": ()}


def main() -> None:
    """Train as the command line says."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="embedded-model-") as folder:
        _train(arguments, Path(folder))


def _train(arguments: argparse.Namespace, work: Path) -> None:
    sys.path.insert(0, str(BUNDLE / "code"))
    _unpack_missing(work / "packages")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # for the processes that prepare images
    print(f"{time.monotonic() - STARTED:5.0f} s  unpacked", flush=True)
    shutil.unpack_archive(BUNDLE / "data.zip", work)
    os.chdir(work)  # the config names its data from here
    import torch

    from engine.commands.terminal import CANCELLED, ctrl_c_sets
    from engine.errors import CancelledError
    from engine.job import Job
    from training.config.config_file import read_config
    from training.run.train import train

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    gpu = torch.cuda.is_available() and arguments.device != "cpu"
    print(f"{torch.cuda.get_device_name() if gpu else 'no GPU: the CPU'}, {os.cpu_count()} cores, torch {torch.__version__}")
    # A run keeps the time for its last validation itself; the files and the end of the processes come on top.
    reserve = _ENDING + (time.monotonic() - STARTED) / 60
    changes = [
        f"start_from={next((BUNDLE / 'start').iterdir())}",
        f"run.minutes={max(arguments.minutes - reserve, 0.1):.3f}",
        f"run.device={arguments.device}",
        f"run.workers={max((os.cpu_count() or 1) - 1, 1) if arguments.workers is None else arguments.workers}",
        *arguments.changes,
    ]
    config = read_config(str(BUNDLE / "config.yaml"), changes)
    job = Job(report=_Report())
    try:
        with ctrl_c_sets(job.cancelled):
            trained = train(config, arguments.output, job=job)
    except CancelledError as error:
        print(f"{error} Model files of the last weights are in {arguments.output}.")
        sys.exit(CANCELLED)
    if trained is not None:
        print(f"{trained.model}: {trained.steps} steps in {trained.seconds:.0f} s; {trained.figures}")
        print((trained.folder / "validation.csv").read_text(encoding="utf-8"))


class _Report:
    """Print how far the training is, every ten seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, progress: object) -> None:
        now = time.monotonic()
        if now - self._last > 10:
            self._last = now
            print(f"{now - STARTED:5.0f} s  step {progress.done} of about {progress.total}  {progress.note}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the embedded model from this folder alone.")
    parser.add_argument("--minutes", type=float, required=True, help="limit for the whole program")
    parser.add_argument("-o", "--output", type=Path, default=Path("trained"), help="folder of the run, which must not exist")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--workers", type=int, help="processes that prepare images; by default all cores but one")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="changes to config.yaml")
    arguments = parser.parse_args()
    if arguments.minutes < LEAST_MINUTES:
        parser.error(f"--minutes is {arguments.minutes:g}; give {LEAST_MINUTES:g} or more")
    arguments.output = arguments.output.resolve()
    return arguments


def _unpack_missing(folder: Path) -> None:
    """Put the packages that this Python lacks into a folder on its path, from the wheels in the bundle."""
    missing = [name for name in CARRIED if importlib.util.find_spec(name) is None]
    if not missing:
        return
    for name in missing:
        for package in (name, *CARRIED[name]):
            for wheel in (BUNDLE / "wheels").glob(f"{package}*.whl"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    still = [name for name in missing if importlib.util.find_spec(name) is None]
    if still:
        sys.exit(f"This Python {sys.version.split()[0]} lacks {', '.join(still)}, and wheels/ holds none for it. Install them.")


if __name__ == "__main__":
    main()
