"""Find the commands of the program, those of other packages among them, and load each one only when it is asked for.

A command is a module. It offers the program a ``command`` (a function for typer, or a ``typer.Typer`` with commands of its
own) and, where it makes sense to a user interface, the service a ``serve(arguments, job) -> dict`` (see ``engine.job``). Its
name and its module are registered under the entry-point group ``maskdino.commands``; importing the module must be quick.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from engine.distribution import offered_commands
from engine.errors import ArgumentError, RequestError

_LARGEST = 2**63
_SHOWN = 80  # characters of a value in a message

_BUILT_IN = {
    "detect": "engine.commands.detect",
    "segment": "engine.commands.segment",
    "models": "engine.commands.models",
    "doctor": "engine.commands.doctor",
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


def option_types(command: Callable[..., Any], *, without: Collection[str] = (), **changed: Any) -> dict[str, Any]:
    """Return the types of a command's options by the names that a request has for them.

    Args:
        command: the function for typer.
        without: options that mean something on a terminal alone.
        changed: types that a request may have and a terminal has no way to write.
    """
    hints = {name: kind for name, kind in get_type_hints(command).items() if name not in (*without, "return")}
    return {name.replace("json_file", "json"): kind for name, kind in hints.items()} | changed


def check_arguments(
    command: str, arguments: Mapping[str, Any], *, types: Mapping[str, Any], required: Collection[str] = ()
) -> None:
    """Hold the arguments of a request of the service against those that a command has.

    Args:
        command: its name.
        arguments: by name, as JSON has them.
        types: of all that there are, as annotations: a number is no text, a list is a tuple, a text is a path or a choice.
        required: those that have to be there.

    Raises:
        RequestError: one is unknown or of the wrong type, or one that is required is missing or empty.
    """
    for name, value in arguments.items():
        if name not in types:
            raise RequestError(f"{command} has no argument {name!r}.", field=name, hint=f"It has {', '.join(sorted(types))}.")
        wrong = _fault(value, types[name])
        if wrong:
            raise RequestError(f"{name} is {_shown(value)}; it {wrong}.", field=name)
    for name in required:
        if not arguments.get(name):
            raise RequestError(f"{command} needs the argument {name!r}.", field=name)


def _fault(value: Any, kind: Any) -> str:
    """Return what is wrong with a value of JSON that should be of a type; empty where nothing is."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        faults = [_fault(value, each) for each in inner if each is not NoneType]
        return "" if "" in faults or (value is None and NoneType in inner) else " or ".join(faults)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            return "should be a list"
        return next((f"has an entry that {fault}" for each in value if (fault := _fault(each, inner[0]))), "")
    if kind is bool:
        return "" if isinstance(value, bool) else "should be true or false"
    if kind in (int, float):
        return _number_fault(value, kind)
    if not isinstance(value, str):
        return "should be a text"
    try:
        return "should be without null characters" if "\0" in os.fsdecode(os.fsencode(value)) else ""
    except UnicodeError:
        return "should be a text, without halves of characters"


def _number_fault(value: Any, kind: type) -> str:
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        return f"should be a {'whole ' if kind is int else ''}number"
    return "" if abs(value) < _LARGEST or isinstance(value, float) else f"should be less than {_LARGEST}"


def _shown(value: Any) -> str:
    """Return a value for a message, however large: lists and objects by their kind, lest one nests without end."""
    if isinstance(value, (list, tuple, dict)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return "a number beyond all measure"
    return repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}..."
