"""The engine's one error hierarchy.

Each error is also the builtin that it resembles, so that callers who have never heard of this package can still catch it.
A message names the argument, its value and the way out; ``hint`` repeats the way out alone for user interfaces that show
it apart, and ``code`` names the kind of error in the JSON Lines protocol.
"""

from __future__ import annotations

import os

_SHOWN = 200  # characters of a file's name in a message


class MaskDinoError(Exception):
    """Base of every error that this project raises on purpose."""

    code = "failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message = message
        self.hint = hint


def about_a_file(error: Exception) -> MaskDinoError | None:
    """Return what the system says about a file, such as that its name is too long, in one line; None for other errors."""
    name = getattr(error, "filename", None)
    if not isinstance(error, OSError) or name is None or error.strerror is None:
        return None
    shown = os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return MaskDinoError(f"{shown}: {error.strerror[:1].lower()}{error.strerror[1:]}.", hint="Is it the name that was meant?")


class ArgumentError(MaskDinoError, ValueError):
    """An argument has a value that cannot work.

    Attributes:
        field: its name, where it is an option of a command.
    """

    code = "argument"

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class RequestError(ArgumentError):
    """A request is not one, or an option of it is unknown, missing, of the wrong type, or does not go with another."""

    code = "bad_request"


class ConfigError(ArgumentError):
    """A configuration has an unknown key or a value out of range."""

    code = "config"


class ComponentError(ConfigError):
    """A part of a model is the component of another package that is not there, not allowed, or not what it has to be."""

    code = "component"


class RasterError(MaskDinoError, OSError):
    """A raster cannot be opened or read."""

    code = "raster"


class NotLocalError(RasterError):
    """A raster reads from the network or from outside its own folder, which was forbidden."""

    code = "not_local"


class RasterFitError(MaskDinoError, ValueError):
    """A raster opens, but does not fit the model: bands, type, georeference, resolution."""

    code = "raster_fit"


class VectorError(MaskDinoError, OSError):
    """A vector file cannot be opened, read or used."""

    code = "vector"


class OutputError(MaskDinoError, OSError):
    """The output cannot be written where it was asked for."""

    code = "output"


class ModelFileError(MaskDinoError, ValueError):
    """A model file or checkpoint cannot be read, or is not what it claims to be."""

    code = "model_file"


class CheckpointMismatchError(ModelFileError, KeyError):
    """A state dict does not fit the model: names missing, left over, or of another shape."""

    code = "checkpoint_mismatch"

    def __str__(self) -> str:
        # KeyError would print the repr of the message, quotes and escapes included.
        return str(self.args[0])


class DeviceError(MaskDinoError, RuntimeError):
    """The device asked for is not there, or ran out of memory."""

    code = "device"


class KernelError(MaskDinoError, RuntimeError):
    """A kernel cannot be compiled, loaded or launched on this machine."""

    code = "kernel"


class UnsafeFileError(ModelFileError):
    """A file asks for code to be run while it is read. Nothing of it has been run."""

    code = "unsafe_file"


class CancelledError(MaskDinoError):
    """The run was cancelled; what had been found so far was written."""

    code = "cancelled"
