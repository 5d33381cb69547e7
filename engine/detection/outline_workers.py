"""Make footprints in processes of their own, where a GPU finds buildings faster than one Python can draw them.

A process is started by name and told what to draw through its standard input, which closes when the program that started it
ends in whatever way: no process outlives it. (Python's own pools would run the user's script once more in each process, which
a script of two lines is not made for.) What passes between them are frames: a byte that says what follows, its length, data.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import struct
import subprocess  # nosec B404 - it starts this Python with a program of its own
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np
import shapely

from engine.detection.footprints import FootprintMaker, Footprints
from engine.detection.merging.tile_instances import Building, packed, unpacked
from engine.errors import MaskDinoError

_POLL = 0.05  # seconds between two looks at whether to cancelling
_FRAME = struct.Struct("<cq")  # kind and length
_MAKER, _DRAW, _CANCELLING, _DRAWN, _FAILED = (bytes([letter]) for letter in b"mdhrf")

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


class OutlineWorkers:
    """Make footprints as a `FootprintMaker` does, in as many processes as there are threads that ask at once."""

    def __init__(self, maker: FootprintMaker) -> None:
        self._maker = maker
        self._lock = threading.Lock()
        self._idle: list[_OutlineWorker] = []
        self._all: list[_OutlineWorker] = []
        self._closed = False

    def footprints_of(self, buildings: Sequence[Building], *, cancelling: Callable[[], bool] = bool) -> Footprints:
        """Make the footprints of some buildings; see `engine.detection.footprints.FootprintMaker`.

        Raises:
            MaskDinoError: a process ended before it was done.
        """
        process = self._taken(start=not cancelling())
        if process is None:  # no time for one to start
            return self._maker.footprints_of(buildings, cancelling=cancelling)
        footprints = process.draw(buildings, cancelling)
        with self._lock:
            self._idle.append(process)
        return footprints

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        with self._lock:
            self._closed = True
        for process in self._all:
            process.close()

    def _taken(self, *, start: bool) -> _OutlineWorker | None:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if not start or self._closed:
                return None
            process = _OutlineWorker(self._maker)
            self._all.append(process)
            return process


class _OutlineWorker:
    def __init__(self, maker: FootprintMaker) -> None:
        self._process = subprocess.Popen(  # nosec B603 - no word of it comes from outside
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the program, which lets what was begun be ended
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="maskdino-drawing-process", daemon=True).start()
        self._send(_MAKER, maker.to_json().encode())

    def draw(self, buildings: Sequence[Building], cancelling: Callable[[], bool]) -> Footprints:
        self._send(_DRAW, packed(buildings))
        told = False
        while True:
            if not told and cancelling():
                self._send(_CANCELLING, b"")
                told = True
            try:
                answer = self._answers.get(timeout=_POLL)
            except queue.Empty:
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what it was not told any more, because it had ended
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, kind: bytes, data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended, or was closed: `_listen` says so
            _write(self._process.stdin, kind, data)

    def _listen(self) -> None:
        with self._process.stdout as answers:
            try:
                while True:
                    kind, data = _read(answers)
                    if kind not in (_DRAWN, _FAILED):
                        raise ValueError(data[:100])
                    self._answers.put(_footprints(data) if kind == _DRAWN else MaskDinoError(data.decode()))
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
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    cancelling = threading.Event()
    threading.Thread(target=_take, args=(requests, asked, cancelling), daemon=True).start()
    maker = FootprintMaker.from_json(asked.get().decode())
    while True:
        buildings = list(unpacked(asked.get()))
        try:
            kind, data = _DRAWN, _data(maker.footprints_of(buildings, cancelling=cancelling.is_set))
        except MaskDinoError as error:
            kind, data = _FAILED, str(error).encode()
        except Exception as error:  # whatever it is, it belongs to whoever asked
            kind, data = _FAILED, f"Outlines cannot be drawn: {error!r}.".encode()
        _write(answers, kind, data)


def _take(requests: BinaryIO, asked: queue.SimpleQueue[bytes], cancelling: threading.Event) -> None:
    """Take requests as they come; when no more can come, end the process at once, in the middle of whatever it does."""
    status = 1
    try:
        while True:
            kind, data = _read(requests)
            if kind == _CANCELLING:
                cancelling.set()
            else:
                asked.put(data)
    except EOFError:
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def _write(stream: BinaryIO, kind: bytes, data: bytes) -> None:
    stream.write(_FRAME.pack(kind, len(data)) + data)
    stream.flush()


def _read(stream: BinaryIO) -> tuple[bytes, bytes]:
    """Read a frame.

    Raises:
        EOFError: the stream ended.
        ValueError: this is no frame.
    """
    head = stream.read(_FRAME.size)
    if not head:
        raise EOFError
    if len(head) < _FRAME.size or head[:1] not in (_MAKER, _DRAW, _CANCELLING, _DRAWN, _FAILED):
        raise ValueError(head)
    kind, length = _FRAME.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return kind, data


def _data(footprints: Footprints) -> bytes:
    texts = shapely.to_wkb(footprints.geometries)
    stream = io.BytesIO()
    np.savez(
        stream,
        wkb=np.frombuffer(b"".join(texts), np.uint8),
        lengths=np.array([len(text) for text in texts], dtype=np.int64),
        scores=footprints.scores,
        areas=footprints.areas,
        labels=footprints.labels,
    )
    return stream.getvalue()


def _footprints(data: bytes) -> Footprints:
    with np.load(io.BytesIO(data)) as arrays:
        wkb, ends = arrays["wkb"].tobytes(), np.cumsum(arrays["lengths"]).tolist()
        texts = [wkb[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        geometries = shapely.from_wkb(np.array(texts, dtype=object))
        return Footprints(geometries, arrays["scores"], arrays["areas"], arrays["labels"])
