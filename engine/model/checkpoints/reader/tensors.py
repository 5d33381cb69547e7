"""How PyTorch describes a tensor in a pickle, as plain records that check what they are told.

A tensor is a view of a storage, a run of numbers that lies in the file outside the pickle. Each is measured against the bytes
that the file really has; only then is the file mapped into memory, and the tensors are views of that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from engine.errors import ModelFileError, UnsafeFileError
from engine.model.checkpoints.reader.arrays import PickledSettings
from engine.model.checkpoints.reader.stack_machine import ArrayUnpickler, plain_dict
from engine.model.file_errors import short

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StorageType:
    """One of PyTorch's storage classes: the name of its numbers' type, and how many bytes one takes."""

    dtype: str
    itemsize: int


@dataclass
class Storage:
    """A run of numbers that the file holds outside its pickle.

    ``numbers`` are these, once `TensorUnpickler.place` knows where they lie.
    """

    type: StorageType
    elements: int
    numbers: Tensor | None = field(default=None, compare=False)

    @property
    def bytes(self) -> int:
        return self.elements * self.type.itemsize


@dataclass(frozen=True, eq=False)
class PickledTensor:
    """A tensor that lies within its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """Return the tensor; it shares the bytes of the file, which is never written to."""
        numbers = self.storage.numbers
        if 0 in self.shape:
            return numbers.new_empty(self.shape)
        return numbers.as_strided(self.shape, self.stride, numbers.storage_offset() + self.offset)


def rebuild_tensor(
    storage: object, offset: object, shape: object, stride: object, _gradient: object = None, _hooks: object = None,
    marks: object = None,
) -> PickledTensor:  # fmt: skip
    """Stand in for ``torch._utils._rebuild_tensor_v2``.

    Raises:
        ModelFileError: the tensor reaches outside its storage, or repeats it: expanded to any size, it takes none. Or it is
            marked as something else than the numbers of its storage, such as their negative.
    """
    shape, stride = (tuple(part) if isinstance(part, (tuple, list)) else part for part in (shape, stride))
    if not (isinstance(storage, Storage) and all(map(_are_sizes, (shape, stride, (offset,))))) or marks:
        raise ModelFileError("it holds a malformed tensor.")
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if math.prod(shape) > storage.elements or (0 not in shape and last >= storage.elements):
        raise ModelFileError(f"it states a tensor of shape {short(shape)} beyond its {storage.elements} numbers.")
    return PickledTensor(storage, offset, shape, stride)


def rebuild_parameter(data: object, *_rest: object) -> PickledTensor:
    """Stand in for ``torch._utils._rebuild_parameter``."""
    if not isinstance(data, PickledTensor):
        raise ModelFileError("it holds a malformed parameter.")
    return data


def size_of(dimensions: object = ()) -> tuple[int, ...]:
    """Stand in for ``torch.Size``."""
    if not _are_sizes(dimensions):
        raise ModelFileError("it holds a malformed size.")
    return dimensions  # type: ignore[return-value]


_STORAGE_TYPES = {
    "Double": StorageType("float64", 8),
    "Float": StorageType("float32", 4),
    "Half": StorageType("float16", 2),
    "BFloat16": StorageType("bfloat16", 2),
    "Long": StorageType("int64", 8),
    "Int": StorageType("int32", 4),
    "Short": StorageType("int16", 2),
    "Char": StorageType("int8", 1),
    "Byte": StorageType("uint8", 1),
    "Bool": StorageType("bool", 1),
}


class TensorUnpickler(ArrayUnpickler):
    """The stack machine for PyTorch's pickles; ``load`` returns containers of ``PickledTensor``.

    Args:
        file, size: as for ``ArrayUnpickler``.
        sizes: bytes of each storage by its key; None where they follow the pickle (the format before PyTorch 1.6): then
            all of them together are measured against the file.

    Attributes:
        storages: those that the tensors lie in, by key.
    """

    extra_globals: ClassVar[dict[str, Any]] = {
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "torch.Size": size_of,
        "collections.Counter": plain_dict,
        "argparse.Namespace": PickledSettings,
        **{f"torch.{place}{name}Storage": kind for place in ("", "cuda.") for name, kind in _STORAGE_TYPES.items()},
    }

    def __init__(self, file: BinaryIO, size: int, sizes: dict[str, int] | None = None) -> None:
        super().__init__(file, size)
        self.storages: dict[str, Storage] = {}
        self._sizes = sizes
        self._unclaimed = size

    def place(self, path: Path, starts: Mapping[str, int]) -> None:
        """Map the file into memory and give each storage its bytes, which begin at ``starts[key]``.

        Raises:
            ModelFileError: a storage reaches beyond the end of the file.
        """
        import torch

        size = path.stat().st_size
        mapped = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)  # shared with nobody: a private copy
        for key, storage in self.storages.items():
            start, end = starts[key], starts[key] + storage.bytes
            if end > size:
                raise ModelFileError(f"it ends {end - size:,} bytes before its storage {short(key)} does.")
            numbers = mapped[start:end]
            # PyTorch wants numbers at multiples of their size; its own files have them there.
            numbers = numbers.clone() if numbers.data_ptr() % storage.type.itemsize else numbers
            storage.numbers = numbers.view(getattr(torch, storage.type.dtype))

    def _op_binpersid(self) -> None:
        identity = self._stack.pop()
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise UnsafeFileError(f"it refers to {short(identity)} outside of itself.")
        _, storage_type, key, _location, elements, *view = identity
        if not isinstance(storage_type, StorageType) or not isinstance(key, str) or not _are_sizes((elements,)) or any(view):
            raise ModelFileError("it holds a malformed storage.")
        storage = Storage(storage_type, elements)
        if key not in self.storages:
            self._claim(key, storage.bytes)
            self.storages[key] = storage
        elif self.storages[key] != storage:
            raise ModelFileError(f"it states two sizes or types for its storage {short(key)}.")
        self._stack.append(self.storages[key])

    def _claim(self, key: str, size: int) -> None:
        available = self._unclaimed if self._sizes is None else self._sizes.get(key, 0)
        if size > available:
            raise ModelFileError(f"it states {size:,} bytes for its storage {short(key)}, and has {available:,}.")
        self._unclaimed -= size


def _are_sizes(values: object) -> bool:
    return (
        isinstance(values, tuple) and len(values) <= 16 and all(type(value) is int and 0 <= value < 2**48 for value in values)
    )
