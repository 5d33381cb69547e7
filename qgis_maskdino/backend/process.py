"""One running engine: started, asked, listened to, cancelled, ended. Nothing here needs an event loop or the main thread.

The engine is ``python -m engine.service`` in a process of its own: one request a line on its standard input, one event a line
on its standard output, both JSON (``engine/service.py``). It ends when its standard input closes, so that none outlives a
QGIS that was closed, crashed or killed.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from qgis.PyQt.QtCore import QProcess

from qgis_maskdino.backend.error import EngineError, explain_death, repair_hint
from qgis_maskdino.backend.line_buffer import LineBuffer
from qgis_maskdino.backend.variables import engine_variables
from qgis_maskdino.translation import tr

PROTOCOL = 1
SLICE = 100  # milliseconds between two looks at whether the job was cancelled
HELLO_WITHIN = 60.0  # seconds; a cold disk on a laptop needs ten
CANCEL_WITHIN = 2.0  # seconds that the engine has to end a job in good order; the contract of the protocol
_DYING = 20  # milliseconds in which an engine that is about to end does so
CLOSE_WITHIN = 2500  # milliseconds; the engine gives its job 1.8 s
STDERR_LINES = 200
_LAST_EVENTS = ("result", "error", "cancelled")


class EngineProcess:
    """A child process of QGIS. To be used in the thread that made it, and closed; a context manager closes it.

    Args:
        python: the interpreter that has the engine's packages.
        sources: the folder with the packages ``engine`` and ``training``; None where the interpreter has them installed.
        on_log: called with each line that the engine writes to standard error.

    Raises:
        EngineError: the interpreter could not be started.
    """

    def __init__(self, python: str, *, sources: str | None = None, on_log: Callable[[str], None] | None = None) -> None:
        self._on_log = on_log
        self._hello: dict[str, Any] | None = None
        self._requests = 0
        self._is_asked = False  # a request waits for its answer
        self._output = LineBuffer()
        self._errors = LineBuffer()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._events: deque[dict[str, Any]] = deque()
        python = os.path.abspath(shutil.which(python) or python)
        self._process = QProcess()
        self._process.setProgram(python)
        self._process.setArguments(["-m", "engine.service"])
        self._process.setProcessEnvironment(engine_variables(sources))
        # Python imports from the folder that it starts in before any other: never one that strangers may write to.
        self._process.setWorkingDirectory(os.path.dirname(python))
        self._process.start()
        if not self._process.waitForStarted(10_000):
            raise EngineError(
                tr("The engine's interpreter {} could not be started: {}.").format(python, self._process.errorString()),
                code="start",
                hint=repair_hint(),
            )

    def run(
        self,
        command: str,
        arguments: dict[str, Any],
        *,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        cancel_within: float = CANCEL_WITHIN,
    ) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Args:
            command: for example ``detect``.
            arguments: the command's, by name; paths are absolute.
            on_event: called with each ``progress`` and ``log`` event.
            is_cancelled: asked several times a second; once it says yes the job is cancelled.
            cancel_within: seconds that the engine has to end a cancelled job in good order, before it is killed.

        Returns:
            The fields of the engine's result; ``cancelled`` is True in it where the job was cancelled. An engine that did not
            end a cancelled job in time has been killed: then nothing else is in it.

        Raises:
            EngineError: the engine answered with an error, died, or is none.
        """
        cancelled_at: float | None = None
        number: int | None = None
        deadline = time.monotonic() + HELLO_WITHIN
        while True:
            if cancelled_at is None and is_cancelled is not None and is_cancelled():
                if number is None:
                    self.close(at_once=True)
                    return {"cancelled": True}
                cancelled_at = time.monotonic()
                self._send({"command": "cancel", "id": number})
            if cancelled_at is not None and time.monotonic() - cancelled_at > cancel_within:
                self.close(at_once=True)
                return {"cancelled": True}
            if number is None:
                if self._hello is not None or self._said_hello(deadline):
                    self._requests += 1
                    number = self._requests
                    self._is_asked = True
                    self._send({"id": number, "command": command, "arguments": arguments})
                continue
            event = self._next_event()
            if event is not None and event.get("id", number) == number:
                self._is_asked = event.get("event") not in _LAST_EVENTS
                answer = self._answer(event, on_event)
                if answer is not None:
                    return answer

    def is_idle(self) -> bool:
        """Return whether it is there and has answered all that it was asked."""
        running = self._process.state() == QProcess.ProcessState.Running
        return running and not self._is_asked and not self._process.waitForFinished(_DYING)

    def listen(self, on_log: Callable[[str], None] | None) -> None:
        """Let another one have the lines that it writes to standard error; the details are of those from now on."""
        self._on_log = on_log
        self._stderr.clear()

    def close(self, *, at_once: bool = False) -> None:
        """End the engine: by closing its standard input, and by force where that does not do, or ``at_once``."""
        if self._process.state() == QProcess.ProcessState.NotRunning:
            return
        self._process.closeWriteChannel()
        if at_once or not self._process.waitForFinished(CLOSE_WITHIN):
            self._process.kill()
            self._process.waitForFinished(CLOSE_WITHIN)

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's number; 0 when it has ended."""
        return self._process.processId()

    @property
    def version(self) -> str:
        """The engine's version; empty before it has said hello."""
        return str((self._hello or {}).get("version", ""))

    @property
    def details(self) -> str:
        """The end of what the engine wrote to standard error."""
        return "\n".join(self._stderr)

    def _send(self, message: dict[str, Any]) -> None:
        self._process.write(json.dumps(message).encode("ascii") + b"\n")
        self._process.waitForBytesWritten(SLICE)

    def _said_hello(self, deadline: float) -> bool:
        """Wait a moment for the engine's first words, and hold them against what this plugin understands."""
        event = self._next_event()
        if event is None:
            if time.monotonic() > deadline:
                self.close(at_once=True)
                sentence = tr("The engine did not answer within {:.0f} seconds.").format(HELLO_WITHIN)
                raise EngineError(sentence, code="protocol", hint=repair_hint(), details=self.details)
            return False
        if event.get("event") != "hello":
            return False
        if event.get("protocol") != PROTOCOL:
            self.close()
            raise EngineError(
                tr("The engine (version {}) speaks protocol {}, this plugin speaks {}: they are of different versions.").format(
                    event.get("version", "?"), event.get("protocol"), PROTOCOL
                ),
                code="protocol",
                hint=repair_hint(),
                details=self.details,
            )
        self._hello = event
        return True

    def _answer(self, event: dict[str, Any], on_event: Callable[[dict[str, Any]], None] | None) -> dict[str, Any] | None:
        kind = event.get("event")
        fields = {name: value for name, value in event.items() if name not in ("event", "id")}
        if kind == "error":
            message = str(event.get("message") or tr("The engine failed and did not say why."))
            raise EngineError(message, code=str(event.get("code")), hint=event.get("hint"), details=self.details)
        if kind == "cancelled":
            return {**fields, "cancelled": True}
        if kind == "result":
            return fields
        if on_event is not None:
            on_event(event)
        return None

    def _next_event(self) -> dict[str, Any] | None:
        """Return the next event, or None when there was none for a moment."""
        if not self._events:
            self._listen()
        if self._events:
            return self._events.popleft()
        if self._process.state() == QProcess.ProcessState.NotRunning:
            crashed = self._process.exitStatus() == QProcess.ExitStatus.CrashExit
            raise explain_death(self._process.exitCode(), crashed=crashed, stderr=self.details)
        return None

    def _listen(self) -> None:
        """Take in what the engine has written, whole lines of it, waiting a moment for the first."""
        began = time.monotonic()
        arrived = self._process.waitForReadyRead(SLICE)
        ended = self._process.state() == QProcess.ProcessState.NotRunning
        for line in self._errors.take(self._process.readAllStandardError().data(), last=ended):
            text = line.decode("utf-8", "replace").rstrip()
            self._stderr.append(text)
            if self._on_log is not None:
                self._on_log(text)
        for line in self._output.take(self._process.readAllStandardOutput().data()):
            event = _event(line)
            if event is not None:
                self._events.append(event)
            elif line.strip():
                self._stderr.append(line[:1000].decode("utf-8", "replace").rstrip())
        if not arrived and not ended and time.monotonic() - began < SLICE / 2000:
            time.sleep(SLICE / 2000)  # its output is closed and it lives: waiting returns at once, and must not spin


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line; None for a line that is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "event" in event else None
