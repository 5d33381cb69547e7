"""The command line of a request: a function for typer, with a parameter for each of the request's options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args, get_origin

import typer

from engine.errors import RequestError
from engine.request import Request, plain_type

R = TypeVar("R", bound=Request)


def terminal_command(request: type[R]) -> Callable[[Callable[[R], None]], Callable[..., None]]:
    """Let a function that takes a request be a command of the terminal; its docstring becomes the command's help.

    What is missing, of the wrong type or does not go with something else is wrong usage, status 2, as it is to typer; what is
    out of range is an error as any other, status 1.
    """

    def make(function: Callable[[R], None]) -> Callable[..., None]:
        def command(**words: Any) -> None:
            given = {name: words[key] for key, name in names.items() if words[key] is not None}
            try:
                checked = request.checked(**given)
            except RequestError as error:
                raise typer.BadParameter(str(error)) from error
            function(checked)

        parameters = list(_parameters(request))
        names = {key: field.alias or key for key, field in request.model_fields.items()}
        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return make


def _parameters(request: type[Request]) -> Iterator[inspect.Parameter]:
    for name, field in request.model_fields.items():
        declared: dict[str, Any] = field.json_schema_extra  # type: ignore[assignment]
        kind, positional = plain_type(field.annotation), "positional" in declared
        metavar = declared["metavar"]
        if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
            kind = list[str] if positional else str  # several words, or one with commas
        default = ... if field.is_required() else None if field.default == () else field.default
        if positional:
            made = typer.Argument(default, help=field.description, metavar=metavar)
        else:
            flags = declared["flags"] or [f"--{(field.alias or name).replace('_', '-')}"]
            made = typer.Option(default, *flags, help=field.description, metavar=metavar)
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=made, annotation=kind)
