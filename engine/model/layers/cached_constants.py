"""Constants that follow from shapes alone, such as position encodings: made once and kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")

_CACHED = 4  # sets of arguments a function: a run has one tile size, and large images take tens of megabytes each


def cached(make: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Keep what a function made for its last few sets of arguments; nobody may write into it.

    It is made outside of inference mode, so that training can use it too, and made anew while torch.compile or torch.export
    look on, whose tensors are not real.
    """
    remembered = functools.lru_cache(maxsize=_CACHED)(make)

    @functools.wraps(make)
    def get(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return make(*args, **kwargs)
        with torch.inference_mode(False):
            return remembered(*args, **kwargs)

    return get
