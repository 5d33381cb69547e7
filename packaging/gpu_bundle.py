"""Pack what a bare GPU machine lacks of Python packages into one file: ``make gpu-bundle``.

``benchmarks/gpu_report.py`` finds it in the checkout and unpacks it for its run. The machine is taken to have Linux on x86-64,
Python 3.12, torch, torchvision, timm, scipy, safetensors and typer, but neither pydantic nor anything geospatial.
"""

from __future__ import annotations

import argparse
import lzma
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

LARGEST = 40_000_000  # bytes
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
WITH_DEPENDENCIES = ("pydantic>=2.6,<3",)
# Of what pyproject.toml allows, the releases whose libraries are the smallest.
GEOSPATIAL = ("rasterio==1.4.3", "pyogrio==0.11.0", "pyproj==3.7.2", "shapely>=2.0.5,<3")
WITHOUT_DEPENDENCIES = (*GEOSPATIAL, "affine<4", "attrs", "certifi", "pyparsing")
OUTPUT = Path(__file__).resolve().parents[1] / "dist" / "gpu-bundle" / f"packages-{PYTHON}.tar.xz"
_LEFT_OUT = ("/tests/", ".pyi", ".pyx", ".pxd", ".pxi", ".h")
_DICTIONARY = 128 << 20  # bytes, so that the copies of PROJ's database in three packages are found to be one


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description="Pack what a bare GPU machine lacks of Python packages.")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="is replaced")
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheels, packages = Path(folder, "wheels"), Path(folder, "packages")
        _download(wheels)
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(packages, [name for name in archive.namelist() if _is_wanted(name)])
        _pack(packages, output)
    size = output.stat().st_size
    print(f"{output}: {size / 1e6:.1f} MB")
    if size > LARGEST:
        sys.exit(f"That is more than the {LARGEST / 1e6:.0f} MB that it may have.")


def _download(folder: Path) -> None:
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    how = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms, "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", "-q", *how]
    subprocess.run([*command, *WITH_DEPENDENCIES], check=True)
    subprocess.run([*command, "--no-deps", *WITHOUT_DEPENDENCIES], check=True)


def _is_wanted(name: str) -> bool:
    return not any(word in f"/{name}" if word.startswith("/") else name.endswith(word) for word in _LEFT_OUT)


def _pack(folder: Path, output: Path) -> None:
    """Write a folder as a tar file, compressed as far as it goes in some minutes."""
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": _DICTIONARY}]
    part = output.with_suffix(".part")
    with lzma.open(part, "wb", filters=filters) as file, tarfile.open(fileobj=file, mode="w") as archive:
        archive.add(folder, ".")
    part.replace(output)


if __name__ == "__main__":
    main()
