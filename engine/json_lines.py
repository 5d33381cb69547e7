"""Write events as JSON Lines on a stream that nothing else can reach."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
from contextlib import suppress
from typing import Any

from engine.errors import OutputError


class EventStream:
    """One JSON object a line. Events of several threads never mix."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    @classmethod
    def take_stdout(cls) -> EventStream:
        """Take standard output for events alone: from now on, whatever else prints there, C code included, prints to stderr.

        Raises:
            OutputError: standard output is closed.
        """
        if sys.stdout is None:
            raise OutputError("Standard output is closed, and events go there.", hint="Redirect it, for example to a file.")
        sys.stdout.flush()
        stream = cls(os.dup(1))
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return stream

    def send(self, event: str, **fields: Any) -> None:
        """Write one event. A reader that has gone away, or a full disk, is no error: a job goes on without being watched."""
        line = (json.dumps(_plain({"event": event, **fields}), allow_nan=False) + "\n").encode()
        with self._lock, suppress(OSError):
            while line:
                line = line[os.write(self._descriptor, line) :]


class EventHandler(logging.Handler):
    """Send log records as events."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__(logging.INFO)
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        self._stream.send("log", level=record.levelname.lower(), message=record.getMessage())


def _plain(value: Any) -> Any:
    """Make a value fit for JSON, which knows neither NaN nor infinity nor paths."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return _plain(value.item())
    return str(value)
