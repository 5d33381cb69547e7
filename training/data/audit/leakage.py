"""Warn where validation images stand in the training set: what is measured on them says nothing."""

from __future__ import annotations

import logging
import os

from training.data.audit.duplicates import find_leakage
from training.data.training_data import TrainingData

log = logging.getLogger(__name__)

_NAMED = 3  # pairs that the warning names


def warn_of_leakage(data: TrainingData) -> int:
    """Compare validation and training pictures, mirrored and turned copies too; return how many stand in both."""
    train, validation = data.coco_folders
    if not train or not validation:
        return 0
    if len(train) + len(validation) > 20_000:
        log.info("Looking for validation images in the %d training images ...", len(train))
    pairs = find_leakage(train, validation, workers=os.cpu_count() or 1)
    if pairs:
        named = ", ".join(f"{seen.name} = {known.name}" for seen, known in pairs[:_NAMED])
        log.warning(
            "%d of %d validation images stand in the training set as well (%s%s): figures measured on them say nothing about "
            "new ground. `maskdino audit-dataset TRAIN VAL --write CLEAN` makes clean copies.",
            len(pairs), len(validation), named, ", ..." if len(pairs) > _NAMED else "",
        )  # fmt: skip
    return len(pairs)
