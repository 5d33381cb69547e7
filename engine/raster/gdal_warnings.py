"""Hear what GDAL warns of while pixels are read: it goes on with whatever a damaged block decodes to."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What libjpeg, libtiff, zlib and OpenJPEG say of data that cannot be right.
_DAMAGE = re.compile(
    r"corrupt|premature|damaged|truncat|bogus|extraneous|invalid|not a (jpeg|tiff)|unsupported marker|huffman|decod|"
    r"unexpected end|checksum|tier-?1|codeblock|missing (soi|eoi)|cannot read|read error|inconsistent",
    re.IGNORECASE,
)


class _ByThread(logging.Handler):
    """Collects what rasterio logs of GDAL, for the threads that ask for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.collected: dict[int, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning of a thread that asks for them."""
        found = self.collected.get(record.thread or 0)
        if found is not None:
            found.append(re.sub(r"^CPLE_\w+:", "", record.getMessage()))


_handler = _ByThread()
logging.getLogger("rasterio").addHandler(_handler)


@contextmanager
def gdal_warnings() -> Iterator[list[str]]:
    """Yield a list that fills with what GDAL warns of in this thread until the end of the block."""
    thread = threading.get_ident()
    _handler.collected[thread] = found = []
    try:
        yield found
    finally:
        _handler.collected.pop(thread, None)


def speaks_of_damage(warning: str) -> bool:
    """Return whether a warning is about pixels that cannot be what was once written."""
    return bool(_DAMAGE.search(warning))
