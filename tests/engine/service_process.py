"""A real service process to talk to."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from typing import Any


class ServiceProcess:
    """``python -m engine.service`` with its events in a queue."""

    def __init__(self, *, program: list[str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *(program or ["-m", "engine.service"])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._drain, daemon=True).start()
        self.stderr = b""

    def _read(self) -> None:
        for line in self.process.stdout:
            self._events.put(json.loads(line))  # a line that is no JSON fails the test: the event never comes
        self._events.put(None)

    def _drain(self) -> None:
        self.stderr = self.process.stderr.read()

    def send(self, message: Any) -> None:
        """Send one request; bytes go as they are."""
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def event(self, timeout: float = 60) -> dict[str, Any] | None:
        """Wait for the next event; None when there will be no more."""
        return self._events.get(timeout=timeout)

    def until(self, *kinds: str, timeout: float = 60) -> list[dict[str, Any]]:
        """Collect events up to the first of these kinds, which is the last of the list."""
        events = [self.event(timeout)]
        while events[-1]["event"] not in kinds:
            events.append(self.event(timeout))
        return events

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        finally:
            self.process.kill()
