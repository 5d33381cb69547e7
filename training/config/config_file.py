"""Read the document of a training run: a YAML file, or one of the ready ones by name, and changes from the command line."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from engine.errors import ConfigError
from training.config.schema import TrainConfig

CONFIGS = Path(__file__).with_name("ready")


def ready_configs() -> dict[str, Path]:
    """List the configs that come with this package, by name."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def read_config(source: str | Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a config.

    Args:
        source: a YAML file, or the name of a ready config.
        changes: ``KEY=VALUE`` each, the key dotted (``optimizer.learning_rate``, ``data.sources.0.weight``), the value YAML.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown or its value out of range; it names each, and the nearest
            known key.
    """
    document = _load(_find(source))
    for change in changes:
        _apply(document, change)
    try:
        return TrainConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"The training config {str(source)!r} does not hold: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """Return what is wrong with a config, and name the nearest known key for each unknown one."""
    return " ".join(_fault(dict(fault)) for fault in error.errors()[:8])


def _fault(fault: dict[str, Any]) -> str:
    # The tag of a union's member stands in the path too; as a key, nobody has written it.
    parts = [str(part) for part in fault["loc"]]
    key = ".".join(parts)
    if fault["type"] == "extra_forbidden":
        known = list(known_keys(TrainConfig))
        plain = ".".join(part for part in parts if not part.isdigit() and part not in _tags())
        near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
        by_name = [name for name in known if name.rpartition(".")[2] == parts[-1]]
        found = (by_name or near or [None])[0]
        return f"{key} is unknown." + (
            f" Did you mean {found}?" if found else f" Known are {', '.join(TrainConfig.model_fields)}."
        )
    value = fault["input"]
    shown = f" (it is {str(value)[:60]!r})" if parts and not isinstance(value, (dict, BaseModel)) else ""
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key or 'config'}: {message[:1].lower()}{message[1:]}{shown}."


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key of a config and of those inside it, dotted."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in _models_in(field.annotation):
            yield from known_keys(inner, f"{prefix}{name}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    arguments = typing.get_args(annotation)
    if not arguments and isinstance(annotation, type) and issubclass(annotation, BaseModel):  # 3.10: tuple[int] is a type
        yield annotation
    for argument in arguments:
        yield from _models_in(argument)


def _tags() -> set[str]:
    """Values of ``kind`` of the configs that can stand for one another."""
    tags: set[str] = set()
    pending = [TrainConfig]
    while pending:
        model = pending.pop()
        if "kind" in model.model_fields:
            tags |= {str(value) for value in typing.get_args(model.model_fields["kind"].annotation)}
        pending += [inner for field in model.model_fields.values() for inner in _models_in(field.annotation)]
    return tags


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    ready = ready_configs()
    if str(source) in ready:
        return ready[str(source)]
    near = difflib.get_close_matches(path.stem, ready, n=1)
    raise ConfigError(
        f"There is no training config {str(source)!r}.",
        hint=(f"Did you mean {near[0]}? " if near else "") + f"Ready ones: {', '.join(ready)}; or give a YAML file.",
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise ConfigError(f"The training config {str(path)!r} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The training config {str(path)!r} is not YAML: {_one_line(error)}.") from error
    if not isinstance(document, dict):
        raise ConfigError(f"The training config {str(path)!r} holds no keys.", hint=f"Begin with a ready one: {CONFIGS}.")
    return document


def _apply(document: dict[str, Any], change: str) -> None:
    """Set one dotted key of a document."""
    key, sign, text = change.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"The change {change!r} is not KEY=VALUE.", hint="For example optimizer.learning_rate=5e-5.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"The value of {change[:80]!r} is not YAML: {_one_line(error)}.") from error
    place: Any = document
    *parents, last = key.strip().split(".")
    for depth, part in enumerate(parents):
        inner = place.setdefault(part, {}) if isinstance(place, dict) else _item(place, part, key)
        if inner is None and isinstance(place, dict):
            inner = place[part] = {}
        if not isinstance(inner, (dict, list)):
            raise ConfigError(f"{'.'.join(parents[: depth + 1])} in {change!r} has no keys: it is {inner!r}.")
        place = inner
    if isinstance(place, dict):
        place[last] = value
    else:
        place[_index(place, last, key)] = value


def _item(items: list, part: str, key: str) -> Any:
    return items[_index(items, part, key)]


def _index(items: list, part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(f"{key}: {part!r} is none of the {len(items)} entries.", hint="Count them from 0.")
    return int(part)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
