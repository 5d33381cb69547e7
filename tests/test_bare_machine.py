"""What is meant for a bare GPU machine runs without the packages that it lacks; here on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDING = Path(__file__).with_name("bare_machine")


def run_bare(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python in the checkout as on a bare machine."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project, capture_output=True, text=True, timeout=600,
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
