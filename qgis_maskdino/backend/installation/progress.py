"""How far an installation is, out of the lines that pip and uv write."""

from __future__ import annotations

import re
from collections.abc import Callable

from qgis_maskdino.translation import tr

_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DOWNLOADS = 0.9  # of a step; the rest is unpacking


class InstallationProgress:
    """One step of an installation: a part of the whole, in which packages are fetched.

    Args:
        step: what is done, for a person.
        span: the fractions of the whole at which the step begins and ends.
        on_progress: called with the fraction that is done, which never falls, and what is being done.
    """

    def __init__(self, step: str, span: tuple[float, float], on_progress: Callable[[float, str], None]) -> None:
        self._step = step
        self._begin, self._end = span
        self._fraction = self._begin
        self._on_progress = on_progress
        self._sizes: dict[str, float] = {}  # bytes of the packages that uv fetches, all at once
        self._arrived = 0.0
        self._package = ""  # that pip fetches, one after the other
        self._ready = self._begin

    def read(self, line: str) -> bool:
        """Take in a line; return whether it was for the progress alone and is not worth a log."""
        counted = re.match(r"Progress (\d+) of (\d+)$", line)
        if counted:
            self._count_of_pip(int(counted[1]), int(counted[2]))
            return True
        begun = re.match(r"\s*Downloading (\S+) \(([\d.]+) ?(KiB|MiB|GiB)\)$", line)
        ended = re.match(r"\s*Downloaded (\S+)$", line)
        of_pip = re.match(r"\s*Downloading (?:\S*/)?([\w.]+?)-\d", line)
        if begun:
            self._sizes[begun[1]] = float(begun[2]) * _UNITS[begun[3]]
            self._count_of_uv()
        elif ended:
            self._arrived += self._sizes.get(ended[1], 0.0)
            self._count_of_uv()
        elif of_pip:
            self._package = of_pip[1]
        return False

    def _count_of_uv(self) -> None:
        total = sum(self._sizes.values())
        self._report(self._begin + (self._end - self._begin) * _DOWNLOADS * self._arrived / total, "", self._arrived, total)

    def _count_of_pip(self, done: int, total: int) -> None:
        if not total:
            return
        # How many packages will come is not known: each takes a part of what is left, a large one a larger part.
        share = min(0.6, 0.05 + total / 1.5e9)
        fraction = self._ready + (self._end - self._ready) * share * done / total
        self._report(fraction, f"{self._package}, ", done, total)
        if done == total:
            self._ready = fraction

    def _report(self, fraction: float, package: str, done: float, total: float) -> None:
        self._fraction = max(self._fraction, fraction)
        amount = tr("{:.0f} of {:.0f} MB").format(done / 1e6, total / 1e6)
        self._on_progress(self._fraction, f"{self._step}: {package}{amount}")
