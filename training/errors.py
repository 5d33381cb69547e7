"""Errors that only training can meet; the rest of the hierarchy is the engine's."""

from __future__ import annotations

from importlib.util import find_spec

from engine.errors import MaskDinoError


class DivergedError(MaskDinoError, FloatingPointError):
    """Training left the finite numbers behind: nothing after this step would mean anything."""

    code = "diverged"


class MissingPackageError(MaskDinoError, ImportError):
    """A package that belongs to the extra ``train`` is not installed."""

    code = "missing_package"


def require(package: str, *, for_what: str) -> None:
    """Find out, before any work, whether a package of the extra ``train`` is there.

    Raises:
        MissingPackageError: it is not.
    """
    if find_spec(package) is None:
        raise MissingPackageError(
            f"{for_what} needs the package {package}, which is not installed.",
            hint='Install it with `pip install "qgis-maskdino[train]"`.',
        )
