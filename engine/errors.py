"""The engine's one error hierarchy.

Each error is also the builtin that it resembles, so that callers who have never heard of this package can still catch it.
A message names the argument, its value and the way out; ``hint`` repeats the way out alone for user interfaces that show
it apart, and ``code`` names the kind of error in the JSON Lines protocol.
"""

from __future__ import annotations


class MaskDinoError(Exception):
    """Base of every error that this project raises on purpose."""

    code = "failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message = message
        self.hint = hint


class ArgumentError(MaskDinoError, ValueError):
    """An argument has a value that cannot work."""

    code = "argument"


class ConfigError(ArgumentError):
    """A configuration has an unknown key or a value out of range."""

    code = "config"


class RasterError(MaskDinoError, OSError):
    """A raster cannot be opened or read."""

    code = "raster"


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
