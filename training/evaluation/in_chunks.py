"""Run an array function over long arrays in chunks, on several cores: GEOS lets go of Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

CHUNK = 2048  # rows: a fraction of a second, so that a cancel is heard, and little memory for what is made on the way


def in_chunks(
    function: Callable[..., np.ndarray], *columns: np.ndarray, progress: Callable[[float], None] = lambda share: None
) -> np.ndarray:
    """Return ``function(*columns)``, for a function that treats each row alone.

    Args:
        function: takes arrays of one length and returns an array of that length.
        columns: (N, ...) arrays.
        progress: called in this thread with the share done; what it raises ends the work.
    """
    count = len(columns[0])
    if count <= CHUNK:
        result = function(*columns)
        progress(1.0)
        return result
    starts = range(0, count, CHUNK)
    workers = min(4, os.cpu_count() or 1)
    results = []
    with ThreadPoolExecutor(workers) as pool:
        calls = (pool.submit(function, *(column[start : start + CHUNK] for column in columns)) for start in starts)
        waiting = list(islice(calls, 2 * workers))
        try:
            while waiting:
                results.append(waiting.pop(0).result())
                waiting.extend(islice(calls, 1))
                progress(len(results) / len(starts))
        finally:
            for call in waiting:
                call.cancel()
    return np.concatenate(results)
