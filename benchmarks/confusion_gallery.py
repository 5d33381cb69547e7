"""A picture of what a model does well and what it gets wrong: of each place the best, a typical and the worst crop."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from engine.model.instance_model import InstanceModel
from engine.model.postprocess import ImageInstances
from training.callbacks.prediction_pictures import pair, sheet
from training.data.sample import Sample
from training.data.training_data import Places
from training.evaluation.coco.mask_scores import LOWEST, MaskAccumulator, MaskScores

_CAPTION = 22  # pixels above each pair
_DIMMED = 0.35  # brightness of ground that does not count


def draw_gallery(model: InstanceModel, places: Places, accumulator: MaskAccumulator) -> Image.Image:
    """Draw a row for each place: annotations left, detections of score 0.5 or more right; ground that does not count is dark.

    Args:
        model: that the accumulator describes.
        places: the images that the accumulator describes, by place.
        accumulator: what the model found in them.
    """
    pictures = []
    for place, numbers in places.ranges.items():
        chosen = choose_crops({number: accumulator.scores(numbers=[number]) for number in numbers})
        row = [_picture(model, places[number], f"{place}, {word}", scores) for word, number, scores in chosen]
        pictures += row + [np.full_like(row[0], 255)] * (3 - len(row)) if row else []
    return Image.fromarray(sheet(pictures, columns=3))


def choose_crops(scores: dict[int, MaskScores]) -> Iterable[tuple[str, int, MaskScores]]:
    """Choose the best, a typical and the worst crop by F1; of equal ones those with more to find, or more errors, stand out.

    Args:
        scores: of each crop, by its number. Those without buildings and detections do not count.

    Returns:
        Words, number and figures of three crops or, where there are fewer, of all.
    """
    counted = [number for number, found in scores.items() if found.buildings or found.detections]
    order = sorted(counted, key=lambda number: (-scores[number].f1, _errors(scores[number]), -scores[number].buildings))
    places = {0: "best", len(order) - 1: "worst"} | ({len(order) // 2: "typical"} if len(order) > 2 else {})
    return [(places[place], order[place], scores[order[place]]) for place in sorted(places) if order]


def _errors(found: MaskScores) -> int:
    """Count false buildings and missed ones."""
    return found.detections + found.buildings - 2 * round(found.recall * found.buildings)


def _picture(model: InstanceModel, sample: Sample, caption: str, scores: MaskScores) -> np.ndarray:
    pixels = np.array(sample.image)
    dimmed = sample.masks[sample.crowd].any(axis=0)
    pixels[dimmed] = (_DIMMED * pixels[dimmed]).astype(np.uint8)
    drawn = pair(Sample(pixels, sample.masks[~sample.crowd]), _instances(model, sample))
    text = Image.new("RGB", (drawn.shape[1], _CAPTION), "white")
    counts = f"{scores.buildings} buildings, {scores.detections} detected"
    figures = f"F1 {scores.f1:.2f}, P {scores.precision:.2f}, R {scores.recall:.2f}"
    ImageDraw.Draw(text).text((2, 4), f"{caption}: {figures} ({counts})", fill="black", font=ImageFont.load_default(12))
    return np.vstack([np.array(text), drawn])


def _instances(model: InstanceModel, sample: Sample) -> ImageInstances:
    device = next(model.parameters()).device
    return model.instances(torch.from_numpy(np.array(sample.image)).permute(2, 0, 1)[None].to(device), threshold=LOWEST)[0]
