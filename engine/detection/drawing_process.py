"""Make footprints in processes of their own, where a GPU finds buildings faster than one Python can draw them.

A process is started by name and told what to draw through its standard input, which closes when the program that started it
ends in whatever way: no process outlives it. (Python's own pools would run the user's script once more in each process, which
a script of two lines is not made for.) What passes between them is pickled; neither side takes it from anybody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import BinaryIO

import shapely

from engine.detection.footprints import FootprintMaker, Footprints
from engine.detection.pieces import Building
from engine.errors import MaskDinoError

_POLL = 0.05  # seconds between two looks at whether to hurry
_HURRY = "hurry"

# It finds modules where this program does, and not in the folder that it happens to be started in. What is printed while
# they are imported must not get between the answers.
_START = f"""
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
from {__name__} import serve
serve(sys.stdin.buffer, answers)
"""


class DrawingProcesses:
    """Make footprints as a `FootprintMaker` does, in as many processes as there are threads that ask at once."""

    def __init__(self, maker: FootprintMaker) -> None:
        self._maker = maker
        self._lock = threading.Lock()
        self._idle: list[_DrawingProcess] = []
        self._all: list[_DrawingProcess] = []
        self._closed = False

    def footprints_of(self, buildings: Sequence[Building], *, in_a_hurry: Callable[[], bool] = bool) -> Footprints:
        """Make the footprints of some buildings; see `engine.detection.footprints.FootprintMaker`.

        Raises:
            MaskDinoError: a process ended before it was done.
        """
        process = self._taken(start=not in_a_hurry())
        if process is None:  # no time for one to start
            return self._maker.footprints_of(buildings, in_a_hurry=in_a_hurry)
        footprints = process.draw(buildings, in_a_hurry)
        with self._lock:
            self._idle.append(process)
        return footprints

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        with self._lock:
            self._closed = True
        for process in self._all:
            process.close()

    def _taken(self, *, start: bool) -> _DrawingProcess | None:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if not start or self._closed:
                return None
            process = _DrawingProcess(self._maker)
            self._all.append(process)
            return process


class _DrawingProcess:
    def __init__(self, maker: FootprintMaker) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the program, which lets what was begun be ended
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="maskdino-drawing-process", daemon=True).start()
        self._send(maker)

    def draw(self, buildings: Sequence[Building], in_a_hurry: Callable[[], bool]) -> Footprints:
        self._send(list(buildings))
        told = False
        while True:
            if not told and in_a_hurry():
                self._send(_HURRY)
                told = True
            try:
                answer = self._answers.get(timeout=_POLL)
            except queue.Empty:
                continue
            if isinstance(answer, Exception):
                raise answer
            geometries, scores, areas = answer
            return Footprints(shapely.from_wkb(geometries), scores, areas)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what it was not told any more, because it had ended
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended, or was closed: `_listen` says so
            pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()

    def _listen(self) -> None:
        with self._process.stdout as answers:
            try:
                while True:
                    self._answers.put(pickle.load(answers))
            except EOFError:
                status = self._process.wait()
                error = MaskDinoError(
                    f"A process that draws outlines ended with status {status}.",
                    hint="Where memory runs out, the system ends processes: give fewer --workers.",
                )
            except Exception as problem:  # whatever it is, somebody waits for an answer
                error = MaskDinoError(f"A process that draws outlines gave what is no answer: {problem!r}.")
            self._answers.put(error)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Draw what is asked for until there is nobody left who asks."""
    asked: queue.SimpleQueue = queue.SimpleQueue()
    hurry = threading.Event()
    threading.Thread(target=_take, args=(requests, asked, hurry), daemon=True).start()
    maker: FootprintMaker = asked.get()
    while True:
        buildings = asked.get()
        try:
            footprints = maker.footprints_of(buildings, in_a_hurry=hurry.is_set)
            answer = shapely.to_wkb(footprints.geometries), footprints.scores, footprints.areas
        except Exception as error:  # whatever it is, it belongs to whoever asked
            answer = error if isinstance(error, MaskDinoError) else MaskDinoError(f"Outlines cannot be drawn: {error!r}.")
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _take(requests: BinaryIO, asked: queue.SimpleQueue, hurry: threading.Event) -> None:
    """Take requests as they come; when no more can come, end the process at once, in the middle of whatever it does."""
    status = 1
    try:
        while True:
            message = pickle.load(requests)
            if isinstance(message, str) and message == _HURRY:
                hurry.set()
            else:
                asked.put(message)
    except EOFError:
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)
