"""Build the distribution. Most of it stands in pyproject.toml; the version's one home is metadata.txt, the file that QGIS
reads. Here is what those cannot say: the C++ kernel of the attention operator, which is built where it can be.

It needs a compiler and torch 2.10 or later. Torch is looked up, not required: it is far too large to be downloaded for a
build. So `pip install .`, which builds apart from what is installed, leaves the kernel out, and
`python setup.py build_ext --inplace` or `pip install --no-build-isolation .` put it in. Without it the plain PyTorch kernel
runs; `maskdino doctor` says which one does, and why.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

OLDEST_TORCH = (2, 10)  # its stable ABI is the first to offer torch's threads


class BuildKernel(build_ext):
    """Build a library that torch loads: not a Python module, so one file serves every Python."""

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError) as error:
            logging.warning("The C++ kernel was not built, the plain PyTorch kernel will run: %s", error)

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + (".dll" if sys.platform == "win32" else ".so")

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []  # it registers its operators as it is loaded


class KernelWheel(bdist_wheel):
    """Tag a wheel that holds the kernel by its platform alone."""

    def get_tag(self) -> tuple[str, str, str]:
        tag = super().get_tag()
        return tag if self.root_is_pure else ("py3", "none", tag[2])


def kernel() -> list[Extension]:
    """Return the extension, or nothing where torch is missing or too old to build it against."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return []
    found = importlib.metadata.version("torch")
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_TORCH:
        logging.warning("The C++ kernel is not built: it needs torch 2.10 or later, and this is torch %s.", found)
        return []
    torch_folder = Path(spec.origin).parent
    unix = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fno-trapping-math", "-fvisibility=hidden", "-g0"]
    return [
        Extension(
            "engine.ops.maskdino_cpu",
            sources=sorted(str(path) for path in Path("engine", "csrc").glob("ms_deform_attn_*.cpp")),
            depends=sorted(str(path) for path in Path("engine", "csrc").glob("*.h")),
            include_dirs=[str(torch_folder / "include")],
            library_dirs=[str(torch_folder / "lib")],
            libraries=["torch_cpu", "c10"],
            define_macros=[("TORCH_TARGET_VERSION", "0x020a000000000000")],
            extra_compile_args=["/std:c++17", "/O2", "/fp:contract"] if sys.platform == "win32" else unix,
            language="c++",
            optional=True,
        )
    ]


metadata = ConfigParser(interpolation=None)
metadata.read_string((Path(__file__).parent / "metadata.txt").read_text(encoding="utf-8"))

setup(
    version=metadata["general"]["version"],
    ext_modules=kernel(),
    cmdclass={"build_ext": BuildKernel, "bdist_wheel": KernelWheel},
)
