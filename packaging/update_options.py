"""Write ``qgis_maskdino/options.py``: the options of the engine's commands as the plugin needs them.

    python packaging/update_options.py            # after a change to the options of a command
    python packaging/update_options.py --check    # fails where that was forgotten

The plugin cannot import the engine's requests, which declare the options. What it gets is plain data, with the texts marked
for translators.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from engine.commands import served  # noqa: E402
from engine.request import Request, plain_type  # noqa: E402

OPTIONS = PROJECT / "qgis_maskdino" / "options.py"
COMMANDS = (
    "detect",
    "segment",
    "regularize",
    "evaluate",
    "export-dataset",
    "train",
    "models convert",
)  # those that Processing has an algorithm for
_KINDS = {bool: "flag", int: "whole number", float: "number", str: "text"}
_WIDTH = 100  # characters of a text in one literal

_HEAD = '''\
"""The options of the engine's commands, written by ``packaging/update_options.py``: change the engine's requests instead."""

from __future__ import annotations

from typing import Any, NamedTuple

from qgis_maskdino.translation import tr


class Option(NamedTuple):
    """What the engine says of an option.

    Attributes:
        help: one or two sentences.
        kind: ``flag``, ``whole number``, ``number``, ``text``, ``choice``, or ``list``.
        default: None where it may be left out.
        minimum: of a number; None where there is none.
        maximum: of a number; None where there is none.
        choices: the values of a choice, and those of a text that are offered.
    """

    help: str
    kind: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
'''


def module() -> str:
    """Return what the file should hold."""
    parts = [_HEAD, *(_function(served(name).request) for name in COMMANDS)]
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(OPTIONS), "-"]
    return subprocess.run(
        command, input="\n\n".join(parts), capture_output=True, encoding="utf-8", check=True, cwd=PROJECT
    ).stdout


def _function(request: type[Request]) -> str:
    entries = "".join(f"{name!r}: {_option(field)},\n" for name, field in request.options().items())
    name = request.command.replace("-", "_").replace(" ", "_")
    doc = f'"""Return the options of ``maskdino {request.command}`` by name."""'
    return f"def {name}() -> dict[str, Option]:\n    {doc}\n    return {{\n{entries}}}\n"


def _option(field: Any) -> str:
    kind = plain_type(field.annotation)
    bounds = {name: getattr(each, name) for each in field.metadata for name in ("ge", "le") if hasattr(each, name)}
    values = {
        "default": None if field.is_required() or field.default == () else field.default,
        "minimum": bounds.get("ge"),
        "maximum": bounds.get("le"),
        "choices": get_args(kind) if get_origin(kind) is Literal else tuple(field.examples or ()) or None,
    }
    named = "list" if get_origin(kind) is tuple else "choice" if get_origin(kind) is Literal else _KINDS[kind]
    pieces = textwrap.wrap(field.description, _WIDTH, drop_whitespace=False, break_on_hyphens=False)
    text = "\n".join(map(repr, pieces))
    given = [f"{name}={value!r}" for name, value in values.items() if value is not None]
    return f"Option({', '.join([f'tr({text})', repr(named), *given])})"


def main() -> None:
    """Write the file, or find out whether it is current."""
    parser = argparse.ArgumentParser(description="Write the options of the engine's commands for the plugin.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the file is not current")
    wanted, current = module(), OPTIONS.read_text(encoding="utf-8") if OPTIONS.exists() else ""
    if parser.parse_args().check:
        sys.exit(0 if wanted == current else f"{OPTIONS} is not current: run python packaging/update_options.py.")
    OPTIONS.write_text(wanted, encoding="utf-8")
    print(OPTIONS)


if __name__ == "__main__":
    main()
