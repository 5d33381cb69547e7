"""Where the engine's packages come from: PyTorch is published in several builds, one per kind of machine."""

from __future__ import annotations

import os
import re
import shutil
import sys

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.program import run_program
from qgis_maskdino.backend.variables import engine_variables

PYTORCH = "https://download.pytorch.org/whl/"

# What a driver runs, newest first, and PyTorch's builds for it.
_CUDA_BUILDS = (((13, 0), "cu130"), ((12, 8), "cu128"), ((12, 0), "cu126"))

_WHERE_NVIDIA_IS = (r"C:\Windows\System32\nvidia-smi.exe", "/usr/lib/wsl/lib/nvidia-smi")


def cuda_of_driver() -> tuple[int, int] | None:
    """Return the newest CUDA that this machine's NVIDIA driver runs; None where there is no such card or driver."""
    program = shutil.which("nvidia-smi") or next((path for path in _WHERE_NVIDIA_IS if os.path.isfile(path)), None)
    if program is None:
        return None
    try:
        said = run_program(program, [], variables=engine_variables(), seconds=15)
    except EngineError:
        return None
    found = re.search(r"CUDA(?: UMD)? Version:\s*(\d+)\.(\d+)", said.output)
    return (int(found[1]), int(found[2])) if said.status == 0 and found else None


def torch_index(cuda: tuple[int, int] | None) -> str | None:
    """Return the index with the build of PyTorch that fits this machine; None for PyPI's own.

    PyPI has the CUDA build for Linux, 3 GB of it, and the CPU build for Windows; Apple's is the same everywhere.
    """
    if sys.platform == "darwin":
        return None
    for oldest, build in _CUDA_BUILDS:
        if cuda is not None and cuda >= oldest:
            return PYTORCH + build
    return None if sys.platform == "win32" else PYTORCH + "cpu"
