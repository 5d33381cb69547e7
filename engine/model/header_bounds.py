"""Hold the numbers of a model file's header against what its size justifies, before anything is built by them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from engine.errors import ModelFileError
from engine.model.header import ModelHeader

_LARGEST = {  # of those that cost memory or time without a tensor of the file that could be compared
    "size_divisibility": 256, "queries": 10_000, "points": 64, "levels": 16, "window_size": 64, "detections_per_image": 100_000,
    "num_points": 1_000_000, "mlp_ratio": 64, "drop_path": 1,
}  # fmt: skip
_LAYER_BYTES = 1024  # of the smallest layer that makes sense
_LAYERS = {"layers", "depths", "depth"}


def check_bounds(header: ModelHeader, file_bytes: int) -> None:
    """Refuse a header whose numbers no honest file of that size has.

    Raises:
        ModelFileError: it names the number.
    """
    document = header.config.model_dump()
    for name, value in (*_numbers(document), ("tile_size", header.tile_size)):
        key = name.rpartition(".")[2]
        most = file_bytes / _LAYER_BYTES if key in _LAYERS else _LARGEST.get(key, file_bytes)
        if not (math.isfinite(value) and abs(value) <= most):
            raise ModelFileError(f"its {name} is {value:.6g}; in a file of {file_bytes:,} bytes it is at most {most:,.0f}.")
    for name in ("size_divisibility", "pixel_std"):
        values = document.get(name, 1)
        if min(values if isinstance(values, (list, tuple)) else [values]) <= 0:
            raise ModelFileError(f"its {name} is {values}; it has to be positive.")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a config with its dotted name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers(inner, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value
