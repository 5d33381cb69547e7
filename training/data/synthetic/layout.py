"""The plan of a synthetic town: streets, blocks, plots, and the buildings on them.

Everything is a convex quadrilateral that is cut in two again and again: first by streets, which take ground away, then by plot
borders, which take none. Neighbours share their border exactly, so attached houses touch and never overlap. Lengths are
metres, x to the right and y down, the scene's top left corner at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.data.synthetic.buildings import Building, build_on_plot
from training.data.synthetic.quadrilateral import side_lengths
from training.data.synthetic.style import TownStyle, draw_by_weight

Quad = np.ndarray  # see quadrilateral.py


@dataclass(frozen=True, eq=False)
class Street:
    """A street's centre line (K, 2), its width, and whether it is paved."""

    line: np.ndarray
    width: float
    rank: int  # 0 main street, 1 street, 2 lane
    paved: bool


@dataclass(frozen=True, eq=False)
class Plot:
    """A piece of ground and what covers it."""

    quad: Quad
    cover: str  # yard, fields, scrub, park, water, bare
    has_building: bool = False


@dataclass(eq=False)
class Plan:
    """A town before it is painted."""

    streets: list[Street] = field(default_factory=list)
    blocks: list[Plot] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)


def plan_town(rng: np.random.Generator, style: TownStyle, extent: float) -> Plan:
    """Draw the plan of a town that covers the square from (0, 0) to (extent, extent)."""
    plan = Plan()
    warp = _Warp(rng, style)
    for block in _cut_into_blocks(rng, style, _ground_around(rng, style, extent), plan, warp):
        if _misses(block, extent):
            continue
        kind = draw_by_weight(rng, {**style.open_blocks, "built": 1.0 - sum(style.open_blocks.values())})
        plan.blocks.append(Plot(block, {"built": "yard", "water": "scrub"}.get(kind, kind)))
        if kind == "built":
            _build_block(rng, style, block, extent, plan)
        elif kind == "fields":
            for quad in _cut_into_plots(rng, block, (18.0, 45.0), 0.4):
                plan.plots.append(Plot(_inset(quad, rng.uniform(0.0, 0.6)), "fields"))
        else:
            plan.plots.append(Plot(block, kind))
    return plan


def _build_block(rng: np.random.Generator, style: TownStyle, block: Quad, extent: float, plan: Plan) -> None:
    large = rng.random() < style.large_blocks
    plot_size = (30.0, 60.0) if large else style.plot
    for quad in _cut_into_plots(rng, block, plot_size, style.grid_disorder):
        if _misses(quad, extent):
            continue
        vacant = rng.random() < style.vacant
        buildings = [] if vacant else build_on_plot(rng, style, quad, large=large)
        cover = draw_by_weight(rng, {"yard": 6, "fields": 0.8, "bare": 2, "scrub": 1}) if not buildings else "yard"
        plan.plots.append(Plot(quad, cover, bool(buildings)))
        plan.buildings.extend(buildings)


class _Warp:
    """A smooth displacement that bends the streets."""

    def __init__(self, rng: np.random.Generator, style: TownStyle) -> None:
        self.amplitude = 9.0 * style.grid_disorder
        self.phase = rng.uniform(0, 2 * np.pi, 4)
        self.wavelength = rng.uniform(240.0, 420.0, 2)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        along = 2 * np.pi / self.wavelength
        dx = np.sin(along[0] * y + self.phase[0]) + 0.5 * np.sin(along[1] * (x + y) + self.phase[1])
        dy = np.sin(along[1] * x + self.phase[2]) + 0.5 * np.sin(along[0] * (x - y) + self.phase[3])
        return points + self.amplitude * np.stack([dx, dy], axis=-1) * 0.7


def _ground_around(rng: np.random.Generator, style: TownStyle, extent: float) -> Quad:
    """Return a turned square that covers the scene, with a margin for bent streets."""
    half = extent * 0.72 + style.block[1] * 0.5 + 12.0
    angle = rng.uniform(0, np.pi / 2) if rng.random() < 0.75 else rng.normal(0, 0.04)
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return corners @ turn + extent / 2 + rng.uniform(-10, 10, 2)


def _cut_into_blocks(rng: np.random.Generator, style: TownStyle, ground: Quad, plan: Plan, warp: _Warp) -> list[Quad]:
    blocks: list[Quad] = []
    stack = [(ground, 0)]
    while stack:
        quad, depth = stack.pop()
        length, width = side_lengths(quad)
        longest = max(length, width)
        if longest < rng.uniform(*style.block):
            blocks.append(warp(quad))
            continue
        rank = 0 if depth < 1 else 1 if longest > 1.3 * style.block[1] else 2
        street_width = style.street[rank] * rng.uniform(0.85, 1.2)
        first, second, line = _cut(
            rng, quad, along=0 if length >= width else 1, gap=street_width, skew=0.10 * style.grid_disorder
        )
        paved = rank == 0 or (rng.random() < style.paved_streets)
        steps = np.linspace(0, 1, max(2, int(longest // 15)))[:, None]
        plan.streets.append(Street(warp(line[0] + steps * (line[1] - line[0])), street_width, rank, paved))
        stack += [(first, depth + 1), (second, depth + 1)]
    return blocks


def _cut_into_plots(rng: np.random.Generator, block: Quad, size: tuple[float, float], disorder: float) -> list[Quad]:
    plots: list[Quad] = []
    stack = [block]
    while stack:
        quad = stack.pop()
        length, width = side_lengths(quad)
        if max(length, width) < rng.uniform(*size):
            plots.append(quad)
            continue
        along = 0 if length >= width else 1
        gap = rng.uniform(0.8, 2.0) if rng.random() < 0.12 * disorder else 0.0
        first, second, _ = _cut(rng, quad, along=along, gap=gap, skew=0.05 * disorder)
        stack += [first, second]
    return plots


def _cut(rng: np.random.Generator, quad: Quad, *, along: int, gap: float, skew: float) -> tuple[Quad, Quad, np.ndarray]:
    """Cut a quadrilateral across side ``along`` near its middle; ``gap`` metres are left out between the halves."""
    a, b, c, d = quad if along == 0 else quad[[1, 2, 3, 0]]
    middle = np.clip(rng.normal(0.5, 0.07), 0.33, 0.67)
    t_near, t_far = np.clip(middle + rng.normal(0, skew, 2), 0.25, 0.75)
    half_near, half_far = (0.5 * gap / max(np.hypot(*side), 1e-6) for side in (b - a, c - d))
    first = np.array([a, a + (t_near - half_near) * (b - a), d + (t_far - half_far) * (c - d), d])
    second = np.array([a + (t_near + half_near) * (b - a), b, c, d + (t_far + half_far) * (c - d)])
    line = np.array([a + t_near * (b - a), d + t_far * (c - d)])
    return first, second, line


def _inset(quad: Quad, distance: float) -> Quad:
    centre = quad.mean(axis=0)
    scale = max(0.0, 1.0 - 2.0 * distance / max(min(side_lengths(quad)), 1e-6))
    return centre + (quad - centre) * scale


def _misses(quad: Quad, extent: float) -> bool:
    low, high = quad.min(axis=0), quad.max(axis=0)
    return bool((high < 0).any() or (low > extent).any())
