"""What a published DINO detector gives Mask DINO to start from.

Backbone, encoder, query selection, decoder, box head and, where the classes fit, classifier and label embedding. There is no
counterpart for the learned content of DINO's queries (``tgt_embed``), for that of Mask DINO's is taken from the memory; nor for
the heads that DINO's encoder has to itself (``enc_out_*``), for Mask DINO's serve encoder and decoder alike; nor, the other way
round, for what draws masks and for decoder layers beyond DINO's six.

Where both have a thing, but not of the same form:

- DINO's decoder sees the levels of the memory from the finest to the coarsest, Mask DINO's the other way round. So the rows of
  its sampling offsets and attention weights, which stand level by level, change places. A level that DINO does not have (the
  checkpoint has four, the model five) starts fresh.
- Mask DINO has one box head for all layers. So do the makers' models; detrex's have one per layer, of which that of the last
  decoder layer is taken: its boxes are the result. The same holds for the classifier.
- The makers' classifier has 91 rows, one for each number up to COCO's largest category id. A model of COCO's 80 classes takes
  the 80 rows in use, a model of 91 classes all of them. Where the number of classes is another, classifier and label
  embedding start fresh.
- The makers encode places on a map with a temperature of 20, Mask DINO with 10000: the encoder has to adapt to that.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.errors import CheckpointMismatchError
from engine.model.families.maskdino.model import MaskDino
from training.pretrained.dino_names import DinoNames

DINO_FITS = "mask_dino"
"""The kind of models that share their modules with DINO."""

_COCO_ROWS = 91
COCO_IDS = [number for number in range(1, _COCO_ROWS) if number not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]


def dino_tensors(model: MaskDino, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """Translate what a DINO detector shares with a model.

    Args:
        model: gives the names, and fresh values for levels that the detector does not have.
        state: tensors by published name.

    Returns:
        Tensors by our names, and the names in ``state`` that they came from.

    Raises:
        CheckpointMismatchError: the detector's attention has another number of points or heads than the model's.
    """
    names = DinoNames(state)
    stages = {width: stage for stage, width in model.backbone.channels.items()}
    theirs = _level_names(
        [stages.get(shape[1], "") for shape in names.projections if shape[2:] == (1, 1)], count=len(names.projections)
    )
    ours = _level_names(list(model.config.pixel_decoder.features), count=model.config.pixel_decoder.levels)
    heads = {"pixel_decoder": model.config.pixel_decoder.heads, "decoder": model.config.decoder.heads}
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for name, weight in model.state_dict().items():
        part, *rest = name.split(".")
        if rest[0] == "input_projections":
            level = ours[int(rest[1])]
            if level not in theirs:
                continue
            published = names.published(".".join([part, rest[0], str(theirs.index(level)), *rest[2:]]))
        else:
            published = names.published(name)
        if published not in state:
            continue
        value: Tensor | None = state[published]
        if name.startswith(("heads.classify.", "label_embedding.")):
            classifier = state.get(names.published("heads.classify.weight"), value)
            trained = len(classifier) if classifier.dim() else 0
            value = _rows_of_classes(value, model.config.num_classes, trained=trained)
        elif "sampling_offsets" in rest or "attention_weights" in rest:
            in_order = ours if part == "pixel_decoder" else ours[::-1]
            value = _by_level(name, value, weight, theirs=theirs, ours=in_order, heads=heads[part])
        elif "level_embedding" in rest:
            value = _by_level(name, value, weight, theirs=theirs, ours=ours, heads=1)
        if value is not None:
            found[name] = value
            used.update(alias for alias in names.aliases(published) if torch.equal(state[alias], state[published]))
    return found, used


def _level_names(features: list[str], *, count: int) -> list[str]:
    """Name the levels of a memory: maps of the backbone, then those that strided convolutions add below the last."""
    return features + [f"added {number}" for number in range(count - len(features))]


def _by_level(name: str, value: Tensor, fresh: Tensor, *, theirs: list[str], ours: list[str], heads: int) -> Tensor:
    """Bring rows that stand head by head and level by level, (heads * levels * n, ...), into our order of levels."""
    expected = (fresh.shape[0] // len(ours) * len(theirs), *fresh.shape[1:])
    if value.shape != expected:
        raise CheckpointMismatchError(
            f"its tensor for {name} has the shape {tuple(value.shape)}, and would need {expected} for {len(theirs)} levels."
        )
    result = fresh.detach().clone().unflatten(0, (heads, len(ours), -1))
    value = value.unflatten(0, (heads, len(theirs), -1))
    for index, level in enumerate(ours):
        if level in theirs:
            result[:, index] = value[:, theirs.index(level)]
    return result.flatten(0, 2)


def _rows_of_classes(value: Tensor, classes: int, *, trained: int) -> Tensor | None:
    """Take the rows of a model's classes out of a classifier or label embedding; None where the classes are others."""
    if trained == classes:
        rows = list(range(classes))  # the makers' label embedding has one more
    elif trained == _COCO_ROWS and classes == len(COCO_IDS):
        rows = COCO_IDS
    else:
        return None
    return value[rows] if value.dim() and len(value) > rows[-1] else value  # too few do not fit, which is said later
