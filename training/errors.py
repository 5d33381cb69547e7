"""Errors that only training can meet; the rest of the hierarchy is the engine's."""

from __future__ import annotations

from engine.errors import MaskDinoError


class DivergedError(MaskDinoError, FloatingPointError):
    """Training left the finite numbers behind: nothing after this step would mean anything."""

    code = "diverged"
