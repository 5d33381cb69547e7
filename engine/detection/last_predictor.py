"""Keep the model of the last detection ready, so that the next one with it starts at once."""

from __future__ import annotations

import copy
from typing import Any

from engine.detection.instances import Predictor
from engine.detection.pipeline import model_predictor
from engine.detection.settings import Settings
from engine.model.model_file import ModelFile


class LastPredictor:
    """Make predictors as `model_predictor` does. One is kept: a second model takes the place of the first in memory."""

    def __init__(self) -> None:
        self._made_of: tuple[Any, ...] | None = None
        self._predictor: Predictor | None = None

    def __call__(self, model: ModelFile, *, device: str, settings: Settings) -> Predictor:
        """Return the predictor of a model file, made anew unless the last one was of the same.

        Raises:
            ModelFileError, DeviceError: as `model_predictor`.
        """
        state = model.path.stat()
        of = (
            model.path.resolve(), state.st_mtime_ns, state.st_size, device,
            settings.precision, settings.deterministic, settings.batch_size, settings.compile,
        )  # fmt: skip
        predictor = self._predictor
        if predictor is None or of != self._made_of:
            predictor = self._predictor = None  # the memory of one, before that of another is taken
            predictor = model_predictor(model, device=device, settings=settings)
            # In this order: a cancelled detection may still be loading in a thread of its own.
            self._made_of, self._predictor = of, predictor
        predictor = copy.copy(predictor)  # which shares the model
        predictor.score = settings.score
        return predictor
