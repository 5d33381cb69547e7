"""Find the commands of the program, those of other packages among them, and load each one only when it is asked for.

A command is a module. It offers the program a ``command`` (what ``engine.commands.command_line.terminal_command`` makes of a
function, or a ``typer.Typer`` with several of those) and, where it makes sense to a user interface, the service a function
``serve`` with the decorator ``service_command``. Both take a request, a model that declares the command's options
(``engine.request``). The command's name and its module are registered under the entry-point group ``maskdino.commands``;
importing the module must be quick. A module with several commands may offer the service one of those too: of ``models convert``
that is ``serve_convert``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from engine.distribution import offered_commands
from engine.errors import ArgumentError

if TYPE_CHECKING:
    from engine.job import Job
    from engine.request import Request

F = TypeVar("F", bound=Callable[..., dict[str, Any]])

_BUILT_IN = {
    "detect": "engine.commands.detect",
    "segment": "engine.commands.segment",
    "regularize": "engine.commands.regularize",
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


def service_command(request: type[Request]) -> Callable[[F], F]:
    """Let a function ``(request, job) -> dict`` answer the service's requests, which are of this model."""

    def mark(function: F) -> F:
        function.request = request  # type: ignore[attr-defined]
        return function

    return mark


def served(name: str) -> Any:
    """Return the function that answers the service's requests for a command; its ``request`` is their model.

    Raises:
        ArgumentError: there is no such command, or it is for the terminal alone.
    """
    group, _, action = name.partition(" ")
    serve = getattr(load_command(group), f"serve_{action}" if action else "serve", None)
    if serve is None:
        raise ArgumentError(f"'{name}' is a command for the terminal alone, or there is none.")
    return serve


def answer(name: str, arguments: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service.

    Args:
        name: of the command, as on the command line: ``detect``, ``models convert``.
        arguments: options by name, as JSON has them.
        job: reports progress, and says when to end.

    Raises:
        ArgumentError: there is no such command, it is for the terminal alone, or an option is out of range.
        RequestError: an option is unknown, of the wrong type, or missing.
    """
    serve = served(name)
    return serve(serve.request.checked(**arguments), job)
