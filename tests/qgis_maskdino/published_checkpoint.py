"""A small checkpoint as the makers of Mask DINO publish theirs, written by the engine's own Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

_WRITE = """
import sys, torch
from engine.model.build import build_model
from engine.model.checkpoints.published_state import export_official
from tests.engine.model.small_model import SMALL_CONFIG
torch.manual_seed(5)
torch.save({"model": export_official(build_model(SMALL_CONFIG)), "iteration": 1}, sys.argv[1])
"""


def write_checkpoint(path: Path, *, engine_python: str, project: Path) -> Path:
    """Write a checkpoint of two classes."""
    subprocess.run([engine_python, "-c", _WRITE, str(path)], cwd=project, check=True)
    return path
