"""What the official implementations computed: small recordings in this folder, more of them where they lie beside the checkout.

README.md of this folder says how they were made and what their arrays mean.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BESIDE = HERE.parents[2] / "shared" / "parity"
INPUT_OF_TRAINING = "input"


def recordings(*patterns: str) -> list[Path]:
    """Return the small recordings whose names match, then those beside the checkout that have no small form."""
    small = {path.stem: path for pattern in patterns for path in sorted(HERE.glob(f"{pattern}.npz"))}
    beside = {path.stem: path for pattern in patterns for path in sorted(BESIDE.glob(f"{pattern}.npz"))}
    return list((beside | small).values())


def read_recording(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a recording by name, the input that it shares with others included."""
    arrays = dict(np.load(path))
    if INPUT_OF_TRAINING in arrays:
        arrays |= np.load(path.with_name(f"{arrays.pop(INPUT_OF_TRAINING)}.npz"))
    return arrays


def published_tensors(model: str) -> dict[str, dict]:
    """Return what a published checkpoint of the model holds: for each name its shape and dtype.

    ``alias_of`` names the tensor whose storage it shares, ``constant`` marks what training never changes.
    """
    return json.loads((HERE / f"{model}.keys.json").read_text())["keys"]
