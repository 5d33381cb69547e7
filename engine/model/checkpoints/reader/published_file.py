"""Find out what a checkpoint is, and take the state dict out of it."""

from __future__ import annotations

import logging
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from engine.errors import ModelFileError, UnsafeFileError
from engine.model.checkpoints.reader.arrays import PickledArray
from engine.model.checkpoints.reader.stack_machine import ArrayUnpickler
from engine.model.checkpoints.reader.tensors import PickledTensor, TensorUnpickler
from engine.model.file_errors import about_file, short
from engine.model.model_file import METADATA_KEY

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# The first pickle of a PyTorch file of the time before its zip format: the number 0x1950a86a20f9469cfc6c.
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PICKLES = 5  # magic, protocol, system, the object, the keys of its storages
_STATE_KEYS = ("model", "state_dict")


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A state dict under the names of its makers.

    Attributes:
        tensors: by published name, on the CPU, of the type they were stored in.
        container: "pth", "pkl" or "safetensors".
        other_entries: what else the file holds (optimizer, iteration, ...); left out.
    """

    path: Path
    container: str
    tensors: dict[str, Tensor]
    other_entries: tuple[str, ...] = field(default=())


def read_published(path: str | os.PathLike[str]) -> PublishedCheckpoint:
    """Read a published checkpoint: detectron2's ``{"model": ...}`` or a bare state dict, of tensors or arrays.

    Raises:
        UnsafeFileError: the file asks for something to be run, or for anything but plain numbers. Nothing has been run.
        ModelFileError: it is missing, broken, or no checkpoint.
    """
    path = Path(path)
    with about_file("The checkpoint", path):
        if path.is_dir():
            raise ModelFileError("it is a folder.", hint="Give the file in it.")
        if path.exists() and not path.is_file():
            raise ModelFileError("it is a pipe or a device.", hint="Save it as a file first.")
        container, content = _read(path)
        tensors, others = _state_dict(content, path.stat().st_size)
        log.debug("%s: %d tensors (%s); left out: %s", path, len(tensors), container, ", ".join(others) or "nothing")
        return PublishedCheckpoint(path, container, tensors, others)


def _read(path: Path) -> tuple[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        return "pth", _read_zip(path, size)
    if start[257:262] == b"ustar" or start.startswith(b"././@PaxHeader"):
        raise UnsafeFileError(
            "it is in PyTorch's oldest format, a tar archive, which cannot be read safely.",
            hint="Load and save it again with a PyTorch that its makers used, where you trust them.",
        )
    if _LEGACY_MAGIC in start[:20]:
        return "pth", _read_legacy(path, size)
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size:
        return "safetensors", _read_safetensors(path)
    if start.lstrip()[:1] == b"<":
        raise ModelFileError("it is a web page.", hint="Was it downloaded from the link of the file itself?")
    if start.startswith(b"version https://git-lfs"):
        raise ModelFileError("it is a pointer of Git LFS.", hint="Get the file itself with `git lfs pull`.")
    with path.open("rb") as file:
        return "pkl", ArrayUnpickler(file, size).load()


def _read_zip(path: Path, size: int) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
            if any("/code/" in f"/{name}" or name.endswith("constants.pkl") for name in names):
                raise UnsafeFileError("it is a TorchScript program, not a table of tensors.")
            if len(pickles) != 1 or len(set(names)) != len(names):
                raise ModelFileError("it is a zip archive, but not a PyTorch checkpoint.")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
                sum(entry.file_size for entry in entries) > size
            ):
                raise ModelFileError("it is compressed, which PyTorch's own files never are.")
            root = pickles[0].removesuffix("data.pkl")
            sizes = {
                entry.filename.removeprefix(f"{root}data/"): entry.file_size
                for entry in entries
                if entry.filename.startswith(f"{root}data/")
            }
            length = archive.getinfo(pickles[0]).file_size
            with archive.open(pickles[0]) as file:
                walk = TensorUnpickler(file, length, sizes)  # type: ignore[arg-type]
                content = walk.load()
            if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
                raise ModelFileError("its numbers are in the byte order of another machine.")
            with path.open("rb") as file:
                walk.place(path, {key: _start_of(archive.getinfo(f"{root}data/{key}"), file) for key in walk.storages})
            return content
    except ModelFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, KeyError, RuntimeError, EOFError) as error:
        raise ModelFileError(f"it is a broken or truncated archive ({short(error)}).") from error


def _start_of(entry: zipfile.ZipInfo, file: BinaryIO) -> int:
    """Find where the bytes of an entry of an archive begin: after a header whose length stands in it."""
    file.seek(entry.header_offset)
    signature, flags, name, extra = struct.unpack("<4s2xH18xHH", file.read(30))
    if signature != b"PK\x03\x04" or flags & 1:
        raise zipfile.BadZipFile(f"{entry.filename[-40:]} is no entry that can be read")
    return entry.header_offset + 30 + name + extra


def _read_legacy(path: Path, size: int) -> Any:
    with path.open("rb") as file:
        walk = TensorUnpickler(file, size)
        _magic, _protocol, system, content, keys = [walk.load() for _ in range(_LEGACY_PICKLES)]
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ModelFileError("its numbers are in the byte order of another machine.")
        if not isinstance(keys, list) or set(map(str, keys)) != set(walk.storages) or len(keys) != len(walk.storages):
            raise ModelFileError("it does not hold the storages that it names.")
        # Behind the pickles, of each storage how many elements it has, and the elements.
        position, starts = file.tell(), {}
        for key in keys:
            file.seek(position)
            if file.read(8) != struct.pack("<Q", walk.storages[key].elements):
                raise ModelFileError(f"it does not hold its storage {short(key)} where it belongs.")
            starts[key] = position + 8
            position = starts[key] + walk.storages[key].bytes
        walk.place(path, starts)
    return content


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if METADATA_KEY in (file.metadata() or {}):
                raise ModelFileError("it is a model file already, and needs no conversion.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except SafetensorError as error:
        raise ModelFileError(f"it is a broken or truncated safetensors file ({short(error)}).") from error


def _state_dict(content: Any, size: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if not isinstance(content, dict):
        raise ModelFileError(f"it holds a {type(content).__name__}, not a state dict.")
    state, others = content, ()
    for key in _STATE_KEYS:
        if isinstance(content.get(key), dict):
            state, others = content[key], tuple(sorted(str(name) for name in content if name != key))
            break
    # Called by its class: a file may put an attribute of that name on an OrderedDict.
    items = list(dict.items(state))
    if not items:
        raise ModelFileError("it holds no tensors.")
    odd = [name for name, value in items if not isinstance(name, str) or not _is_tensor(value)]
    if odd:
        raise ModelFileError(f"it is not a state dict: {short(odd[0])} is not a tensor ({len(odd)} such entries).")
    distinct = {id(value): value.numpy().nbytes for _, value in items if isinstance(value, PickledArray)}
    if sum(distinct.values()) > size:
        raise ModelFileError("it unfolds to more than its own size.")
    converted: dict[int, Tensor] = {}
    tensors = {}
    for name, value in items:
        if id(value) not in converted:
            converted[id(value)] = _tensor(value)
        tensors[name] = converted[id(value)]
    # What DistributedDataParallel puts before every name.
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors, others


def _is_tensor(value: object) -> bool:
    import torch

    if isinstance(value, (PickledArray, PickledTensor)):
        return True
    return isinstance(value, torch.Tensor)


def _tensor(value: Any) -> Tensor:
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, PickledTensor):
        return value.tensor()
    array = value.numpy()
    # PyTorch wants memory of its own, in the byte order of the machine.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
