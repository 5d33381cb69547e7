"""Walk through the pickle inside a PyTorch checkpoint before PyTorch does.

``torch.load(weights_only=True)`` runs nothing, but what it accepts grows with each release and with whatever other
libraries of the process have registered as safe, and it takes memory for any size that a file states. This walk allows
only what a state dict needs, whatever the release, and measures each tensor against the bytes that the file really has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from engine.errors import ModelFileError, UnsafeFileError
from engine.model.checkpoints.array_pickle import ArrayUnpickler, plain_dict
from engine.model.checkpoints.pickled_arrays import PickledSettings
from engine.model.file_errors import short


@dataclass(frozen=True)
class StorageType:
    """One of PyTorch's storage classes, by the bytes of an element."""

    itemsize: int


@dataclass(frozen=True)
class Storage:
    """A run of numbers that the file holds outside its pickle."""

    elements: int
    itemsize: int


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that lies within its storage."""

    shape: tuple[int, ...]


def rebuild_tensor(storage: object, offset: object, shape: object, stride: object, *_rest: object) -> TensorRecord:
    """Stand in for ``torch._utils._rebuild_tensor_v2``.

    Raises:
        ModelFileError: the tensor reaches outside its storage, or repeats it: expanded to any size, it takes none.
    """
    shape, stride = (tuple(part) if isinstance(part, (tuple, list)) else part for part in (shape, stride))
    if not isinstance(storage, Storage) or not _are_sizes(shape) or not _are_sizes(stride) or not _are_sizes((offset,)):
        raise ModelFileError("it holds a malformed tensor.")
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if math.prod(shape) > storage.elements or (0 not in shape and last >= storage.elements):
        raise ModelFileError(f"it states a tensor of shape {short(shape)} beyond its {storage.elements} numbers.")
    return TensorRecord(shape)


def rebuild_parameter(data: object, *_rest: object) -> TensorRecord:
    """Stand in for ``torch._utils._rebuild_parameter``."""
    if not isinstance(data, TensorRecord):
        raise ModelFileError("it holds a malformed parameter.")
    return data


def size_of(dimensions: object = ()) -> tuple[int, ...]:
    """Stand in for ``torch.Size``."""
    if not _are_sizes(dimensions):
        raise ModelFileError("it holds a malformed size.")
    return dimensions  # type: ignore[return-value]


_ITEM_SIZES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1} | {
    "Byte": 1,
    "Bool": 1,
}


class TensorDryRun(ArrayUnpickler):
    """The stack machine for PyTorch's pickles; ``load`` returns containers of ``TensorRecord``.

    Args:
        file, size: as for ``ArrayUnpickler``.
        sizes: bytes of each storage by its key; None where they follow the pickle (the format before PyTorch 1.6): then
            all of them together are measured against the file.
    """

    extra_globals: ClassVar[dict[str, Any]] = {
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "torch.Size": size_of,
        "collections.Counter": plain_dict,
        "argparse.Namespace": PickledSettings,
        **{
            f"torch.{place}{name}Storage": StorageType(itemsize)
            for place in ("", "cuda.")
            for name, itemsize in _ITEM_SIZES.items()
        },
    }

    def __init__(self, file: BinaryIO, size: int, sizes: dict[str, int] | None = None) -> None:
        super().__init__(file, size)
        self._sizes = sizes
        self._unclaimed = size
        self._storages: dict[str, Storage] = {}

    def _op_binpersid(self) -> None:
        identity = self._stack.pop()
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise UnsafeFileError(f"it refers to {short(identity)} outside of itself.")
        _, storage_type, key, _location, elements = identity[:5]
        if not isinstance(storage_type, StorageType) or not isinstance(key, str) or not _are_sizes((elements,)):
            raise ModelFileError("it holds a malformed storage.")
        storage = Storage(elements, storage_type.itemsize)
        if key not in self._storages:
            self._claim(key, elements * storage.itemsize)
        elif self._storages[key] != storage:
            raise ModelFileError(f"it states two sizes for its storage {short(key)}.")
        self._storages[key] = storage
        self._stack.append(storage)

    def _claim(self, key: str, size: int) -> None:
        available = self._unclaimed if self._sizes is None else self._sizes.get(key, 0)
        if size > available:
            raise ModelFileError(f"it states {size:,} bytes for its storage {short(key)}, and has {available:,}.")
        self._unclaimed -= size


def _are_sizes(values: object) -> bool:
    return (
        isinstance(values, tuple) and len(values) <= 16 and all(type(value) is int and 0 <= value < 2**48 for value in values)
    )
