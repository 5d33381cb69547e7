"""Find the commands of the program, those of other packages among them, and load each one only when it is asked for.

A command is a module. It offers the program a ``command`` (a function for typer, or a ``typer.Typer`` with commands of its
own) and, where it makes sense to a user interface, the service a ``serve(arguments, job) -> dict`` (see ``engine.job``). Its
name and its module are registered under the entry-point group ``maskdino.commands``; importing the module must be quick.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from engine.distribution import offered_commands
from engine.errors import ArgumentError

_BUILT_IN = {
    "detect": "engine.detect_command",
    "models": "engine.models_command",
    "doctor": "engine.doctor",
}


def command_modules() -> dict[str, str]:
    """Return the module of each command by the command's name, in the order of the help page."""
    return {**_BUILT_IN, **{name: module for name, module in offered_commands().items() if name not in _BUILT_IN}}


def load_command(name: str) -> ModuleType:
    """Import the module of a command.

    Raises:
        ArgumentError: there is no such command.
    """
    modules = command_modules()
    if name not in modules:
        raise ArgumentError(f"There is no command '{name}'.", hint=f"Known are {', '.join(modules)}.")
    return import_module(modules[name])


def check_arguments(
    command: str, arguments: Mapping[str, Any], *, known: Collection[str], required: Collection[str] = ()
) -> None:
    """Hold the arguments of a request of the service against those that a command has.

    Raises:
        ArgumentError: one is unknown, or one that is required is missing or empty.
    """
    for name in arguments:
        if name not in known:
            raise ArgumentError(f"{command} has no argument '{name}'.", hint=f"It has {', '.join(sorted(known))}.")
    for name in required:
        if not arguments.get(name):
            raise ArgumentError(f"{command} needs the argument '{name}'.")
