"""From a compiled file to a launch, through NVIDIA's own bindings, with a driver that runs kernels on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.ops import cuda
from tests.engine.ops.cuda_on_host import build_driver, needs_compiler
from tests.engine.ops.nvrtc_here import needs_nvrtc


@pytest.mark.slow
@needs_compiler
@needs_nvrtc
def test_kernels_are_loaded_and_started(project: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MASKDINO_CACHE", str(tmp_path / "cache"))
    cuda.binary((9, 0), torch.float32, torch.float32, 32, False)  # found on disk below: NVRTC needs a real driver or none
    build_driver(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.ops.cuda_launch_program"],
        cwd=project, env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "solved\n", done.stdout + done.stderr
