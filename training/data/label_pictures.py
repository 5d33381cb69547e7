"""Pictures whose values are labels rather than colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from engine.errors import ArgumentError
from training.data.coco.image_files import open_image

_MODES = {"1", "L", "P", "I", "I;16", "I;16B"}


def read_labels(path: Path) -> np.ndarray:
    """Read a picture of labels: (H, W) int32. Of one with a palette, labels are its entries.

    Raises:
        ArgumentError: it cannot be read, or holds colours rather than labels.
    """
    try:
        with open_image(path) as image:
            if image.mode not in _MODES or image.format == "JPEG":
                raise ValueError(f"it is a {image.format} of {image.mode} values, which are no labels")
            return np.asarray(image).astype(np.int32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ArgumentError(
            f"The labels {path} cannot be read: {error}.", hint="Give pictures of one band whose values are labels."
        ) from error
