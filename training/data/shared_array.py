"""Arrays that the processes which prepare images look at together instead of holding a copy each."""

from __future__ import annotations

from typing import Any

import numpy as np


class SharedArray:
    """A numpy array whose memory is shared when it is sent to another process of this machine.

    Until then it is ordinary memory: a run without such processes needs no room in ``/dev/shm``.

    Args:
        values: of any type that holds no Python objects.
    """

    def __init__(self, values: np.ndarray) -> None:
        values = np.require(values, requirements=("C", "W"))
        self._dtype, self._shape = values.dtype, values.shape
        self._own: np.ndarray | None = values
        self._shared: Any = None  # a tensor of bytes

    @property
    def values(self) -> np.ndarray:
        """The array, without a copy; not to be written to."""
        return self._own if self._shared is None else self._shared.numpy().view(self._dtype).reshape(self._shape)

    def share(self) -> None:
        """Move to shared memory. What was taken from ``values`` before stays valid, and stays where it was."""
        if self._own is not None and self._own.size:
            import torch  # half a gigabyte, which an audit does without

            self._shared = torch.from_numpy(self._own.reshape(-1).view(np.uint8)).clone().share_memory_()
            self._own = None

    def __getstate__(self) -> dict[str, Any]:
        self.share()
        return self.__dict__
