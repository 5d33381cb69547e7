"""How NumPy describes an array in a pickle, as plain records that check what they are told.

They take the place of NumPy's own functions, which trust a pickle: given a hostile shape or type those take any amount of
memory. An array here has plain numbers, and brings every one of its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.errors import ModelFileError, UnsafeFileError
from engine.model.file_errors import short

MAX_DIMENSIONS = 16
PLAIN_KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


class PickledDtype:
    """A dtype as NumPy pickles it: ``dtype('f4', False, True)``, then a state that carries the byte order."""

    def __init__(self, kind: object, *_flags: object) -> None:
        kind = kind.lstrip("<>|=") if isinstance(kind, str) else kind
        if kind not in PLAIN_KINDS:
            raise UnsafeFileError(f"it holds an array of {short(kind)}, which is not a plain number.")
        self.kind: str = kind  # type: ignore[assignment]
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ModelFileError(f"an array has a malformed type ({short(state)}).")
        if any(part is not None for part in state[2:5]):
            raise UnsafeFileError("it holds a structured array, which no checkpoint needs.")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.kind)


class PickledArray:
    """An array as NumPy pickles it: an empty one, then a state with shape, dtype and bytes."""

    def __init__(self, *_arguments: object) -> None:
        self._array: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ModelFileError(f"an array has a malformed state ({short(state)}).")
        _version, shape, dtype, fortran, data = state
        self._array = _array_of(shape, dtype, data, "F" if fortran else "C")

    @classmethod
    def from_buffer(cls, data: object, dtype: object, shape: object, order: object = "C") -> PickledArray:
        array = cls()
        array._array = _array_of(shape, dtype, data, order)
        return array

    def numpy(self) -> np.ndarray:
        """The array; read-only, for it shares the bytes of the file."""
        if self._array is None:
            raise ModelFileError("an array comes without its contents.")
        return self._array


class PickledSettings:
    """``argparse.Namespace``, in which many a training program keeps the arguments of its run; nothing of it is taken."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise ModelFileError(f"its settings have a malformed state ({short(state)}).")


def reconstruct(array_type: object, *_arguments: object) -> PickledArray:
    """Stand in for ``numpy._core.multiarray._reconstruct``; the shape and dtype that it is given are placeholders."""
    if array_type is not PickledArray:
        raise UnsafeFileError(f"it asks to build {short(array_type)} as an array.")
    return PickledArray()


def scalar(dtype: object, data: object = b"") -> float | int | bool:
    """Stand in for ``numpy._core.multiarray.scalar``."""
    return _array_of((), dtype, data, "C").item()


def _array_of(shape: object, dtype: object, data: object, order: object) -> np.ndarray:
    if not isinstance(dtype, PickledDtype):
        raise UnsafeFileError(f"it holds an array of {short(dtype)}, which is not a plain number.")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(side) is int and 0 <= side < 2**48 for side in shape)
        or order not in ("C", "F")
    ):
        raise ModelFileError(f"an array has the impossible shape {short(shape)}.")
    if isinstance(data, str):  # Python 2 wrote bytes as text
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray)):
        # An array of objects keeps a list of them here.
        raise UnsafeFileError("it holds an array of objects, which is not a plain number.")
    numpy_dtype = dtype.numpy()
    if len(data) != math.prod(shape) * numpy_dtype.itemsize:
        raise ModelFileError(f"an array of shape {shape} and type {numpy_dtype} comes with {len(data)} bytes.")
    return np.frombuffer(data, numpy_dtype).reshape(shape, order=order)


def encode(text: object, encoding: object = "latin1") -> bytes:
    """Stand in for ``_codecs.encode``, by which Python 3 writes bytes in the old protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafeFileError(f"it asks to encode {short(text)} as {short(encoding)}.")
    return text.encode("latin1")


def bytes_of_nothing(*arguments: object) -> bytes:
    """Stand in for ``bytes``, by which Python 3 writes an empty one in the old protocols."""
    if arguments:
        raise UnsafeFileError(f"it asks to call bytes with {short(arguments[0])}.")
    return b""


ARRAY_GLOBALS: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": PickledArray,
    "numpy.dtype": PickledDtype,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in {
            "multiarray._reconstruct": reconstruct,
            "multiarray.scalar": scalar,
            "numeric._frombuffer": PickledArray.from_buffer,
        }.items()
    },
}
