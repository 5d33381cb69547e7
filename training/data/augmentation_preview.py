"""Pictures of training crops with their masks and boxes: what a model will see, and what each augmentation does by itself."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

from engine.errors import ArgumentError, OutputError
from training.data.augmentation_config import AugmentationConfig
from training.data.dataset import TrainingCrops
from training.losses.target import Target

_SIDE = 512  # pixels of a picture, at least
_SMALL = 224  # pixels of a picture in a sheet
_GAP = 6
_COLUMNS = 5
_TITLE = 150  # pixels for the names of rows
_GOLDEN = 0.618034  # turns of the colour wheel between one instance and the next: neighbours in number differ most


def write_previews(train: TrainingCrops, folder: Path, *, count: int) -> list[Path]:
    """Write pictures of the first training crops, a sheet of them, and a sheet of each augmentation alone.

    Args:
        train: crops as they are trained on.
        folder: is made if need be.
        count: of crops.

    Returns:
        The files.

    Raises:
        ArgumentError: ``count`` is below 1.
        OutputError: the folder cannot be written to.
    """
    if count < 1:
        raise ArgumentError(f"count is {count}.", hint="Give 1 or more.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [draw_crop(*train[index]) for index in range(count)]
        named = {f"crop_{index:04}.png": picture for index, picture in enumerate(pictures)}
        named |= {"crops.png": _sheet(pictures), "augmentations.png": _each_alone(train)}
        for name, picture in named.items():
            picture.save(folder / name, optimize=True)
    except OSError as error:
        raise OutputError(f"Pictures cannot be written to {folder}: {error.strerror}.", hint="Name another folder.") from error
    return [folder / name for name in named]


def draw_crop(image: Tensor, target: Target) -> Image.Image:
    """Draw a crop with the edge of each mask and its box, each instance in a colour of its own, and ignored ground in grey.

    Args:
        image: (3, S, S) float, 0..255.
        target: its instances.
    """
    side = image.shape[-1]
    factor = max(1, -(-_SIDE // side))
    pixels = Image.fromarray(image.permute(1, 2, 0).byte().numpy()).resize((side * factor,) * 2, Image.Resampling.BICUBIC)
    canvas = np.array(pixels, dtype=np.float32)
    if target.ignored is not None:
        ignored = target.ignored.numpy().repeat(factor, axis=0).repeat(factor, axis=1)
        canvas[ignored] += 0.6 * (128 - canvas[ignored])
    colours = [np.array(colorsys.hsv_to_rgb(n * _GOLDEN % 1, 0.85, 1.0)) * 255 for n in range(len(target))]
    for mask, colour in zip(target.masks.numpy(), colours, strict=True):
        large = mask.repeat(factor, axis=0).repeat(factor, axis=1)
        canvas[large] += 0.22 * (colour - canvas[large])
        canvas[large & ~ndimage.binary_erosion(large, iterations=2)] = colour
    picture = Image.fromarray(canvas.round().astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for (x, y, width, height), colour in zip((target.boxes * side * factor).tolist(), colours, strict=True):
        edges = (x - width / 2, y - height / 2, x + width / 2 - 1, y + height / 2 - 1)
        draw.rectangle(edges, outline=tuple(int(v) for v in colour))
    return picture


def _each_alone(train: TrainingCrops) -> Image.Image:
    """Draw the same crops as they are and under each augmentation alone, a row each."""
    config = train.augmentation
    still = AugmentationConfig(
        orientations="none", scale=(1.0, 1.0), colour=0.0, fill=config.fill, distortion=config.distortion
    )
    turned = {"orientations": "eight" if config.orientations == "none" else config.orientations}
    rows = {
        "as it is": ({}, True),
        f"orientations: {turned['orientations']}": (turned, config.orientations != "none"),
        f"scale: {config.scale[0]:g} to {config.scale[1]:g}": ({"scale": config.scale}, config.scale[0] < config.scale[1]),
        f"colour: {config.colour or 1:g}": ({"colour": config.colour or 1.0}, config.colour > 0),
        f"perspective: {config.distortion:g}": ({"perspective": 1.0}, config.perspective > 0),
        "mosaic": ({"mosaic": 1.0}, config.mosaic > 0),
        "mixup": ({"mixup": 1.0}, config.mixup > 0),
    }
    step = _SMALL + _GAP
    sheet = Image.new("RGB", (_TITLE + _COLUMNS * step, len(rows) * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, (title, (change, used)) in enumerate(rows.items()):
        crops = train.with_augmentation(still.model_copy(update=change))
        words = title.replace(": ", "\n") + ("" if used else "\n(not in this config)")
        draw.multiline_text((_GAP, row * step + 8), words, fill="black", font=font)
        for column in range(_COLUMNS):
            picture = draw_crop(*crops[column]).resize((_SMALL, _SMALL), Image.Resampling.LANCZOS)
            sheet.paste(picture, (_TITLE + column * step, row * step))
    return sheet


def _sheet(pictures: list[Image.Image]) -> Image.Image:
    columns = min(_COLUMNS, len(pictures))
    step = _SMALL + _GAP
    sheet = Image.new("RGB", (columns * step, -(-len(pictures) // columns) * step), "white")
    for number, picture in enumerate(pictures):
        small = picture.resize((_SMALL, _SMALL), Image.Resampling.LANCZOS)
        sheet.paste(small, (number % columns * step, number // columns * step))
    return sheet
