"""Our model file: safetensors, whose metadata carries one JSON document, the ``ModelHeader``.

Tensors stand under this engine's own names, a shared parameter once. Nothing in the file can run: safetensors holds
numbers, the header is data, and a file's sizes are compared with what the config builds before memory is taken for it.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import CheckpointMismatchError, ComponentError, DeviceError, ModelFileError
from engine.files.output_file import OutputFile, explained
from engine.model.checkpoints.catalogue import PUBLISHED
from engine.model.file_errors import about_file
from engine.model.header import ModelHeader, check_bounds, parse_header
from engine.model.presets import PRESETS

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.model.families.family_model import FamilyModel

log = logging.getLogger(__name__)

WEIGHTS_FOLDER = Path(__file__).resolve().parents[1] / "weights"
METADATA_KEY = "maskdino"
# Swin-L with its 816 tensors needs 110 kB.
MAX_HEADER_BYTES = 16 * 2**20
MAX_DOCUMENT_BYTES = 2**20


def embedded_models() -> dict[str, Path]:
    """List the models that come with the engine, by name."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"))}


def find_model_file(name_or_path: str | os.PathLike[str]) -> Path:
    """Find a model file by the name of an embedded model or by its path.

    Raises:
        ModelFileError: where there is none, saying how to get one.
    """
    embedded = embedded_models()
    name = os.fspath(name_or_path)
    if name in embedded:
        return embedded[name]
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        raise ModelFileError(f"The model {name!r} is a folder.", hint="Give the .safetensors file in it.")
    if name in PRESETS:
        published = any(model.preset == name for model in PUBLISHED)
        raise ModelFileError(
            f"The model {name!r} is known, but its weights do not come with this program.",
            hint="Get a published checkpoint (`maskdino models list` says where) and convert it: "
            f"`maskdino models convert CHECKPOINT.pth -o {name}.safetensors --preset {name}`."
            if published
            else "Train it: `maskdino train CONFIG.yaml`.",
        )
    raise ModelFileError(
        f"There is no model {name!r}: neither a file nor an embedded model.",
        hint=f"Embedded: {', '.join(embedded) or 'none'}.",
    )


@dataclass(frozen=True)
class ModelFile:
    """A model file whose header has been read and checked; its tensors are still in the file.

    Attributes:
        header: what it says of itself.
        shapes: of its tensors, by name.
    """

    path: Path
    header: ModelHeader
    shapes: dict[str, tuple[int, ...]]

    def load(self, *, device: str | torch.device = "cpu") -> FamilyModel:
        """Load the model; see `load_model`."""
        import torch
        from safetensors import SafetensorError, safe_open

        from engine.model.build import build_model

        with about_file("The model file", self.path):
            _check_shapes(self.header, self.shapes)
            model = build_model(self.header.config)
            try:
                with safe_open(self.path, framework="pt") as file, torch.no_grad():
                    for name, parameter in _distinct_tensors(model).items():
                        parameter.copy_(_checked(name, file.get_tensor(name), parameter))
            except SafetensorError as error:
                raise ModelFileError(f"it is not a whole safetensors file ({error}).") from error
            model.header = self.header
        try:
            return model.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            raise DeviceError(f"The model cannot go to device {str(device)!r}: {error}.", hint="Try 'cpu'.") from error


def open_model_file(name_or_path: str | os.PathLike[str]) -> ModelFile:
    """Read what a model file says about itself, without its tensors and without torch.

    Raises:
        ModelFileError: not a model file, truncated, or of an unknown version.
    """
    path = find_model_file(name_or_path)
    with about_file("The model file", path):
        return ModelFile(path, *_read(path))


def read_header(name_or_path: str | os.PathLike[str]) -> ModelHeader:
    """Read the header of a model file; see `open_model_file`."""
    return open_model_file(name_or_path).header


