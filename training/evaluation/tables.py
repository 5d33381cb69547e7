"""Figures as JSON and terminals show them."""

from __future__ import annotations

import math


def aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Return the rows of a table as lines, the first column to the left and the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in table
    ]


def percent(value: float) -> str:
    """Return a share in percent with one decimal, a dash for what cannot be said."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def finite_or_none(value: float) -> float | None:
    """Return a number as JSON can say it."""
    return float(value) if math.isfinite(value) else None
