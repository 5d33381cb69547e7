"""Buildings of a synthetic town: where one stands on its plot, the shape of its footprint, and what its roof is.

A building is a quadrilateral frame with rectangles in the frame's unit square; its footprint is their union. Lines of constant
u or v stay straight under the bilinear map from the unit square to the frame, so the footprint is an exact polygon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from training.data.synthetic.quadrilateral import UNIT_SQUARE, bilinear, inward_normals, side_lengths
from training.data.synthetic.style import RoofMaterial, TownStyle, draw_by_weight

STOREY_HEIGHT = 2.9
SMALLEST_SIDE = 1.6  # metres; what is smaller is not taken for a building by those who draw footprints


@dataclass(frozen=True, eq=False)
class Building:
    """A building.

    Attributes:
        frame: (4, 2) corners in metres.
        parts: (P, 4) rectangles u0, v0, u1, v1 in the frame's unit square, each with a roof of its own form.
        footprint: in metres; valid, in one part, possibly with a courtyard.
        height: of the eaves over the ground, metres.
        material, form, colour, pitch: the roof; pitch is rise over run.
        seed: of the details, so that painting one building does not depend on the others.
    """

    frame: np.ndarray
    parts: np.ndarray
    footprint: shapely.Polygon
    height: float
    material: RoofMaterial
    form: str
    colour: np.ndarray
    pitch: float
    seed: int


def build_on_plot(rng: np.random.Generator, style: TownStyle, plot: np.ndarray, *, large: bool) -> list[Building]:
    """Put a house, and sometimes a shed, on a plot. The list may be empty where the plot is too small."""
    detached = large or style.attached < 0.15 or rng.random() > style.attached + 0.25
    frame = _detached_frame(rng, style, plot) if detached else _attached_frame(rng, style, plot)
    if frame is None:
        return []
    buildings = [_make_building(rng, style, frame, large=large)]
    if rng.random() < style.annexes:
        shed = _shed_frame(rng, plot, buildings[0].footprint)
        if shed is not None:
            buildings.append(_make_building(rng, style, shed, annex=True))
    return buildings


def _attached_frame(rng: np.random.Generator, style: TownStyle, plot: np.ndarray) -> np.ndarray | None:
    """Take the plot itself, with each side either on the border or set back a little."""
    sides = side_lengths(plot)
    back = np.where(rng.random(4) < style.attached, 0.0, rng.uniform(0.3, 0.22 * max(sides.min(), 2.0), 4))
    low_u, high_u = back[3] / sides[0], 1 - back[1] / sides[0]
    low_v, high_v = back[0] / sides[1], 1 - back[2] / sides[1]
    frame = bilinear(plot, np.array([[low_u, low_v], [high_u, low_v], [high_u, high_v], [low_u, high_v]]))
    return frame if side_lengths(frame).min() > SMALLEST_SIDE else None


def _detached_frame(rng: np.random.Generator, style: TownStyle, plot: np.ndarray) -> np.ndarray | None:
    """Place a true rectangle inside the plot, roughly along its sides."""
    axis = (plot[1] - plot[0]) / max(np.hypot(*(plot[1] - plot[0])), 1e-6)
    angle = np.arctan2(axis[1], axis[0]) + rng.normal(0, 0.05 * (1 + 2 * style.grid_disorder))
    size = side_lengths(plot) * rng.uniform(*style.coverage, 2)
    longest = 2.3 * size.min()
    size = np.minimum(size, longest)
    centre = bilinear(plot, 0.5 + rng.uniform(-0.12, 0.12, (1, 2)))[0]
    return _fit_rectangle(plot, centre, size, angle)


def _shed_frame(rng: np.random.Generator, plot: np.ndarray, house: shapely.Polygon) -> np.ndarray | None:
    """Place a small rectangle on the plot where the house leaves room."""
    axis = plot[1] - plot[0]
    for _ in range(3):
        centre = bilinear(plot, rng.uniform(0.1, 0.9, (1, 2)))[0]
        size = rng.uniform(2.0, min(6.5, max(2.1, 0.45 * side_lengths(plot).min())), 2)
        frame = _fit_rectangle(plot, centre, size, float(np.arctan2(axis[1], axis[0])))
        if frame is not None and not shapely.intersects(house, shapely.polygons(frame)):
            return frame
    return None


def _fit_rectangle(plot: np.ndarray, centre: np.ndarray, size: np.ndarray, angle: float) -> np.ndarray | None:
    """Return the rectangle, shrunk until it lies within the plot; None where that leaves too little."""
    along = np.array([np.cos(angle), np.sin(angle)])
    offsets = (UNIT_SQUARE - 0.5) * size
    corners = offsets[:, :1] * along + offsets[:, 1:] * np.array([-along[1], along[0]])
    normals = inward_normals(plot)
    room = ((centre - plot) * normals).sum(axis=1)  # distance to each side, times its length
    reach = -(corners @ normals.T).min(axis=0)
    if (room <= 0).any():
        return None
    scale = float(min(1.0, 0.999 * (room / np.maximum(reach, 1e-9)).min()))
    return centre + corners * scale if scale * size.min() > SMALLEST_SIDE else None


def _make_building(
    rng: np.random.Generator, style: TownStyle, frame: np.ndarray, *, large: bool = False, annex: bool = False
) -> Building:
    sides = side_lengths(frame)
    small = sides.min() < 5.0
    shape = "rectangle" if annex or (small and rng.random() < 0.9) else draw_by_weight(rng, style.shapes)
    if shape == "courtyard" and sides.min() < 9.0:
        shape = "l"
    if shape == "round":
        outline, parts = _round_outline(), UNIT_SQUARE[[0, 2]].reshape(1, 4)
    else:
        parts = _parts(rng, shape)
        outline = shapely.box(0, 0, 1, 1) if len(parts) == 1 else shapely.union_all(shapely.box(*parts.T))
    material = draw_by_weight(rng, style.roofs)
    while (annex or large) and material.surface in ("shell", "thatch"):
        material = draw_by_weight(rng, style.roofs)
    form = draw_by_weight(rng, material.forms)
    if (large or sides.min() > 16.0) and form == "hip" and material.surface == "corrugated":
        form = "gable"
    storeys = 1 if annex else int(rng.integers(style.storeys[0], style.storeys[1] + 1))
    height = STOREY_HEIGHT * storeys + rng.uniform(-0.4, 0.9) + (2.0 if large else 0.0)
    if material.surface == "shell":
        height = rng.uniform(0.8, 2.6)
    colour = np.array(material.colours[int(rng.integers(len(material.colours)))])
    colour = np.clip(colour * rng.normal(1.0, 0.07) + rng.normal(0, 0.015, 3), 0.05, 0.97)
    pitch = {"corrugated": rng.uniform(0.12, 0.4), "tile": rng.uniform(0.3, 0.65)}.get(material.surface, 0.5)
    return Building(
        frame=frame,
        parts=parts,
        footprint=_to_frame(outline, frame),
        height=max(1.8, height) if material.surface != "shell" else height,
        material=material,
        form=form,
        colour=colour,
        pitch=pitch if not large else min(pitch, 0.3),
        seed=int(rng.integers(2**32)),
    )


def _to_frame(outline: shapely.Polygon, frame: np.ndarray) -> shapely.Polygon:
    return shapely.transform(outline, lambda points: bilinear(frame, points))


def _round_outline() -> shapely.Polygon:
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return shapely.Polygon(np.stack([0.5 + 0.5 * np.cos(turn), 0.5 + 0.5 * np.sin(turn)], axis=1))


def _parts(rng: np.random.Generator, shape: str) -> np.ndarray:
    """Return the rectangles (P, 4) of a footprint in the unit square, turned and mirrored at random."""
    s, t, w = rng.uniform(0.38, 0.62), rng.uniform(0.38, 0.62), rng.uniform(0.26, 0.38)
    if shape == "l":
        parts = [(0, 0, 1, s), (0, 0, t, 1)]
    elif shape == "t":
        parts = [(0, 0, 1, s), (0.5 - w / 2, 0, 0.5 + w / 2, 1)]
    elif shape == "u":
        parts = [(0, 0, 1, s), (0, 0, w, 1), (1 - w, 0, 1, 1)]
    elif shape == "courtyard":
        w = min(w, 0.33)
        parts = [(0, 0, 1, w), (0, 1 - w, 1, 1), (0, 0, w, 1), (1 - w, 0, 1, 1)]
    elif shape == "notched":
        e = rng.uniform(0.06, 0.2, 4)
        parts = [(e[0], e[1], 1 - e[2], 1 - e[3])]
        for _ in range(int(rng.integers(2, 4))):
            start = rng.uniform(0.1, 0.55)
            stop = min(0.92, start + rng.uniform(0.25, 0.5))
            parts.append(
                [(start, 0, stop, 0.6), (start, 0.4, stop, 1), (0, start, 0.6, stop), (0.4, start, 1, stop)][rng.integers(4)]
            )
    else:
        parts = [(0, 0, 1, 1)]
    array = np.array(parts, dtype=float)
    if rng.random() < 0.5:
        array = array[:, [1, 0, 3, 2]]
    if rng.random() < 0.5:
        array[:, [0, 2]] = 1 - array[:, [2, 0]]
    if rng.random() < 0.5:
        array[:, [1, 3]] = 1 - array[:, [3, 1]]
    return array
