"""What a model finds in the images of a COCO file, in COCO's format of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as run_lengths

from engine.errors import ArgumentError
from engine.files.input_file import refuse_special
from engine.model.instance_model import InstanceModel
from training.data.coco.image_files import read_rgb
from training.data.coco.layout import CocoImage
from training.evaluation.coco.truth import CocoTruth, encoded_mask

Result = dict[str, Any]
"""``image_id``, ``category_id``, ``score``, ``bbox`` and run-length ``segmentation``."""


def predict_images(
    model: InstanceModel,
    truth: CocoTruth,
    *,
    max_detections: int = 100,
    resize: int | None = None,
    batch_size: int = 1,
    progress: Callable[[int, int], None] = lambda done, found: None,
) -> list[Result]:
    """Run a model over the images of a COCO file.

    Args:
        model: on its device, as ``load_model`` gives it.
        truth: the file; nothing but its images and categories is looked at.
        max_detections: the best so many of each image are kept, whatever their score, but none with an empty mask.
        resize: shorter side in pixels that the images are brought to for the model (the published MapChallenge run: 320), their
            own size by default. Masks come back in the image's own pixels.
        batch_size: images at once; they are padded to the largest of them, so batches alter figures in the last digits.
        progress: called with the images done and the detections so far; what it raises ends the work.

    Raises:
        ArgumentError: the model's classes are not the file's, or an image has another size than the file says.
    """
    categories = category_ids(model.header.classes, truth.dataset["categories"])
    results: list[Result] = []
    for start in range(0, len(truth.images), batch_size):
        progress(start, len(results))
        entries = truth.images[start : start + batch_size]
        pictures = [torch.from_numpy(read_image(entry, resize)).permute(2, 0, 1) for entry in entries]
        sizes = [(entry.height, entry.width) for entry in entries]
        batch = model.instances(pictures, count=max_detections, output_sizes=sizes)
        for entry, found in zip(entries, batch, strict=True):
            columns = (found.scores.tolist(), found.labels.tolist(), found.boxes.double().numpy(), found.masks.numpy())
            for score, label, (left, top, right, bottom), mask in zip(*columns, strict=True):
                if mask.any():
                    results.append({
                        "image_id": entry.id,
                        "category_id": categories[label],
                        "score": score,
                        "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
                        "segmentation": run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8)),
                    })  # fmt: skip
    progress(len(truth.images), len(results))
    return results


def category_ids(classes: Sequence[str], categories: Sequence[dict[str, Any]]) -> list[Any]:
    """Return the category of each class of a model: by name; the one by the one; in the order of ids where counts agree.

    Raises:
        ArgumentError: none of that.
    """
    by_name = {str(category.get("name", "")).lower(): category["id"] for category in categories}
    if all(name.lower() in by_name for name in classes):
        return [by_name[name.lower()] for name in classes]
    if len(classes) == len(categories):
        return sorted(category["id"] for category in categories)
    raise ArgumentError(
        f"The model knows {', '.join(classes[:5])}; the annotations have {', '.join(list(by_name)[:5])}.",
        hint="Give a model of these classes, or annotations of that one alone.",
    )


def read_image(entry: CocoImage, resize: int | None) -> np.ndarray:
    """Read an image (H, W, 3) uint8 in RGB; brought to the shorter side ``resize``, bilinearly as detectron2 does.

    Raises:
        ArgumentError: it cannot be read, or has another size than the annotations say.
    """
    pixels = read_rgb(entry)
    if resize is None:
        return np.array(pixels)
    scale = resize / min(entry.width, entry.height)
    size = round(scale * entry.width), round(scale * entry.height)
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def read_results(path: Path, truth: CocoTruth) -> list[Result]:
    """Read detections from a file in COCO's format of results; polygons become masks, a missing box that of the mask.

    Raises:
        ArgumentError: it cannot be read, or a detection is of an image or category that the annotations do not have.
    """
    refuse_special(path, what="The results", error=ArgumentError)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, list):
            raise ValueError("it is no list of detections")
        sizes = {image.id: (image.height, image.width) for image in truth.images}
        known = {category["id"] for category in truth.dataset["categories"]}
        results = []
        for number, entry in enumerate(content):
            image = truth.image_ids.get(entry["image_id"])
            if image is None or entry["category_id"] not in known:
                raise ValueError(f"detection {number} is of an image or category that the annotations do not have")
            height, width = sizes[image]
            mask = encoded_mask(entry["segmentation"], height=height, width=width)
            box = [float(value) for value in entry.get("bbox") or run_lengths.toBbox(mask)]
            results.append({"image_id": image, "category_id": entry["category_id"], "score": float(entry["score"]),
                            "bbox": box, "segmentation": mask})  # fmt: skip
    except KeyError as error:
        raise ArgumentError(f"The results {path} have a detection without {error}.", hint="Give COCO results.") from error
    except (OSError, ValueError, TypeError) as error:
        raise ArgumentError(f"The results {path} cannot be read: {error}.", hint="Give COCO results.") from error
    return results


def results_text(results: Sequence[Result]) -> str:
    """Return detections as the text of a file of COCO results."""

    def plain(result: Result) -> Result:
        mask = result["segmentation"]
        return {**result, "segmentation": {**mask, "counts": mask["counts"].decode("ascii")}}

    return json.dumps([plain(result) for result in results])
