"""Building the C++ kernel is an offer: what cannot be built is one line of the log, never a failed installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="on Windows the compiler is not named by the environment")


def _build(project: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    for name in ("setup.py", "pyproject.toml", "metadata.txt", "README.md", "LICENSE"):
        shutil.copy(project / name, folder)
    shutil.copytree(project / "engine" / "csrc", folder / "engine" / "csrc")
    (folder / "engine" / "ops").mkdir()
    (folder / "engine" / "__init__.py").touch()
    (folder / "engine" / "ops" / "__init__.py").touch()
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@POSIX
@pytest.mark.parametrize("compiler", ["/nowhere/c++", "false"])
def test_without_a_working_compiler_installation_goes_on(compiler: str, project: Path, tmp_path: Path) -> None:
    done = _build(project, tmp_path, CC=compiler, CXX=compiler)
    assert done.returncode == 0, done.stderr
    assert "maskdino_cpu" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "engine" / "ops").glob("maskdino_cpu.*"))


@POSIX
@pytest.mark.slow
def test_a_compiler_gives_a_library_that_loads_by_itself(project: Path, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler here")
    done = _build(project, tmp_path)
    assert done.returncode == 0, done.stderr
    (library,) = (tmp_path / "engine" / "ops").glob("maskdino_cpu.*")
    load = f"import torch; torch.ops.load_library({str(library)!r}); torch.ops.maskdino.ms_deform_attn_cpu_instruction_set()"
    subprocess.run([sys.executable, "-c", load], check=True)
