"""What a model file says of itself, as far as people want to know it before they choose it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.model_choice import model_argument
from qgis_maskdino.translation import tr

_METADATA, _DOCUMENT = "__metadata__", "maskdino"  # see engine/model/model_file.py, which checks all of it
_LENGTH_BYTES = 8
_LONGEST = 16 * 2**20
_SHOWN_CLASSES = 8


@dataclass(frozen=True)
class ModelCard:
    """A model in words and figures.

    Attributes:
        gsd: metres per pixel that it wants to see; None for any.
        description: a sentence; empty where there is none.
        figures: what it reached, by name.
        evaluated_on: what the figures were measured on.
        data: names of the data sets that it was trained on.
        classes: names of what it finds; empty where the file does not say.
        trained_by: who; empty where the file does not say.
        finished: the day on which its training ended.
        licence: of the weights; empty where the file does not say.
        limits: what it is not good for.
        path: the file.
        bytes: its size.
    """

    gsd: float | None
    description: str
    figures: dict[str, float]
    evaluated_on: str
    data: tuple[str, ...]
    classes: tuple[str, ...] = ()
    trained_by: str = ""
    finished: str = ""
    licence: str = ""
    limits: str = ""
    path: str = ""
    bytes: int = 0

    def lines(self) -> list[str]:
        """Return what there is to say, a line each."""
        said = [self.description] if self.description else []
        said.append(tr("{:g} m/px").format(self.gsd) if self.gsd else tr("any resolution"))
        if len(self.classes) > 1:
            shown = ", ".join(self.classes[:_SHOWN_CLASSES])
            said.append(tr("{} classes: {}").format(len(self.classes), shown + (" …" if self.classes[_SHOWN_CLASSES:] else "")))
        if self.data:
            said.append(tr("Trained on: {}").format("; ".join(self.data)))
        if self.figures:
            figures = ", ".join(f"{name} {value:.3g}" for name, value in self.figures.items())
            said.append(figures + (f" ({self.evaluated_on})" if self.evaluated_on else ""))
        return said


def read_model_card(model: str) -> ModelCard | None:
    """Read the header of a model file, and nothing else of it.

    Args:
        model: a name or a file.

    Returns:
        None where there is no such file, or it is none of ours: the engine says what is wrong with it.
    """
    path = model_argument(model)
    if not os.path.isabs(path):
        path = os.path.join(EngineEnvironment().source_folder(), "engine", "weights", f"{path}.safetensors")
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = json.loads(file.read(min(length, _LONGEST)))
        document = json.loads(header[_METADATA][_DOCUMENT])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _card(document, path, size) if isinstance(document, dict) else None


def _card(document: dict[str, Any], path: str, size: int) -> ModelCard:
    training = document.get("training")
    training = training if isinstance(training, dict) else {}
    gsd, classes = document.get("gsd"), document.get("classes")
    figures = training.get("figures") or {}
    return ModelCard(
        gsd=float(gsd) if isinstance(gsd, (int, float)) and gsd > 0 else None,
        description=str(document.get("description") or ""),
        figures={str(name): float(value) for name, value in figures.items() if isinstance(value, (int, float))},
        evaluated_on=str(training.get("evaluated_on") or ""),
        classes=tuple(str(name) for name in classes) if isinstance(classes, list) else (),
        data=tuple(str(source.get("name")) for source in training.get("data") or () if isinstance(source, dict)),
        trained_by=str(training.get("trained_by") or ""),
        finished=str(training.get("finished") or ""),
        licence=str(document.get("licence") or ""),
        limits=str(document.get("limits") or ""),
        path=path,
        bytes=size,
    )
