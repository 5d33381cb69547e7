"""Make footprints in processes of their own, where a GPU finds buildings faster than one Python can draw them.

A process is started by name and told what to draw through its standard input, which closes when the program that started it
ends in whatever way: no process outlives it. (Python's own pools would run the user's script once more in each process, which
a script of two lines is not made for.) What passes between them is pickled; neither side takes it from anybody else.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO

import shapely

from engine.detection.footprints import FootprintMaker, Footprints
from engine.detection.pieces import Building
from engine.errors import MaskDinoError

_POLL = 0.05  # seconds between two looks at whether to hurry
_HURRY = "hurry"


class DrawingProcesses:
    """Make footprints as a `FootprintMaker` does, in as many processes as there are threads that ask at once."""

    def __init__(self, maker: FootprintMaker) -> None:
        self._maker = maker
        self._idle: queue.LifoQueue[_DrawingProcess] = queue.LifoQueue()
        self._all: list[_DrawingProcess] = []

    def footprints_of(self, buildings: Sequence[Building], *, in_a_hurry: Callable[[], bool] = bool) -> Footprints:
        """Make the footprints of some buildings; see `engine.detection.footprints.FootprintMaker`.

        Raises:
            MaskDinoError: a process ended before it was done.
        """
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = _DrawingProcess(self._maker)
            self._all.append(process)
        footprints = process.draw(buildings, in_a_hurry)
        self._idle.put(process)
        return footprints

    def close(self) -> None:
        """End the processes. None may be at work any more."""
        for process in self._all:
            process.close()


class _DrawingProcess:
    def __init__(self, maker: FootprintMaker) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
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
        self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        try:
            pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except OSError:  # it ended; `_listen` says so
            return

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(pickle.load(self._process.stdout))
        except (EOFError, pickle.UnpicklingError, ValueError):
            status = self._process.wait()
            self._answers.put(
                MaskDinoError(
                    f"A process that draws outlines ended with status {status}.",
                    hint="Where memory runs out, the system ends processes: give fewer --workers.",
                )
            )


def main() -> None:
    """Draw what is asked for on standard input until it closes."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: queue.SimpleQueue = queue.SimpleQueue()
    hurry = threading.Event()
    threading.Thread(target=_take, args=(sys.stdin.buffer, requests, hurry), daemon=True).start()
    maker: FootprintMaker = requests.get()
    while True:
        buildings = requests.get()
        try:
            footprints = maker.footprints_of(buildings, in_a_hurry=hurry.is_set)
            answer = shapely.to_wkb(footprints.geometries), footprints.scores, footprints.areas
        except Exception as error:  # whatever it is, it belongs to whoever asked
            answer = error if isinstance(error, MaskDinoError) else MaskDinoError(f"Outlines cannot be drawn: {error!r}.")
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _take(source: BinaryIO, requests: queue.SimpleQueue, hurry: threading.Event) -> None:
    try:
        while True:
            message = pickle.load(source)
            if message == _HURRY:
                hurry.set()
            else:
                requests.put(message)
    finally:
        os._exit(0)  # the program that asked has ended, or wants nothing more


if __name__ == "__main__":
    main()