def load_model(name_or_path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> FamilyModel:
    """Load a model by the name of an embedded one or from a model file, ready to predict (``eval()``), in float32.

    The model's ``header`` is the file's.

    Raises:
        ModelFileError: not a model file, truncated, of an unknown version, or with tensors that are not finite.
        CheckpointMismatchError: its tensors are not those that its config builds.
        DeviceError: the device is not there.
    """
    return open_model_file(name_or_path).load(device=device)


def save_model(
    path: str | os.PathLike[str],
    model: nn.Module,
    header: ModelHeader,
    *,
    dtype: Literal["float16", "float32"] = "float32",
) -> Path:
    """Write a model file; under its final name it is whole or not there.

    Args:
        dtype: how floating point tensors are stored. Half the size costs about three decimal digits.

    Raises:
        ModelFileError: header and model disagree, or a tensor is not finite (in float16: beyond 65504).
        OutputError: the file cannot be written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    if header.config != model.config:
        raise ModelFileError(f"The header of {path.name!r} describes another model than the one to save.")
    stored = {"float16": torch.float16, "float32": torch.float32}[dtype]
    tensors = {}
    for name, tensor in _distinct_tensors(model).items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(stored)
            if not torch.isfinite(tensor).all():
                raise ModelFileError(f"{name} is not finite as {dtype}; the model is not saved as {path.name!r}.")
        tensors[name] = tensor.contiguous().clone()
    with OutputFile(path) as output, explained(path, SafetensorError):
        mode = output.part.stat().st_mode
        save_file(tensors, output.part, metadata={METADATA_KEY: header.to_json()})
        output.part.chmod(mode)  # safetensors makes files that their owner alone may read
        output.finish()
    return path


def _read(path: Path) -> tuple[ModelHeader, dict[str, tuple[int, ...]]]:
    """Read the header and the tensors' shapes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ModelFileError("it is not a safetensors file, or only the beginning of one.", hint=_way_out(path, start))
        text = file.read(length)
    try:
        entries = json.loads(text)
        metadata = entries.pop("__metadata__", {})
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        document = metadata.get(METADATA_KEY)
        whole = 8 + length + end == size
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ModelFileError("it is not a safetensors file.", hint=_way_out(path, start)) from error
    if not whole:
        raise ModelFileError(f"it has {size:,} bytes where its contents take {8 + length + end:,}: it is truncated.")
    if not isinstance(document, str) or len(document) > MAX_DOCUMENT_BYTES:
        raise ModelFileError(
            "it is a safetensors file without the header of a model.",
            hint="If it holds a published checkpoint: `maskdino models convert FILE -o MODEL.safetensors`.",
        )
    try:
        content = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ModelFileError("its header is not JSON.") from error
    header = parse_header(content)
    check_bounds(header, size)
    return header, shapes


def _way_out(path: Path, start: bytes) -> str | None:
    if path.suffix.lower() in (".pth", ".pt", ".pkl", ".ckpt") or start.startswith((b"PK\x03\x04", b"\x80")):
        return f"Published checkpoints are converted first: `maskdino models convert {path.name} -o MODEL.safetensors`."
    return None


def _check_shapes(header: ModelHeader, found: dict[str, tuple[int, ...]]) -> None:
    """Compare the file's tensors with those of the config, before any memory is taken for either."""
    import torch

    from engine.model.build import build_model

    config = header.config
    if config.layers > len(found):
        raise CheckpointMismatchError(f"its config has {config.layers} layers, the file only {len(found)} tensors.")
    try:
        with torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in _distinct_tensors(build_model(config)).items()}
    except ComponentError as error:
        raise ModelFileError(error.message, hint=error.hint) from error
    except (ValueError, TypeError, ArithmeticError, AssertionError, IndexError, RuntimeError) as error:
        raise ModelFileError(f"no model can be built from its config ({error}).") from error
    faults = [f"missing {name}" for name in expected if name not in found]
    faults += [f"left over {name[:80]}" for name in found if name not in expected]
    faults += [
        f"{name} has shape {found[name]}, its config says {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if faults:
        more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise CheckpointMismatchError(f"its tensors are not those of its config: {'; '.join(faults[:8])}{more}.")


def _checked(name: str, found: Tensor, expected: Tensor) -> Tensor:
    import torch

    if found.dtype != expected.dtype and not found.is_floating_point():
        raise ModelFileError(f"its tensor {name} holds {found.dtype} where {expected.dtype} belongs.")
    if found.is_floating_point() and not torch.isfinite(found).all():
        raise ModelFileError(f"its tensor {name} holds values that are not finite.")
    return found


def _distinct_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Name each parameter and persistent buffer once, by the first of its names."""
    seen: set[int] = set()
    tensors: dict[str, Any] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors
