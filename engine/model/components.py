"""Parts of models that come from other packages: found by their entry points, imported where the user names the package.

A config names a component, and a config may come out of a model file from anywhere. So no config decides what is imported:
the environment variable MASKDINO_COMPONENTS does, which lists the packages whose code may run, with commas between them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError
from torch import nn

from engine.distribution import offered_components
from engine.errors import ComponentError
from engine.model.config import ComponentConfig, StrictModel

ALLOWED = "MASKDINO_COMPONENTS"


class Component(nn.Module):
    """A backbone, pixel decoder or transformer decoder of another package; docs/components.md says what each has to do.

    It is built as ``Class(options, **given)`` and computes in float32, whatever the rest of the model computes in.

    Attributes:
        Options: class of its options.
    """

    Options: ClassVar[type[BaseModel]] = StrictModel

    def repeated_parts(self) -> Iterator[nn.Module]:
        """Yield the large parts, called with positional arguments, each of which can be computed anew in the backward pass."""
        yield from ()


def build_component(config: ComponentConfig, **given: Any) -> Component:
    """Build the component that a config names.

    Args:
        config: it names the component and its options.
        given: what the component has to fit, as its constructor takes it.

    Raises:
        ComponentError: no installed package offers it, the user has not named its package, or it is not a component with
            such options.
    """
    component = _load(config)
    try:
        options = component.Options.model_validate(config.options)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'options'}: {fault['msg']}" for fault in error.errors())
        raise ComponentError(f"{config.name!r} does not take these options: {faults}.") from error
    return component(options, **given)


def _load(config: ComponentConfig) -> type[Component]:
    name, package = config.name, config.package
    entry = offered_components(config.group).get(name)
    if entry is None:
        raise ComponentError(
            f"{name!r} is a component that no installed package offers (as an entry point of the group {config.group}).",
            hint=f"Install the package {package!r}.",
        )
    if package not in {word.strip() for word in os.environ.get(ALLOWED, "").split(",")}:
        raise ComponentError(
            f"{name!r} is a component of the package {package!r}, whose code does not run unless you name it.",
            hint=f"If you trust that package, set the environment variable {ALLOWED}={package}.",
        )
    try:
        component = entry.load()
    except (ImportError, AttributeError) as error:
        raise ComponentError(f"{name!r} cannot be imported from {entry.value}: {error}.") from error
    if not (isinstance(component, type) and issubclass(component, Component)):
        raise ComponentError(f"{name!r} is no subclass of engine.model.components.Component.")
    return component
