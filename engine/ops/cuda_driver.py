"""Load compiled kernels into a GPU and start them on torch's streams, through the driver's own interface."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

from engine.errors import KernelError
from engine.ops.cuda_problem import Launch, Problem


class LoadedKernels:
    """The kernels of one compiled source on one device."""

    def __init__(self, binary: bytes, device: int) -> None:
        self._context = _primary_context(device)
        with _current(self._context):
            (self._module,) = _called("cuModuleLoadData", binary)
        self._functions: dict[bytes, Any] = {}

    def start(self, name: bytes, launch: Launch, problem: Problem, stream: int) -> None:
        """Queue a kernel on a stream of the device; the problem is copied before this returns."""
        argument = (ctypes.c_void_p * 1)(ctypes.addressof(problem))
        with _current(self._context):
            if name not in self._functions:
                (self._functions[name],) = _called("cuModuleGetFunction", self._module, name)
            _called(
                "cuLaunchKernel",
                self._functions[name],
                *(launch.blocks, 1, 1),
                *(launch.threads, 1, 1),
                launch.shared_bytes,
                stream,
                ctypes.addressof(argument),
                0,
            )


@functools.cache
def _primary_context(device: int) -> Any:
    """Return the context that torch uses on a device."""
    _called("cuInit", 0)
    (handle,) = _called("cuDeviceGet", device)
    return _called("cuDevicePrimaryCtxRetain", handle)[0]


@contextlib.contextmanager
def _current(context: Any) -> Iterator[None]:
    """Make a context this thread's current one: a thread that has not used CUDA yet has none, or that of another device."""
    (found,) = _called("cuCtxGetCurrent")
    if int(found) == int(context):
        yield
        return
    _called("cuCtxPushCurrent", context)
    try:
        yield
    finally:
        _called("cuCtxPopCurrent")


def _called(name: str, *arguments: Any) -> tuple[Any, ...]:
    """Call a function of the driver and return what follows its status."""
    from cuda.bindings import driver

    status, *results = getattr(driver, name)(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise KernelError(f"{name} failed: {status.name}.")
    return tuple(results)
