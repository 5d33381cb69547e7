"""Random changes of crops that leave their buildings what they are: where they stand, and what else is in the crop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch.nn import functional as F

from training.data.crop import Crop

_MOST_PASTED = 16  # buildings that are copied into a crop
_VISIBLE = 32.0  # of the Beta distribution that mixup's share is drawn from: near a half, so that both images can be seen


def turn(crop: Crop, rng: np.random.Generator, orientations: Literal["none", "horizontal", "eight"]) -> Crop:
    """Mirror a square crop, or mirror and turn it into one of all eight orientations, each as likely."""
    left_right, up_down, diagonal = rng.random(3) < 0.5
    image, layers = crop.image, crop.layers
    if orientations != "none" and left_right:
        image, layers = image[:, ::-1], layers[..., ::-1]
    if orientations == "eight" and up_down:
        image, layers = image[::-1], layers[:, ::-1]
    if orientations == "eight" and diagonal:
        image, layers = image.swapaxes(0, 1), layers.swapaxes(1, 2)
    return Crop(np.ascontiguousarray(image), np.ascontiguousarray(layers), crop.labels)


def tilt(crop: Crop, rng: np.random.Generator, *, distortion: float) -> Crop:
    """See a crop as by a tilted camera.

    The corners of the result are points inside the crop, so nothing has to be filled in; what is seen is magnified by some
    1 / (1 - distortion), for which the caller leaves room.

    Args:
        crop: square.
        rng: of the four points.
        distortion: how far from the corners they may be, as a share of the side.
    """
    side = len(crop.image)
    corners = np.array([(0, 0), (side, 0), (side, side), (0, side)], dtype=float)
    points = corners + rng.uniform(0, distortion * side, (4, 2)) * [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    how = {"size": (side, side), "method": Image.Transform.PERSPECTIVE, "data": _perspective(corners, points)}
    image = Image.fromarray(crop.image).transform(**how, resample=Image.Resampling.BILINEAR)
    layers = [Image.fromarray(layer).transform(**how, resample=Image.Resampling.NEAREST) for layer in crop.layers]
    return Crop(np.array(image), np.stack([np.asarray(layer) for layer in layers]), crop.labels)


def _perspective(corners: np.ndarray, points: np.ndarray) -> tuple[float, ...]:
    """Return a to h of the map from ``corners`` (4, 2) to ``points``: u = (ax + by + c) / (gx + hy + 1), and v by d, e, f."""
    equations, zero, one = [], np.zeros(3), np.ones(1)
    for (x, y), (u, v) in zip(corners, points, strict=True):
        place = np.concatenate([(x, y), one])
        equations += [np.concatenate([place, zero, (-u * x, -u * y)]), np.concatenate([zero, place, (-v * x, -v * y)])]
    return tuple(np.linalg.solve(equations, points.ravel()).tolist())


def lean(crop: Crop, rng: np.random.Generator) -> Crop:
    """Let the buildings of a crop lean as an off-nadir sensor sees them: all one way, each as far as it is high.

    Roofs move, and with them their masks; the wall between a roof and where it was is painted in a darker tone of it, and
    hides ground and neighbours.
    """
    direction, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.006, 0.025) * len(crop.image)
    way = np.array([np.sin(direction), np.cos(direction)])
    whole = Crop(crop.image.copy(), crop.layers.copy(), crop.labels)
    boxes = {
        number: box[1:]
        for number, box in enumerate(ndimage.find_objects(crop.layers), start=1)
        if box is not None and crop.labels[number - 1] >= 0
    }
    # The farthest against the direction first: a building hides what stands behind it.
    for number in sorted(boxes, key=lambda number: way @ [side.start + side.stop for side in boxes[number]]):
        steps = np.rint(np.arange(1, height * rng.uniform(0.4, 1.6) + 1)[:, None] * way).astype(int)
        if len(steps):
            reach = int(np.abs(steps).max())
            rows, columns = (slice(max(side.start - reach, 0), side.stop + reach) for side in boxes[number])
            _lean_one(whole.image[rows, columns], whole.layers[:, rows, columns], number, steps, rng)
    return whole


def _lean_one(image: np.ndarray, layers: np.ndarray, number: int, steps: np.ndarray, rng: np.random.Generator) -> None:
    """Move the roof of one building along ``steps`` (S, 2), rows and columns, in the part of a crop that it reaches."""
    roof = (layers == number).any(axis=0)
    if not roof.any():  # hidden by now
        return
    swept = roof.copy()
    for step in steps:
        to, source = _overlap(roof.shape, *step)
        swept[to] |= roof[source]
    moved, pixels = np.zeros_like(roof), image.copy()
    moved[to], pixels[to] = roof[source], image[source]
    wall = swept & ~moved
    tone = image[roof].mean(axis=0) * rng.uniform(0.35, 0.85)
    image[wall] = np.clip(tone + rng.normal(0, 5, (int(wall.sum()), 1)), 0, 255)
    image[moved] = pixels[moved]
    layers[:, swept] = 0
    layers[0, moved] = number


def _overlap(shape: tuple[int, int], down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where pixels that move by whole steps come to lie, and which they are: those that stay within an array."""
    height, width = shape
    to = (slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
    return to, (slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0)))


