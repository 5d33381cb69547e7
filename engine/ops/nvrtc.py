"""Compile CUDA C++ on a machine that has no compiler: NVRTC, NVIDIA's run-time compiler, which torch's wheels bring along.

Its Python side, `cuda.bindings`, comes with torch on Linux; on Windows it is one more package (`how_to_install`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

from engine.errors import KernelError


def how_to_install() -> str:
    """Return how the bindings are installed: their major version is that of the CUDA that torch was built with."""
    major = (torch.version.cuda or "13").split(".")[0]
    return f"pip install 'cuda-bindings=={major}.*'"


@functools.cache
def version() -> tuple[int, int]:
    """Return NVRTC's version.

    Raises:
        KernelError: the bindings or the library are not there.
    """
    try:
        return _called("nvrtcVersion")
    except KernelError:
        raise
    except (ImportError, OSError, RuntimeError) as error:  # the bindings report a library that they do not find as RuntimeError
        raise KernelError(f"NVRTC is not here: {_first_line(error)}.", hint=f"To have it: {how_to_install()}.") from error


def target(capability: tuple[int, int]) -> str:
    """Name what to compile for a GPU's compute capability: its own machine code, or PTX that the driver translates.

    Raises:
        KernelError: the GPU is older than anything that this NVRTC compiles for.
    """
    (known,) = _called("nvrtcGetSupportedArchs")
    wanted = 10 * capability[0] + capability[1]
    if wanted in known:
        return f"sm_{wanted}"
    older = [each for each in known if each < wanted]
    if not older:
        found = ".".join(map(str, version()))
        raise KernelError(f"NVRTC {found} compiles for compute capability {min(known) / 10} and later, not {wanted / 10}.")
    return f"compute_{max(older)}"


def compiled(source: str, *, name: str, headers: Mapping[str, str], options: Sequence[str], target: str) -> bytes:
    """Compile a source to machine code (sm_*) or PTX (compute_*).

    Args:
        source: CUDA C++.
        name: what messages call it.
        headers: the text of each file that it includes, by name.
        options: further options of the compiler.
        target: what `target` returned.

    Raises:
        KernelError: it does not compile; the message has the compiler's first error.
    """
    (program,) = _called(
        "nvrtcCreateProgram",
        source.encode(),
        name.encode(),
        len(headers),
        [text.encode() for text in headers.values()],
        [header.encode() for header in headers],
    )
    try:
        every = [option.encode() for option in (f"--gpu-architecture={target}", "--std=c++17", *options)]
        nvrtc = _nvrtc()
        (status,) = nvrtc.nvrtcCompileProgram(program, len(every), every)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = _text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode(errors="replace")
            errors = [line for line in log.splitlines() if "error" in line] or [status.name]
            raise KernelError(f"{name} does not compile for {target}: {errors[0].strip()}")
        if target.startswith("sm_"):
            return _text(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
        return _text(program, "nvrtcGetPTXSize", "nvrtcGetPTX")
    finally:
        _called("nvrtcDestroyProgram", program)


def _nvrtc() -> ModuleType:
    from cuda.bindings import nvrtc

    return nvrtc


def _called(name: str, *arguments: Any) -> tuple[Any, ...]:
    """Call a function of NVRTC and return what follows its status."""
    nvrtc = _nvrtc()
    status, *results = getattr(nvrtc, name)(*arguments)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise KernelError(f"{name} failed: {status.name}.")
    return tuple(results)


def _text(program: Any, size_of: str, text_of: str) -> bytes:
    (size,) = _called(size_of, program)
    text = bytes(size)  # the bindings write into it
    _called(text_of, program, text)
    return text


def _first_line(error: BaseException) -> str:
    return (str(error) or repr(error)).splitlines()[0].rstrip(".")
