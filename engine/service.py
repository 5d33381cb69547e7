"""The engine as a process that a user interface talks to: requests in, events out, a JSON object a line.

``python -m engine.service`` says ``hello`` and then reads requests from standard input: ``{"id": 1, "command": "detect",
"arguments": {...}}``. A command of a group is named whole, as in ``models convert``. It answers each with ``progress`` and
``log`` events and one last event: ``result``, ``error`` or ``cancelled``. A line that is no request, or one with an
argument that is missing, unknown or of the wrong type, is answered by an error of the code ``bad_request``, which names the
``field``. ``{"command": "cancel", "id": 1}`` ends a job that runs or waits; without an id, whichever runs. One job runs at
a time. The process ends when its standard input closes, in the middle of a job too.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from multiprocessing import active_children
from typing import Any

from engine.commands import answer, command_modules
from engine.commands.terminal import FAILED, leave
from engine.device import share_the_cores
from engine.distribution import version
from engine.errors import ArgumentError, CancelledError, MaskDinoError, RequestError, about_a_file
from engine.job import Job
from engine.json_lines import EventHandler, EventStream

PROTOCOL = 1
_LONGEST_LINE = 1 << 24  # bytes
_LONGEST_ID = 1000  # characters
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
        self._refusals: queue.Queue[Callable[[], None]] = queue.Queue()
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
        listener = threading.Thread(target=self._listen, name="maskdino-requests", daemon=True)
        listener.start()
        threading.Thread(target=self._send_refusals, name="maskdino-refusals", daemon=True).start()
        while (request := self._requests.get()) is not None:
            self._answer(request)
            with self._lock:
                self._open.pop(id(request), None)
                if not self._open:
                    self._idle.set()
        listener.join()  # which ends the process, when the last answers are on their way

    def _listen(self) -> None:
        """Read requests until there are no more to come; whatever happens on the way, the process ends with its input."""
        try:
            while line := self._next_line():
                if line.strip():
                    self._understand(line)
        finally:
            self.shut_down()

    def _next_line(self) -> bytes:
        """Return the next line with its end, empty at the end of input; of one beyond all measure its first part alone."""
        if sys.stdin is None:  # closed from the beginning
            return b""
        line = rest = sys.stdin.buffer.readline(_LONGEST_LINE)
        while len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = sys.stdin.buffer.readline(_LONGEST_LINE)
        return line

    def shut_down(self) -> None:
        """Cancel what runs, give it a moment to write what it found, and end the process."""
        with self._lock:
            for request in self._open.values():
                request.job.cancelled.set()
        self._requests.put(None)
        deadline = time.monotonic() + GRACE
        self._idle.wait(GRACE)
        while self._refusals.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        for child in active_children():  # those that prepare images for a training would notice half a minute later
            child.kill()
        # A job that does not end, or a library that waits for its own threads, must not outlive the one who asked.
        os._exit(0)

    def _understand(self, line: bytes) -> None:
        """Take in one line; whatever is wrong with it is answered by one error, and the next one is read."""
        number = None
        try:
            message = _parsed(line)
            number = _checked_id(message)
            self._receive(number, message)
        except Exception as error:
            self._refuse(number, error if isinstance(error, MaskDinoError) else RequestError(f"A request is not one: {error}."))

    def _refuse(self, number: Any, error: MaskDinoError) -> None:
        """Answer a line that is no request, without waiting for whoever should read the answer: a cancel may follow."""
        self._refusals.put(lambda: self._error(number, error))

    def _send_refusals(self) -> None:
        while True:
            self._refusals.get()()
            self._refusals.task_done()

    def _receive(self, number: Any, message: dict[str, Any]) -> None:
        command, arguments = message.get("command"), message.get("arguments", {})
        if command == "cancel":
            self._cancel(message)
            return
        if not isinstance(command, str) or command.partition(" ")[0] not in command_modules():
            shown = repr(command)[:80] if isinstance(command, str | None) else f"of the type {type(command).__name__}"
            known = ", ".join([*command_modules(), "cancel"])
            raise RequestError(f"There is no command {shown}.", field="command", hint=f"Known are {known}.")
        if not isinstance(arguments, dict):
            raise RequestError(f"The arguments of '{command}' are a JSON object.", field="arguments")
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
            result = answer(request.command, request.arguments, request.job)
            self._events.send("cancelled" if result.get("cancelled") else "result", id=request.id, **result)
        except CancelledError as error:
            self._events.send("cancelled", id=request.id, message=error.message)
        except Exception as error:  # one job's failure, of whatever kind, is an answer; the next request is served
            self._error(request.id, error)

    def _error(self, number: Any, error: Exception) -> None:
        error = about_a_file(error) or error
        if isinstance(error, MaskDinoError):
            field = {"field": error.field} if isinstance(error, ArgumentError) else {}
            self._events.send("error", id=number, code=error.code, message=error.message, hint=error.hint, **field)
        else:
            logging.getLogger("engine").debug("Unexpected error", exc_info=error)
            code = "memory" if isinstance(error, MemoryError) else "internal"
            self._events.send("error", id=number, code=code, message=f"{type(error).__name__}: {error}", hint=None)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits, and no UTF-8
        raise RequestError(f"A request is not JSON: {str(error)[:200]}.") from error
    if not isinstance(message, dict):
        raise RequestError("A request is a JSON object.", hint='For example {"id": 1, "command": "doctor"}.')
    return message


def _checked_id(message: dict[str, Any]) -> Any:
    number = message.get("id")
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) < 2**63
    if not (number is None or is_number or (isinstance(number, str) and len(number) <= _LONGEST_ID)):
        raise RequestError("The id of a request is a number or a short text.", field="id")
    return number


def _fields(progress: Any) -> dict[str, Any]:
    return asdict(progress) if is_dataclass(progress) else dict(progress)


def main() -> None:
    """Serve standard input until it closes."""
    share_the_cores()
    try:
        events = EventStream.take_stdout()
    except MaskDinoError as error:
        leave(FAILED, str(error))
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
