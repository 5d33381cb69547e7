"""Whole lines out of bytes that arrive in arbitrary pieces, cut in the middle of a letter too."""

from __future__ import annotations

LONGEST_LINE = 64 * 2**20  # bytes; what goes on for longer is no line, and must not fill the memory


class LineBuffer:
    """Bytes in, lines out."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def take(self, piece: bytes, *, last: bool = False) -> list[bytes]:
        """Add what has arrived and return the lines that are whole now, without their ends.

        A carriage return ends a line too: progress bars draw themselves with it.

        Args:
            piece: what has arrived.
            last: whether nothing more will come, so that what is left is a line.
        """
        self._bytes += piece
        if last or len(self._bytes) > LONGEST_LINE:
            end = len(self._bytes)
        else:
            end = max(self._bytes.rfind(b"\n"), self._bytes.rfind(b"\r")) + 1
        lines = bytes(self._bytes[:end]).splitlines()
        del self._bytes[:end]
        return lines
