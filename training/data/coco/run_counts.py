"""COCO's compressed run lengths as numbers.

pycocotools does not look whether they fill the mask: of those that do not, the rest of the mask is whatever was in memory.
"""

from __future__ import annotations


def run_counts(text: bytes) -> list[int]:
    """Return the lengths of runs, of zeros and ones by turns and down the columns, as pycocotools' ``encode`` writes them.

    Each number is written in pieces of five bits, the lowest first, as characters from ``0`` on; bit 5 says that more follow,
    and bit 4 of the last one is the sign. From the fourth number on, it is the difference to the last but one.

    Raises:
        ValueError: the text ends within a number, or has other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        piece = character - 48
        if not 0 <= piece < 64:
            raise ValueError(f"{chr(character)!r} stands in no run lengths")
        value |= (piece & 31) << shift
        shift += 5
        if piece & 32:
            continue
        if piece & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the run lengths end within a number")
    return counts


def runs_fill(counts: str | bytes | list[int], pixels: int) -> bool:
    """Say whether run lengths, compressed or plain, cover a mask of so many pixels, no more and no less."""
    try:
        lengths = (
            counts if isinstance(counts, list) else run_counts(counts.encode("ascii") if isinstance(counts, str) else counts)
        )
    except ValueError:  # of another alphabet, too: UnicodeEncodeError is one
        return False
    return min(lengths, default=-1) >= 0 and sum(lengths) == pixels
