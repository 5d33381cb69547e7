"""Write a text file so that a whole one, and nothing else, ever stands under its name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.errors import OutputError


def check_text_output(path: Path) -> None:
    """Find out, before any work, whether there is a place for a file.

    Raises:
        OutputError: there is none.
    """
    if path.is_dir():
        raise OutputError(f"The output {path} is a folder.", hint="Name a file in it.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder of the output {path} does not exist.", hint="Create it, or write elsewhere.")


def write_text(path: Path, text: str) -> None:
    """Write a file and give it its name in one step.

    Raises:
        OutputError: it cannot be written; what stood under the name still does.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise OutputError(f"The output {path} cannot be written: {error.strerror}.", hint="Write elsewhere.") from error
