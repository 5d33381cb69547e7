"""What the distribution says of itself: its version, and the commands and components that packages offer.

In a checkout that is on the path but not installed, both come from the files of which an installation would make its metadata.
"""

from __future__ import annotations

import sys
from configparser import ConfigParser
from functools import cache
from importlib import metadata
from pathlib import Path

NAME = "qgis-maskdino"
GROUP = "maskdino.commands"  # of entry points

_CHECKOUT = Path(__file__).resolve().parents[1]


def version() -> str:
    """Return the version of the program, "unknown" where nothing names it."""
    if _is_installed():
        return metadata.version(NAME)
    parser = ConfigParser(interpolation=None)
    parser.read(_CHECKOUT / "metadata.txt", encoding="utf-8")
    return parser.get("general", "version", fallback="unknown")


@cache
def offered_commands() -> dict[str, str]:
    """Return the module of each command that packages offer, by the command's name in alphabetical order."""
    offered = {} if _is_installed() else _commands_of_checkout()
    offered.update({entry.name: entry.value for entry in metadata.entry_points(group=GROUP)})
    return dict(sorted(offered.items()))


@cache
def offered_components(group: str) -> dict[str, metadata.EntryPoint]:
    """Return what installed packages offer in a group, by ``PACKAGE.NAME``; nothing is imported.

    The package is the one that loading the entry point imports, whatever the distribution is called.
    """
    return {f"{entry.module.partition('.')[0]}.{entry.name}": entry for entry in metadata.entry_points(group=group)}


def _is_installed() -> bool:
    try:
        metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return False
    return True


def _commands_of_checkout() -> dict[str, str]:
    project = _CHECKOUT / "pyproject.toml"
    if not project.is_file():
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"][GROUP]
