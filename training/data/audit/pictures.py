"""Pictures for the report of an audit, as HTML that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.data.audit.perceptual_hash import orient
from training.data.coco.image_files import open_image

_PIXELS = 180  # longer side of a picture
_AROUND = 30  # pixels of the image shown around an annotation
_OUTLINE, _BOX = (255, 60, 40), (60, 150, 255)


def whole_picture(path: Path, orientation: int = 0) -> str:
    """Show an image, turned by ``perceptual_hash.orient``."""
    with open_image(path) as picture:
        picture.draft("RGB", (_PIXELS, _PIXELS))
        small = picture.convert("RGB")
    small.thumbnail((_PIXELS, _PIXELS))
    turned = orient(np.moveaxis(np.asarray(small), -1, 0), orientation)
    return _tag(Image.fromarray(np.ascontiguousarray(np.moveaxis(turned, 0, -1))))


def outlined_picture(path: Path, rings: Sequence[np.ndarray], box: np.ndarray) -> str:
    """Show an annotation where it stands on its image: the outline red, the stated box blue; nothing if it has no rings.

    Args:
        path: of the image.
        rings: (K, 2) in pixels.
        box: (4,) left, top, width and height, NaN where the file says none.
    """
    if not rings:
        return ""
    points = np.concatenate(rings)
    low, high = points.min(axis=0) - _AROUND, points.max(axis=0) + _AROUND
    side = float(min((high - low).max(), 1e4))
    corner = (low + high - side) / 2
    zoom = _PIXELS / side
    with open_image(path) as picture:
        # Outside the image it is black: outlines that reach there stay visible.
        size, extent = (_PIXELS, _PIXELS), (*corner, *(corner + side))
        shown = picture.convert("RGB").transform(size, Image.Transform.EXTENT, extent, resample=Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(shown)
    if np.isfinite(box).all():
        left, top, width, height = box
        corners = np.add([[0, 0], [width, 0], [width, height], [0, height]], [left, top])
        _draw(pen, (corners - corner) * zoom, _BOX)
    for ring in rings:
        _draw(pen, (ring - corner) * zoom, _OUTLINE)
    return _tag(shown)


def _draw(pen: ImageDraw.ImageDraw, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    closed = np.clip(np.concatenate([points, points[:1]]), -1e4, 1e4)
    pen.line([tuple(point) for point in closed.tolist()], fill=colour, width=2)


def _tag(picture: Image.Image) -> str:
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode("ascii")}">'
