"""Painting roofs: form as height, surface as colour."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.buildings import Building
from training.data.synthetic.canvas import Canvas
from training.data.synthetic.quadrilateral import side_lengths
from training.data.synthetic.style import TownStyle

RUST = np.array([0.47, 0.30, 0.21])
TANK_COLOURS = np.array([[0.10, 0.10, 0.11], [0.16, 0.34, 0.26], [0.75, 0.75, 0.74], [0.24, 0.38, 0.62], [0.72, 0.58, 0.22]])
CLUTTER_COLOURS = np.array(
    [
        [0.85, 0.85, 0.84],
        [0.35, 0.33, 0.31],
        [0.60, 0.28, 0.22],
        [0.25, 0.40, 0.62],
        [0.55, 0.52, 0.47],
        [0.35, 0.45, 0.28],
    ]
)


def paint_roofs(canvas: Canvas, buildings: list[Building], owner: np.ndarray, style: TownStyle) -> None:
    """Paint every building where ``owner`` (H, W) int32 holds its number, counted from one."""
    pixels = np.flatnonzero(owner)
    owners = owner.ravel()[pixels]
    pixels = pixels[np.argsort(owners, kind="stable")]  # one building after the other
    counts = np.bincount(owners, minlength=len(buildings) + 1)[1:]
    for building, stop, count in zip(buildings, np.cumsum(counts), counts, strict=True):
        if count:
            _Roof(canvas, building, pixels[stop - count : stop]).paint(style)


class _Roof:
    """One roof while it is painted. Arrays are 1-D over the building's own pixels."""

    def __init__(self, canvas: Canvas, building: Building, pixels: np.ndarray) -> None:
        self.canvas, self.building, self.pixels = canvas, building, pixels
        self.rng = np.random.default_rng(building.seed)
        rows, columns = np.divmod(pixels, canvas.size)
        # The frame is taken for a parallelogram here: what lies on a roof need not be as exact as its outline.
        a, b, c, d = building.frame
        along, across = 0.5 * (b - a + c - d), 0.5 * (d - a + c - b)
        self.sides = side_lengths(building.frame)
        dx, dy = ((i + 0.5) * canvas.gsd - middle for i, middle in zip((columns, rows), (a + b + c + d) / 4, strict=True))
        area = along[0] * across[1] - along[1] * across[0]
        self.u = ((across[1] * dx - across[0] * dy) / area + 0.5).clip(0, 1) * self.sides[0]
        self.v = ((along[0] * dy - along[1] * dx) / area + 0.5).clip(0, 1) * self.sides[1]
        noise = (canvas.fine, canvas.coarse, canvas.broad, canvas.grain)
        self.fine, self.coarse, self.broad, self.grain = (layer.reshape(-1)[pixels] for layer in noise)
        self.rise = np.full(len(pixels), -1.0)
        self.edge = np.zeros(len(pixels))  # distance to the nearest border of the part, metres
        self.slope_along_u = np.zeros(len(pixels), dtype=bool)  # rain runs along u
        self._build_form()

    def _build_form(self) -> None:
        form, pitch = self.building.form, self.building.pitch
        for u0, v0, u1, v1 in self.building.parts * np.tile(self.sides, 2):
            left, right, top, bottom = self.u - u0, u1 - self.u, self.v - v0, v1 - self.v
            near_u, near_v = np.minimum(left, right), np.minimum(top, bottom)
            edge = np.minimum(near_u, near_v)
            runs_u = np.full(len(edge), (u1 - u0) < (v1 - v0))
            if form == "gable":
                rise = pitch * (near_u if runs_u[0] else near_v)
            elif form == "hip":
                rise, runs_u = pitch * edge, near_u < near_v
            elif form == "shed":
                rise = 0.4 * pitch * (left if runs_u[0] else top)
            else:
                rise = np.zeros(len(edge))
            inside = edge > -0.02
            better = inside & (rise >= self.rise)
            self.rise[better] = rise[better]
            self.slope_along_u[better] = runs_u[better]
            np.maximum(self.edge, np.where(inside, edge, 0.0), out=self.edge)
        np.maximum(self.rise, 0.0, out=self.rise)

    def paint(self, style: TownStyle) -> None:
        surface = self.building.material.surface
        self.colour = np.repeat(self.building.colour[None], len(self.u), axis=0)
        getattr(self, f"_{surface}")(style.clutter)
        if surface in ("tile", "corrugated") and self.building.form != "flat":
            self._skylights_and_panels()
        self.canvas.colour.reshape(-1, 3)[self.pixels] = np.clip(self.colour, 0.03, 1.0)
        self.canvas.height.reshape(-1)[self.pixels] = self.building.height + self.rise

    def _tint(self, brightness: np.ndarray) -> None:
        self.colour *= (1.0 + brightness)[:, None]

    def _blend(self, share: np.ndarray, colour: np.ndarray) -> None:
        self.colour += share[:, None] * (colour - self.colour)

    def _box(self, u0: float, v0: float, width: float, depth: float) -> np.ndarray:
        return (self.u >= u0) & (self.u < u0 + width) & (self.v >= v0) & (self.v < v0 + depth)

    def _corrugated(self, clutter: float) -> None:
        rng = self.rng
        along = np.where(self.slope_along_u, self.v, self.u)  # along the ridge
        down = np.where(self.slope_along_u, self.u, self.v)
        sheet_width, sheet_length = rng.uniform(0.7, 1.1), rng.uniform(1.8, 3.6)
        column, row = (along / sheet_width).astype(int), (down / sheet_length).astype(int)
        tone = rng.standard_normal(257)
        sheet = tone[(column * 31 + row * 17 + self.slope_along_u) % 257]
        self._tint(rng.uniform(0.01, 0.09) * sheet + 0.03 * self.coarse + 0.02 * self.fine)
        wave = max(2.2 * self.canvas.gsd, rng.uniform(0.35, 0.8))
        self._tint(rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * along / wave + rng.uniform(0, 6)))
        joint = (down % sheet_length) < 0.8 * self.canvas.gsd
        self._tint(np.where(joint, -rng.uniform(0.0, 0.14), 0.0))
        rust = rng.uniform(0, 1) ** 2 if self.building.colour[2] > 0.4 else rng.uniform(0, 0.35)
        stain = np.clip(0.9 * self.coarse + 0.5 * self.broad + 1.1 * sheet - 2.4 + 2.6 * rust, 0, 1)
        self._blend(stain * rng.uniform(0.3, 0.75), RUST * rng.uniform(0.8, 1.25))
        if rng.random() < 0.12:  # repaired with sheets of another colour
            self._blend(0.85 * (sheet > 1.1), CLUTTER_COLOURS[rng.integers(4)])
        if rng.random() < 0.3:
            self._ridge(rng.uniform(-0.2, 0.2))

    def _ridge(self, brightness: float) -> None:
        if self.rise.max() > 0.2:
            self._tint(np.where(self.rise > self.rise.max() - 0.7 * self.building.pitch * self.canvas.gsd, brightness, 0.0))

    def _tile(self, clutter: float) -> None:
        rng = self.rng
        down = np.where(self.slope_along_u, self.u, self.v)
        course = max(2.2 * self.canvas.gsd, 0.4)
        self._tint(rng.uniform(0.01, 0.05) * np.sin(2 * np.pi * down / course) + 0.02 * self.grain + 0.025 * self.fine)
        self._tint(rng.uniform(0.01, 0.055) * self.coarse + rng.uniform(0, 0.06) * self.broad)
        moss = np.clip(self.coarse + self.broad - rng.uniform(1.5, 7.0), 0, 1)
        self._blend(0.3 * moss, np.array([0.30, 0.30, 0.22]))
        self._ridge(rng.uniform(-0.05, 0.25))
        if rng.random() < 0.6:  # chimneys and vents
            for _ in range(int(rng.integers(1, 4))):
                box = self._box(*(self.sides * rng.uniform(0.2, 0.75, 2)), *rng.uniform(0.4, 0.9, 2))
                self.colour[box] = CLUTTER_COLOURS[rng.integers(3)]
                self.rise[box] += 0.7

    def _concrete(self, clutter: float) -> None:
        rng = self.rng
        self._tint(0.035 * self.grain + 0.05 * self.fine + 0.08 * self.coarse + 0.07 * self.broad)
        stain = np.clip(self.coarse - 0.6 * self.broad - rng.uniform(0.4, 2.2), 0, 1)
        self._blend(0.5 * stain, np.array([0.34, 0.32, 0.30]))
        if rng.random() < 0.25:  # a terrace in another finish
            half = self.u > self.sides[0] * rng.uniform(0.3, 0.7)
            self._blend(0.6 * half, np.array([[0.60, 0.36, 0.27], [0.76, 0.74, 0.70], [0.50, 0.50, 0.48]][rng.integers(3)]))
        if rng.random() < 0.75:
            rim = self.edge < max(1.0 * self.canvas.gsd, 0.3)
            self.rise[rim] += rng.uniform(0.3, 1.0)
            self._blend(0.7 * rim, np.array([0.68, 0.65, 0.61]) * rng.uniform(0.75, 1.2))
        if self.sides.min() > 4.0 and rng.random() < 0.7 * clutter:  # stair tower, often with a tin roof
            size = rng.uniform(0.25, 0.45, 2) * self.sides
            corner = np.where(rng.random(2) < 0.5, 0.0, self.sides - size)
            tower = self._box(*corner, *size)
            self.rise[tower] = rng.uniform(2.2, 3.0)
            colours = [
                [0.62, 0.60, 0.56],
                [0.24, 0.44, 0.68],
                [0.66, 0.28, 0.25],
                [0.70, 0.73, 0.74],
                [0.58, 0.50, 0.43],
            ]
            self._blend(0.85 * tower, np.array(colours[rng.choice(5, p=[0.5, 0.12, 0.08, 0.2, 0.1])]))
        if rng.random() < 0.12 * clutter and self.sides.min() > 5:  # columns waiting for the next storey
            grid = ((self.u % 3.2) < 0.4) & ((self.v % 3.2) < 0.4)
            self.rise[grid] += 1.0
        self._things_on_roof(clutter)

    def _things_on_roof(self, clutter: float) -> None:
        rng = self.rng
        area = self.sides.prod()
        for _ in range(rng.poisson(clutter * min(area / 70.0, 6.0))):
            cu, cv = self.sides * rng.uniform(0.1, 0.9, 2)
            radius = rng.uniform(0.45, 0.85)
            tank = (self.u - cu) ** 2 + (self.v - cv) ** 2 < radius**2
            self.rise[tank] += 1.3
            self._blend(0.9 * tank, TANK_COLOURS[rng.integers(5)])
        for _ in range(rng.poisson(clutter * min(area / 45.0, 9.0))):
            box = self._box(*(self.sides * rng.uniform(0.03, 0.85, 2)), *rng.uniform(0.4, 2.2, 2))
            self.rise[box] += rng.uniform(0.0, 0.7)
            self._blend(rng.uniform(0.4, 0.9) * box, CLUTTER_COLOURS[rng.integers(6)])
        if rng.random() < 0.12 * clutter and self.sides.min() > 4:
            self._panels(*(self.sides * rng.uniform(0.15, 0.4, 2)), *rng.uniform(1.5, 4.0, 2))

    def _membrane(self, clutter: float) -> None:
        rng = self.rng
        self._tint(0.012 * self.grain + 0.02 * self.fine + 0.03 * self.coarse + 0.05 * self.broad)
        if rng.random() < 0.7:
            rim = self.edge < max(self.canvas.gsd, 0.35)
            self.rise[rim] += 0.5
            self._blend(0.6 * rim, np.array([0.85, 0.85, 0.83]) * rng.uniform(0.6, 1.1))
        for _ in range(rng.poisson(min(self.sides.prod() / 60.0, 12.0))):  # air conditioning
            box = self._box(*(self.sides * rng.uniform(0.08, 0.85, 2)), *rng.uniform(0.8, 2.4, 2))
            self.rise[box] += 1.1
            self._blend(0.9 * box, np.array([0.66, 0.67, 0.68]) * rng.uniform(0.7, 1.25))
        if rng.random() < 0.2 and self.sides.min() > 8:
            self._panels(*(self.sides * rng.uniform(0.1, 0.3, 2)), *(self.sides * rng.uniform(0.3, 0.5, 2)))

    def _thatch(self, clutter: float) -> None:
        self._tint(0.08 * self.grain + 0.08 * self.fine + 0.06 * self.coarse)
        self._ridge(-0.15)

    def _shell(self, clutter: float) -> None:
        """Walls without a roof: what lies on the ground between them is soil and weeds."""
        rng = self.rng
        thickness = max(0.28, 1.1 * self.canvas.gsd)
        wall = self.edge < thickness
        for _ in range(int(rng.integers(1, 4))):
            wall |= np.abs(self.u - self.sides[0] * rng.uniform(0.2, 0.8)) < thickness / 2
            wall |= np.abs(self.v - self.sides[1] * rng.uniform(0.2, 0.8)) < thickness / 2
        floor = np.array([[0.55, 0.48, 0.38], [0.33, 0.38, 0.22]])[rng.integers(2)]
        inside = ~wall
        self.colour[inside] = floor * (1.0 + 0.12 * self.coarse + 0.08 * self.grain)[inside, None]
        self.rise[inside] = -self.building.height
        self._tint(np.where(wall, 0.05 * self.fine, 0.0))

    def _skylights_and_panels(self) -> None:
        rng = self.rng
        if self.sides.min() < 4.5:
            return
        if rng.random() < 0.05:
            self._panels(*(self.sides * rng.uniform(0.1, 0.5, 2)), *rng.uniform(2.0, 5.0, 2))
        if rng.random() < 0.2:
            for _ in range(int(rng.integers(1, 6))):
                box = self._box(*(self.sides * rng.uniform(0.1, 0.85, 2)), *rng.uniform(0.6, 1.6, 2))
                self._blend(0.75 * box, np.array([0.82, 0.86, 0.86]) * rng.uniform(0.5, 1.1))

    def _panels(self, u0: float, v0: float, width: float, depth: float) -> None:
        panel = self._box(u0, v0, width, depth)
        frame = ((self.u - u0) % 1.0 < 0.6 * self.canvas.gsd) | ((self.v - v0) % 1.65 < 0.6 * self.canvas.gsd)
        self._blend(0.92 * panel, np.array([0.13, 0.17, 0.28]))
        self._blend(0.35 * (panel & frame), np.array([0.6, 0.62, 0.66]))
