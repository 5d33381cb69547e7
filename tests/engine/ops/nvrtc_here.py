"""Whether this machine can compile CUDA C++."""

from __future__ import annotations

import pytest

from engine.errors import KernelError
from engine.ops import nvrtc


def _why_not() -> str:
    try:
        nvrtc.version()
    except KernelError as error:
        return str(error)
    return ""


needs_nvrtc = pytest.mark.skipif(bool(_why_not()), reason=_why_not())
