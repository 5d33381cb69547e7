"""Requests: the options of a command, declared once, as the fields of a model.

Such a model is what the command and the functions behind it take. Its fields give the command line
(``engine.commands.command_line``), the check of what the service is asked, and defaults, bounds, choices and help of the
parameters that QGIS shows (``packaging/update_options.py``).
"""

from __future__ import annotations

import os
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from engine.errors import ArgumentError, RequestError

R = TypeVar("R", bound="Request")

_LARGEST = 2**63
_SHOWN = 80  # characters of a value in a message

# What a value should have been, by pydantic's names of errors. Of these the value has the wrong form ...
_FORMS = {
    "malformed": "should be {fault}",  # see Request._plain
    "string_type": "should be a text",
    "bool_type": "should be true or false",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "tuple_type": "should be a list",
    "missing": "has too few entries",
    "too_long": "should have at most {max_length} entries",
    "literal_error": "should be {expected}",
}
# ... and of these it is out of range.
_RANGES = {
    "finite_number": "should be a finite number",
    "greater_than": "should be more than {gt:g}",
    "greater_than_equal": "should be at least {ge:g}",
    "less_than": "should be less than {lt:g}",
    "less_than_equal": "should be at most {le:g}",
    "too_short": "should not be empty",
}


def option(default: Any, help: str, *flags: str, metavar: str | None = None, **constraints: Any) -> Any:
    """Declare an option of a command.

    Args:
        default: where it is not given; ``...`` where it has to be.
        help: one or two sentences, for whoever meets the option: on a terminal, in QGIS or in Python.
        flags: on a terminal instead of the field's name, such as ``-o``, ``--output``.
        metavar: what stands for its value in the terminal's help.
        constraints: of pydantic's ``Field``, such as ``ge``; an ``alias`` is the option's name where the field needs another.
    """
    return Field(default, description=help, json_schema_extra={"flags": list(flags), "metavar": metavar}, **constraints)


def argument(help: str, *, metavar: str, default: Any = ...) -> Any:
    """Declare what has a place on the command line instead of a flag; the rest is as of ``option``."""
    return Field(default, description=help, json_schema_extra={"positional": True, "metavar": metavar})


class Request(BaseModel):
    """What a command is asked to do; of a type and within its bounds, or not there.

    A tuple may be given as a list, a path as ``pathlib`` has it, numbers as NumPy has them. A validator that raises one of
    ``engine.errors`` words the error; others are worded here.

    Attributes:
        command: the name of the command.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)

    command: ClassVar[str] = "the request"

    @classmethod
    def checked(cls: type[R], /, **given: Any) -> R:
        """Make a request of options by name.

        Raises:
            RequestError: one is unknown, of the wrong type, missing, or does not go with another.
            ArgumentError: one is out of range.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise cls._in_words(error.errors()[0], given) from error

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the fields by the names of the options."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, list):
            value = tuple(value)
        for fault in filter(None, map(_fault, value if isinstance(value, tuple) else [value])):
            raise PydanticCustomError("malformed", "should be {fault}", {"fault": fault})
        return value

    @classmethod
    def _in_words(cls, problem: Any, given: dict[str, Any]) -> ArgumentError:
        context = problem.get("ctx") or {}
        if isinstance(context.get("error"), ArgumentError):
            return context["error"]
        kind, (name, *entry) = problem["type"], problem["loc"]
        if kind == "missing" and not entry:
            return RequestError(f"{cls.command} needs the argument {name!r}.", field=name)
        if kind == "extra_forbidden":
            known = ", ".join(sorted(cls.options()))
            return RequestError(f"{cls.command} has no argument {name!r}.", field=name, hint=f"It has {known}.")
        if kind == "value_error":
            fault = str(context["error"])
        else:
            fault = (_FORMS | _RANGES)[kind].format(**context) if kind in _FORMS | _RANGES else problem["msg"]
        fault = f"has an entry that {fault}" if entry and kind != "missing" else fault
        error = RequestError if kind in _FORMS else ArgumentError
        return error(f"{name} is {_shown(given[name])}; it {fault}.", field=name)


def plain_type(annotation: Any) -> Any:
    """Return the type of a field without its constraints, and without None."""
    if get_origin(annotation) is Annotated:
        return plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next(plain_type(each) for each in get_args(annotation) if each is not NoneType)
    return annotation


def _fault(value: Any) -> str:
    """Return what a text or a number should be that no field can take; empty where nothing is wrong with it."""
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return f"less than {_LARGEST}"
    if not isinstance(value, str):
        return ""
    try:
        os.fsencode(value)
    except UnicodeError:
        return "a text, without halves of characters"
    return "without null characters" if "\0" in value else "" if value else "a text that is not empty"


def _shown(value: Any) -> str:
    """Return a value for a message, however large: lists and objects by their kind, lest one nests without end."""
    if isinstance(value, (list, tuple, dict)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return "a number beyond all measure"
    return repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}..."


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(","))
    if not all(names):
        raise ValueError("should be names with commas between them, such as car,truck")
    return names


def _split_numbers(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    words = value.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise ValueError("should be numbers of bands, counted from 1, such as 1,2,3")
    return tuple(int(word) for word in words)


Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_split)]
"""Names, as a list or in one text with commas between them."""

Bands = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), BeforeValidator(_split_numbers)]
"""Numbers of bands, counted from 1, as a list or in one text with commas between them."""


def device_option() -> Any:
    """Declare the option that chooses where a model runs; ``engine.device.choose_device`` says what else there is."""
    return option(
        "auto",
        "Where the model runs: auto (the graphics card where there is one, else the processor), cpu, cuda, cuda:N or mps.",
        metavar="DEVICE",
        examples=["auto", "cpu", "cuda", "mps"],
    )
