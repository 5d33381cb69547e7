"""Charts as SVG text with a caption: nothing but shapes and letters, so that a page needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 22, 14, 44
_POINTS = 600  # of a curve: more than there are pixels across


@dataclass(frozen=True)
class Axis:
    """One axis: its range, its ticks and what it says.

    Attributes:
        label: under or beside it.
        low, high: ends of the range.
        ticks: where numbers stand.
        logarithmic: equal factors take equal lengths.
        form: format of the numbers.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False
    form: str = "g"

    def place(self, values: np.ndarray | float, start: float, stop: float) -> np.ndarray:
        """Return where values stand between two positions in the picture."""
        values, low, high = np.asarray(values, dtype=float), self.low, self.high
        if self.logarithmic:
            values, low, high = np.log(np.maximum(values, 1e-12)), np.log(low), np.log(high)
        return start + np.clip((values - low) / (high - low), 0.0, 1.0) * (stop - start)


def curve_chart(
    x: np.ndarray, y: np.ndarray, *, across: Axis, up: Axis, title: str, mark: tuple[float, float] | None = None
) -> str:
    """Draw a curve, and one point to be noticed."""
    if len(x) > _POINTS:
        chosen = np.unique(np.linspace(0, len(x) - 1, _POINTS).astype(int))
        x, y = x[chosen], y[chosen]
    columns, rows = _column(across, x), _row(up, y)
    points = " ".join(f"{column:.1f},{row:.1f}" for column, row in zip(columns, rows, strict=True))
    body = f'<polyline class="line" points="{points}"/>'
    if mark is not None:
        body += f'<circle class="mark" cx="{float(_column(across, mark[0])):.1f}" cy="{float(_row(up, mark[1])):.1f}" r="5"/>'
    return _frame(title, across, up, body)


def bar_chart(
    groups: Sequence[tuple[str, str, np.ndarray]], edges: np.ndarray, *, across: Axis, title: str, counted: str
) -> str:
    """Draw a histogram of several groups, stacked.

    Args:
        groups: name, CSS class and values of each.
        edges: of the bins; values beyond them count in the first or last one.
        across: the axis of the values.
        title: what it shows.
        counted: what the bars count.
    """
    inside = [np.clip(values, edges[0], np.nextafter(edges[-1], edges[0])) for _, _, values in groups]
    counts = np.array([np.histogram(values, bins=edges)[0] for values in inside])
    highest = max(int(counts.sum(axis=0).max(initial=0)), 1)
    up = round_axis(counted, 1.3 * highest if len(groups) > 1 else highest, form=",.0f", whole=True)  # room for the legend
    left, right = _column(across, edges[:-1]), _column(across, edges[1:])
    body, floor = [], np.zeros(len(edges) - 1)
    for (_, style, _), heights in zip(groups, counts, strict=True):
        bottom, top = _row(up, floor), _row(up, floor + heights)
        body += [
            f'<rect class="{style}" x="{left[i] + 0.5:.1f}" y="{top[i]:.1f}" width="{max(right[i] - left[i] - 1, 0.5):.1f}" '
            f'height="{bottom[i] - top[i]:.1f}"/>'
            for i in np.flatnonzero(heights)
        ]
        floor = floor + heights
    if len(groups) > 1:
        for number, (name, style, values) in enumerate(groups):
            row = _TOP + 8 + 17 * number
            body.append(f'<rect class="{style}" x="{_LEFT + 12}" y="{row - 9}" width="11" height="11"/>')
            body.append(f'<text x="{_LEFT + 28}" y="{row}">{escape(name)} ({len(values):,})</text>')
    return _frame(title, across, up, "".join(body))


def round_axis(label: str, most: float, *, form: str = ".3g", whole: bool = False) -> Axis:
    """Choose an axis from 0 to some round number beyond ``most``."""
    magnitude = 10.0 ** np.floor(np.log10(most))
    step = next(size * magnitude for size in (0.2, 0.5, 1, 2, 5) if most / (size * magnitude) <= 6)
    step = max(step, 1.0) if whole else step
    high = np.ceil(most / step) * step
    return Axis(label, 0, high, np.arange(0, high + step / 2, step), form=form)


def _column(axis: Axis, values: np.ndarray | float) -> np.ndarray:
    return axis.place(values, _LEFT, WIDTH - _RIGHT)


def _row(axis: Axis, values: np.ndarray | float) -> np.ndarray:
    return axis.place(values, HEIGHT - _BOTTOM, _TOP)


def _frame(title: str, across: Axis, up: Axis, body: str) -> str:
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in up.ticks:
        row = float(_row(up, tick))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{row:.1f}" y2="{row:.1f}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 6}" y="{row + 4:.1f}">{format(tick, up.form)}</text>')
    parts.append(body)
    base = HEIGHT - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    for tick in across.ticks:
        column = float(_column(across, tick))
        parts.append(f'<line class="axis" x1="{column:.1f}" x2="{column:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(f'<text class="middle" x="{column:.1f}" y="{base + 17}">{format(tick, across.form)}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="middle name" x="{middle:.0f}" y="{HEIGHT - 6}">{escape(across.label)}</text>')
    centre = (_TOP + base) / 2
    parts.append(f'<text class="middle name" transform="translate(12 {centre:.0f}) rotate(-90)">{escape(up.label)}</text>')
    return "".join([*parts, f"</svg><figcaption>{escape(title)}</figcaption>"])