def copy_paste(crop: Crop, other: Crop, rng: np.random.Generator) -> Crop:
    """Copy some buildings of another crop into a crop, where they stand there (Simple Copy-Paste, arXiv 2012.07177).

    They cover what was there, regions too. Borders are softened over a pixel, as a camera would.
    """
    instances = np.flatnonzero(other.labels >= 0)
    if not len(instances):
        return crop
    chosen = rng.choice(instances, int(rng.integers(1, min(len(instances), _MOST_PASTED) + 1)), replace=False)
    pasted = other.numbered(chosen, first=len(crop.labels) + 1)
    covered = pasted.any(axis=0)
    around = torch.from_numpy(covered).float()[None]
    share = F.avg_pool2d(around, 3, stride=1, padding=1, count_include_pad=False)[0, ..., None].numpy()
    mixed = np.rint(crop.image + share * (other.image.astype(np.float32) - crop.image)).astype(np.uint8)
    labels = np.concatenate([crop.labels, other.labels[chosen]])
    return Crop(mixed, _together(crop.layers * ~covered, pasted), labels)


def mosaic(draw: Callable[[int], Crop], side: int, rng: np.random.Generator) -> Crop:
    """Put a crop together of four, around a point that is drawn from its middle (arXiv 2004.10934, section 3.3).

    Each is drawn no larger than its place, at its own scale: what a pixel shows on the ground stays what it is, and ground that
    is smaller than a whole crop will do. Buildings that the seams cut are kept as what is seen of them.

    Args:
        draw: gives a crop of that many pixels.
        side: of the whole.
        rng: of the point.
    """
    x, y = (int(v) for v in rng.integers(side // 4, side - side // 4 + 1, 2))
    image, layers = np.zeros((side, side, 3), dtype=np.uint8), np.zeros((1, side, side), dtype=np.int32)
    labels = np.zeros(0, dtype=np.int64)
    for top, bottom, left, right in [(0, y, 0, x), (0, y, x, side), (y, side, 0, x), (y, side, x, side)]:
        height, width = bottom - top, right - left
        piece = draw(max(height, width))
        image[top:bottom, left:right] = piece.image[:height, :width]
        placed = np.zeros((len(piece.layers), side, side), dtype=np.int32)
        placed[:, top:bottom, left:right] = _shifted(piece.layers[:, :height, :width], by=len(labels))
        layers, labels = _together(layers, placed), np.concatenate([labels, piece.labels])
    return Crop(image, layers, labels)


def blend(first: Crop, second: Crop, rng: np.random.Generator) -> Crop:
    """Lay a crop over another one, both half visible, and keep the instances of both (mixup, arXiv 1710.09412).

    All instances count in full, as in detection practice: there is no class to soften where each is there or is not.
    """
    share = np.float32(rng.beta(_VISIBLE, _VISIBLE))
    mixed = np.rint(share * first.image + (1 - share) * second.image).astype(np.uint8)
    layers = np.concatenate([first.layers, _shifted(second.layers, by=len(first.labels))])
    return Crop(mixed, layers, np.concatenate([first.labels, second.labels]))


def _shifted(layers: np.ndarray, *, by: int) -> np.ndarray:
    return np.where(layers > 0, layers + np.int32(by), 0)


def _together(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Put layers (L, H, W) and (M, H, W) with numbers in different pixels into one another."""
    more, fewer = (first, second) if len(first) >= len(second) else (second, first)
    together = more.copy()
    together[: len(fewer)] += fewer
    return together
