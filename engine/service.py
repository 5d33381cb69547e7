"""The engine as a process that a user interface talks to: requests in, events out, a JSON object a line.

``python -m engine.service`` says ``hello`` and then reads requests from standard input:
``{"id": 1, "command": "detect", "arguments": {...}}``. It answers each with ``progress`` and ``log`` events and one last
event: ``result``, ``error`` or ``cancelled``. ``{"command": "cancel", "id": 1}`` ends a job that runs or waits; without an
id, whichever runs. One job runs at a time. The process ends when its standard input closes, in the middle of a job too.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict, dataclass, is_dataclass
from multiprocessing import active_children
from typing import Any

from engine.commands import command_modules, load_command
from engine.device import share_the_cores
from engine.distribution import version
from engine.errors import ArgumentError, CancelledError, MaskDinoError
from engine.job import Job
from engine.json_lines import EventHandler, EventStream

PROTOCOL = 1
GRACE = 1.8  # seconds that a job has to end in good order after standard input closed


@dataclass
class Request:
    """One request that was understood."""

    id: Any
    command: str
    arguments: dict[str, Any]
    job: Job


class Service:
    """The loop: one thread reads requests, so that a cancel is heard at once; the main thread runs the jobs."""

    def __init__(self, events: EventStream) -> None:
        self._events = events
        self._requests: queue.Queue[Request | None] = queue.Queue()
        self._open: dict[int, Request] = {}  # requests that run or wait, by their place in the order
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()

    def run(self) -> None:
        """Answer requests until standard input closes."""
        self._events.send(
            "hello",
            protocol=PROTOCOL,
            version=version(),
            python=".".join(map(str, sys.version_info[:3])),
            commands=[*command_modules(), "cancel"],
            pid=os.getpid(),
        )
        threading.Thread(target=self._listen, name="maskdino-requests", daemon=True).start()
        while (request := self._requests.get()) is not None:
            self._answer(request)
            with self._lock:
                self._open.pop(id(request), None)
                if not self._open:
                    self._idle.set()

    def _listen(self) -> None:
        """Read requests until there are no more to come."""
        for line in sys.stdin.buffer:
            if line.strip():
                self._understand(line)
        self.shut_down()

    def shut_down(self) -> None:
        """Cancel what runs, give it a moment to write what it found, and end the process."""
        with self._lock:
            for request in self._open.values():
                request.job.cancelled.set()
        self._requests.put(None)
        self._idle.wait(GRACE)
        for child in active_children():  # those that prepare images for a training would notice half a minute later
            child.kill()
        # A job that does not end, or a library that waits for its own threads, must not outlive the one who asked.
        os._exit(0)

    def _understand(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ArgumentError("A request is a JSON object.", hint='For example {"id": 1, "command": "doctor"}.')
            self._receive(message)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            self._error(None, ArgumentError(f"A request is not JSON: {error}."))
        except ArgumentError as error:
            self._error(message.get("id") if isinstance(message, dict) else None, error)

    def _receive(self, message: dict[str, Any]) -> None:
        command, arguments = message.get("command"), message.get("arguments", {})
        if command == "cancel":
            self._cancel(message)
            return
        if not isinstance(command, str) or command not in command_modules():
            raise ArgumentError(
                f"There is no command {command!r}.", hint=f"Known are {', '.join([*command_modules(), 'cancel'])}."
            )
        if not isinstance(arguments, dict):
            raise ArgumentError(f"The arguments of '{command}' are a JSON object.")
        number = message.get("id")
        report = lambda progress: self._events.send("progress", id=number, **_fields(progress))  # noqa: E731
        request = Request(number, command, arguments, Job(report=report))
        with self._lock:
            self._open[id(request)] = request
            self._idle.clear()
        self._requests.put(request)

    def _cancel(self, message: dict[str, Any]) -> None:
        with self._lock:
            requests = list(self._open.values())
        if "id" in message:
            requests = [request for request in requests if request.id == message["id"]]
        else:
            requests = requests[:1]
        for request in requests:
            request.job.cancelled.set()

    def _answer(self, request: Request) -> None:
        try:
            if request.job.cancelled.is_set():
                raise CancelledError("Cancelled before it began.")
            module = load_command(request.command)
            if not hasattr(module, "serve"):
                raise ArgumentError(f"'{request.command}' is a command for the terminal alone.")
            result = module.serve(request.arguments, request.job)
            self._events.send("cancelled" if result.get("cancelled") else "result", id=request.id, **result)
        except CancelledError as error:
            self._events.send("cancelled", id=request.id, message=error.message)
        except Exception as error:  # one job's failure, of whatever kind, is an answer; the next request is served
            self._error(request.id, error)

    def _error(self, number: Any, error: Exception) -> None:
        if isinstance(error, MaskDinoError):
            self._events.send("error", id=number, code=error.code, message=error.message, hint=error.hint)
        else:
            logging.getLogger("engine").debug("Unexpected error", exc_info=error)
            code = "memory" if isinstance(error, MemoryError) else "internal"
            self._events.send("error", id=number, code=code, message=f"{type(error).__name__}: {error}", hint=None)


def _fields(progress: Any) -> dict[str, Any]:
    return asdict(progress) if is_dataclass(progress) else dict(progress)


def main() -> None:
    """Serve standard input until it closes."""
    share_the_cores()
    events = EventStream.take_stdout()
    logging.captureWarnings(True)
    for name in ("engine", "training"):
        logging.getLogger(name).addHandler(EventHandler(events))
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).propagate = False
    service = Service(events)
    # A Ctrl-C in the terminal that QGIS was started from goes to QGIS, which then closes standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=service.shut_down, daemon=True).start())
    service.run()


if __name__ == "__main__":
    main()
