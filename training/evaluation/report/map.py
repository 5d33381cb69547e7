"""Pictures of footprints: the whole ground as one picture, and a close look at one place."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
import shapely
from PIL import Image, ImageDraw

from training.evaluation.layers.evaluation import LayerEvaluation

RIGHT, WRONG, MISSED = (22, 128, 102), (205, 62, 44), (224, 160, 20)
"""Green, red and yellow that stay apart for most colour-blind readers too: they differ in lightness. As in style.css."""
_SIDE = 1100  # pixels of the longer side
_FINER = 2  # drawn larger, then reduced: smooth edges
_CLOSE = 180  # pixels of a close look


def map_picture(evaluation: LayerEvaluation) -> str | None:
    """Draw both layers as a PNG in a data URI; None where there is nothing to draw."""
    everything = np.concatenate([evaluation.detected, evaluation.annotated])
    if not len(everything):
        return None
    left, bottom, right, top = shapely.total_bounds(everything)
    longest = max(right - left, top - bottom)
    left, bottom, right, top = left - 0.02 * longest, bottom - 0.02 * longest, right + 0.02 * longest, top + 0.02 * longest
    scale = _SIDE * _FINER / max(right - left, top - bottom)
    size = (max(round((right - left) * scale), 1), max(round((top - bottom) * scale), 1))
    picture = Image.new("RGB", size, (250, 250, 247))
    draw = ImageDraw.Draw(picture, "RGBA")

    def pixels(geometries: np.ndarray) -> list[list[tuple[float, float]]]:
        parts = shapely.get_parts(geometries)
        points, ring = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
        points = (points - [left, top]) * [scale, -scale]
        ends = np.flatnonzero(np.diff(ring)) + 1
        return [[tuple(point) for point in outline.tolist()] for outline in np.split(points, ends)] if len(points) else []

    if evaluation.area is not None:
        for outline in pixels(evaluation.area):
            draw.polygon(outline, fill=(255, 255, 255), outline=(120, 120, 120))
    groups = (
        (evaluation.annotated[evaluation.missed], (*MISSED, 235)),
        (evaluation.detected[evaluation.matched < 0], (*WRONG, 215)),
        (evaluation.detected[evaluation.matched >= 0], (*RIGHT, 215)),
    )
    for geometries, colour in groups:
        for outline in pixels(geometries):
            draw.polygon(outline, fill=colour, outline=colour)  # the outline keeps what is smaller than a pixel
    picture = picture.resize((max(size[0] // _FINER, 1), max(size[1] // _FINER, 1)), Image.Resampling.BOX)
    content = io.BytesIO()
    picture.quantize(128).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


class CloseLooks:
    """Draw places of an evaluation one by one, as SVG: what is annotated, filled, and what was detected, as lines."""

    def __init__(self, evaluation: LayerEvaluation) -> None:
        self._evaluation = evaluation
        self._detected = shapely.STRtree(evaluation.detected)
        self._annotated = shapely.STRtree(evaluation.annotated)

    def of_annotation(self, row: int) -> str:
        """Draw the ground around one annotation."""
        shape = self._evaluation.annotated[row]
        left, bottom, right, top = shapely.bounds(shape)
        reach = 0.8 * max(right - left, top - bottom)
        middle = ((left + right) / 2, (bottom + top) / 2)
        window = shapely.box(middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)
        scale = _CLOSE / (2 * reach)

        def path(geometry: shapely.Geometry, style: str) -> str:
            rings = shapely.get_rings(shapely.get_parts(geometry))
            text = []
            for ring in rings:
                points = (shapely.get_coordinates(ring) - [middle[0] - reach, middle[1] + reach]) * [scale, -scale]
                text.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
            return f'<path class="{style}" d="{"".join(text)}"/>'

        others = [
            path(self._evaluation.annotated[other], "there" if other == row else "beside")
            for other in self._annotated.query(window)
        ]
        found = [path(self._evaluation.detected[other], "found") for other in self._detected.query(window)]
        label = escape(f"annotation {self._evaluation.annotations.ids[row]}")
        return f'<svg viewBox="0 0 {_CLOSE} {_CLOSE}" role="img" aria-label="{label}">{"".join(others + found)}</svg>'
