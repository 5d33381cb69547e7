"""Painting everything that lies between the buildings: soil, grass, fields, water, streets, walls, cars."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from training.data.synthetic.canvas import Canvas, smoothstep
from training.data.synthetic.layout import Plan, Plot, Street
from training.data.synthetic.quadrilateral import bilinear
from training.data.synthetic.style import TownStyle

FIELD_COLOURS = (
    (0.42, 0.46, 0.28),
    (0.50, 0.44, 0.33),
    (0.33, 0.42, 0.22),
    (0.56, 0.50, 0.36),
    (0.46, 0.38, 0.29),
    (0.55, 0.54, 0.38),
)
CAR_COLOURS = (
    (0.90, 0.90, 0.90),
    (0.72, 0.73, 0.75),
    (0.16, 0.16, 0.18),
    (0.55, 0.14, 0.14),
    (0.16, 0.26, 0.48),
    (0.45, 0.45, 0.44),
)


def paint_ground(canvas: Canvas, rng: np.random.Generator, style: TownStyle, plan: Plan) -> np.ndarray:
    """Paint the ground; return (H, W) float32, how welcome a tree is at each pixel."""
    soil = _one_of(rng, style.soil)
    grass = _one_of(rng, style.grass)
    green = rng.uniform(*style.greenness)
    plots = [*plan.blocks, *plan.plots]
    table = _PlotTable(rng, style, plots, soil, green)
    number = _draw_numbers(canvas, rng, plots)

    canvas.colour[:] = table.colour[number]
    y, x = np.mgrid[0 : canvas.size, 0 : canvas.size].astype(np.float32) * canvas.gsd
    direction = table.direction[number]
    rows = np.sin(direction[..., 0] * x + direction[..., 1] * y + 0.5 * canvas.coarse)
    tint = table.stripes[number] * rows + table.rough[number] * (
        0.055 * canvas.coarse + 0.045 * canvas.fine + 0.025 * canvas.grain
    )
    canvas.colour *= (1.0 + tint + 0.06 * canvas.broad)[..., None]

    cover = 0.7 * canvas.broad + 0.55 * canvas.coarse + table.green[number]
    canvas.mix(0.85 * smoothstep(cover, -0.35, 0.45), grass * (1.0 + 0.13 * canvas.coarse + 0.10 * canvas.fine)[..., None])
    natural = ~(table.paved[number] | table.water[number])
    dry = natural * smoothstep(canvas.broad - 0.5 * canvas.coarse, 0.6, 2.0)
    canvas.mix(0.35 * dry, soil * 1.12)
    # Weeds and tufts have a relief of their own: the light makes a texture of it that no noise on colour looks like.
    tufts = smoothstep(cover, 0.0, 1.0) * natural
    canvas.height += tufts * np.clip(0.13 * canvas.coarse + 0.07 * canvas.fine + 0.06, 0.0, 0.5)

    groves = np.clip(0.55 + 0.75 * canvas.broad, 0.08, 2.0)
    welcome = table.trees[number] * (0.75 + 0.7 * np.clip(cover, -0.5, 1.2)) * groves
    _paint_streets(canvas, rng, style, plan.streets, soil, welcome)
    _paint_water(canvas, table.water[number], welcome)
    if style.paved_streets > 0.6:
        _paint_drives(canvas, rng, plan.plots, welcome)
    _paint_walls(canvas, rng, style, plan.plots)
    if style.pools:
        _paint_pools(canvas, rng, style, plan.plots, welcome)
    return welcome


def _paint_water(canvas: Canvas, water: np.ndarray, welcome: np.ndarray) -> None:
    ripples = 1 + 0.06 * canvas.broad[water] + 0.03 * canvas.fine[water]
    canvas.colour[water] = np.array([0.20, 0.27, 0.27], np.float32) * ripples[:, None]
    canvas.height[water] = 0.0
    welcome[water] = 0.0


class _PlotTable:
    """What each plot looks like, as arrays indexed by the plot's number; number 0 is what lies between the blocks."""

    def __init__(self, rng: np.random.Generator, style: TownStyle, plots: list[Plot], soil: np.ndarray, green: float) -> None:
        count = len(plots) + 1
        self.colour = np.repeat(soil[None], count, axis=0) * rng.normal(1.0, 0.05, (count, 1)).astype(np.float32)
        self.green = (rng.normal(1.0 * green - 0.6, 0.6, count)).astype(np.float32)
        self.stripes = np.zeros(count, dtype=np.float32)
        self.rough = rng.uniform(0.3, 1.1, count).astype(np.float32)
        self.paved = np.zeros(count, dtype=bool)
        self.trees = np.full(count, 1.1, dtype=np.float32)
        self.water = np.zeros(count, dtype=bool)
        self.direction = np.zeros((count, 2), dtype=np.float32)
        self.green[0], self.trees[0] = -0.9 + 0.5 * green, 0.25
        for index, plot in enumerate(plots, start=1):
            if plot.cover == "fields":
                side = plot.quad[1] - plot.quad[0]
                angle = np.arctan2(side[1], side[0]) + rng.choice([0.0, np.pi / 2])
                wave = 2 * np.pi / rng.uniform(0.9, 2.2)
                self.direction[index] = wave * np.cos(angle), wave * np.sin(angle)
                self.colour[index] = _one_of(rng, FIELD_COLOURS) * rng.uniform(0.85, 1.2)
                self.stripes[index] = rng.uniform(0.0, 0.11)
                self.green[index] = rng.normal(-1.0, 0.5)
                self.trees[index] = 0.05
            elif plot.cover == "scrub":
                self.green[index], self.trees[index] = rng.normal(0.5, 0.3), 2.6
            elif plot.cover == "park":
                self.green[index], self.trees[index] = 1.2, 1.4
            elif plot.cover == "water":
                self.water[index] = True
            elif plot.cover == "bare":
                self.green[index], self.trees[index] = -1.3, 0.1
            elif plot.has_building and rng.random() < 0.3 * style.paved_streets:
                self.colour[index] = np.array([0.60, 0.58, 0.55]) * rng.uniform(0.8, 1.15)
                self.paved[index], self.green[index], self.trees[index] = True, -1.6, 0.1
            if plot.has_building:
                self.green[index] -= 0.25
        self.colour = self.colour.astype(np.float32)


def _draw_numbers(canvas: Canvas, rng: np.random.Generator, plots: list[Plot]) -> np.ndarray:
    image = Image.new("I", (canvas.size, canvas.size))
    draw = ImageDraw.Draw(image)
    for number, plot in enumerate(plots, start=1):
        outline = _shore(rng, plot.quad) if plot.cover == "water" else plot.quad
        draw.polygon(_pixels(outline, canvas.gsd), fill=number)
    return np.asarray(image)


def _shore(rng: np.random.Generator, quad: np.ndarray) -> np.ndarray:
    """Return the outline (K, 2) of a pond that nearly fills a quadrilateral."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 0.4 + sum(rng.normal(0, 0.035) * np.cos(lobes * turn + rng.uniform(0, 6)) for lobes in (2, 3, 5, 7))
    return bilinear(quad, 0.5 + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1))


def _paint_streets(
    canvas: Canvas,
    rng: np.random.Generator,
    style: TownStyle,
    streets: list[Street],
    soil: np.ndarray,
    welcome: np.ndarray,
) -> None:
    edge, dirt, asphalt, marks = (Image.new("L", (canvas.size, canvas.size)) for _ in range(4))
    lines = Image.new("L", (canvas.size, canvas.size))
    pavement = rng.random() < 0.7 * style.paved_streets + 0.1
    for street in sorted(streets, key=lambda s: s.rank, reverse=True):
        points = _pixels(street.line, canvas.gsd)
        if not street.paved:
            _line(dirt, points, rng.uniform(0.55, 0.85) * street.width / canvas.gsd)
            continue
        if pavement and street.rank < 2:
            _line(edge, points, street.width / canvas.gsd)
        _line(asphalt, points, (0.72 if pavement else 0.85) * street.width / canvas.gsd)
        if street.rank == 0 and street.width > 7:
            _line(marks, points, max(0.16 / canvas.gsd, 1))
        if street.rank < 2:
            _line(lines, points, 1)
    for _ in range(rng.poisson(0.6 * (1.2 - style.paved_streets) * (canvas.size * canvas.gsd / 60.0) ** 2)):
        _line(dirt, _pixels(_footpath(rng, canvas.size * canvas.gsd), canvas.gsd), rng.uniform(0.7, 1.8) / canvas.gsd)
    soft = 0.25 * canvas.coarse + 0.12 * canvas.fine
    track = (np.asarray(dirt) > 0) * smoothstep(0.6 + soft, 0.2, 0.7)
    worn = (1.0 + 0.05 * canvas.coarse + 0.03 * canvas.grain)[..., None]
    canvas.mix(0.85 * track, np.clip(soil * 1.1 * worn, 0, 1))
    concrete = np.array([0.62, 0.60, 0.57], np.float32) * np.float32(rng.uniform(0.85, 1.1))
    canvas.mix(0.9 * (np.asarray(edge) > 0).astype(np.float32), concrete * worn)
    tar = np.array(style.asphalt, np.float32) * np.float32(rng.uniform(0.82, 1.15))
    surface = tar * (1.0 + 0.035 * canvas.broad + 0.03 * canvas.coarse + 0.03 * canvas.grain)[..., None]
    canvas.mix(0.95 * (np.asarray(asphalt) > 0).astype(np.float32), surface)
    if rng.random() < 0.5:
        canvas.mix(0.5 * (np.asarray(marks) > 0).astype(np.float32), np.array([0.85, 0.83, 0.75]))
    welcome[np.asarray(asphalt) > 0] = 0.0
    welcome[track > 0.5] *= 0.1
    canvas.height[(np.asarray(asphalt) > 0) | (np.asarray(edge) > 0) | (track > 0.4)] = 0.0


def _paint_drives(canvas: Canvas, rng: np.random.Generator, plots: list[Plot], welcome: np.ndarray) -> None:
    image = Image.new("L", (canvas.size, canvas.size))
    for plot in plots:
        if plot.has_building and rng.random() < 0.75:
            side = int(rng.integers(4))
            near, far = plot.quad[side], plot.quad[(side + 1) % 4]
            gate = near + rng.uniform(0.25, 0.75) * (far - near)
            yard = gate + 0.75 * (plot.quad.mean(axis=0) - 0.5 * (near + far))
            _line(image, _pixels(np.array([gate, yard]), canvas.gsd), rng.uniform(3.0, 6.0) / canvas.gsd)
    drive = np.asarray(image) > 0
    tone = rng.uniform(0.85, 1.12)
    canvas.colour[drive] = np.array([0.63, 0.61, 0.57], np.float32) * tone * (1 + 0.04 * canvas.coarse[drive])[:, None]
    canvas.height[drive] = 0.0
    welcome[drive] = 0.0


def _footpath(rng: np.random.Generator, extent: float) -> np.ndarray:
    """Return a bent line (K, 2), some 20 to 60 m long, as feet draw it."""
    start = rng.uniform(0, extent, 2)
    headings = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.22, int(rng.integers(8, 20))))
    return start + np.cumsum(3.0 * np.stack([np.cos(headings), np.sin(headings)], axis=1), axis=0)


def _paint_walls(canvas: Canvas, rng: np.random.Generator, style: TownStyle, plots: list[Plot]) -> None:
    stone, hedge = Image.new("L", (canvas.size, canvas.size)), Image.new("L", (canvas.size, canvas.size))
    for plot in plots:
        if plot.cover in ("yard", "bare") and rng.random() < style.walls:
            image = hedge if rng.random() < 0.25 else stone
            corners = np.concatenate([plot.quad, plot.quad[:1]])
            first, last = sorted(rng.choice(5, 2, replace=False))
            _line(image, _pixels(corners[first : last + 1], canvas.gsd), max(0.25 / canvas.gsd, 1))
    for image, colour, height in ((stone, (0.64, 0.61, 0.57), 1.7), (hedge, (0.24, 0.33, 0.17), 1.4)):
        mask = np.asarray(image) > 0
        canvas.colour[mask] = (
            np.array(colour, np.float32) * (1 + 0.12 * canvas.coarse[mask] + 0.06 * canvas.grain[mask])[:, None]
        )
        canvas.height[mask] = height


def _paint_pools(canvas: Canvas, rng: np.random.Generator, style: TownStyle, plots: list[Plot], welcome: np.ndarray) -> None:
    deck, basin = Image.new("L", (canvas.size, canvas.size)), Image.new("L", (canvas.size, canvas.size))
    for plot in plots:
        if plot.has_building and rng.random() < style.pools:
            a, b, _, d = plot.quad
            centre = a + rng.uniform(0.15, 0.85) * (b - a) + rng.choice([0.12, 0.86]) * (d - a)
            angle = np.arctan2(*(b - a)[::-1])
            size = np.array([rng.uniform(2.0, 4.0), rng.uniform(1.3, 2.2)])
            turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            power = rng.uniform(0.35, 1.0)
            ring = np.stack([np.sign(f) * np.abs(f) ** power for f in (np.cos(turn), np.sin(turn))], axis=1) * size
            matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            ImageDraw.Draw(deck).polygon(_pixels(1.35 * ring @ matrix + centre, canvas.gsd), fill=255)
            ImageDraw.Draw(basin).polygon(_pixels(ring @ matrix + centre, canvas.gsd), fill=255)
    paved, water = np.asarray(deck) > 0, np.asarray(basin) > 0
    canvas.colour[paved] = np.array([0.70, 0.68, 0.64], np.float32) * (1 + 0.05 * canvas.fine[paved])[:, None]
    canvas.colour[water] = np.array([0.30, 0.58, 0.64], np.float32) * (1 + 0.06 * canvas.coarse[water])[:, None]
    welcome[paved] = 0.0


def park_cars(canvas: Canvas, rng: np.random.Generator, style: TownStyle, streets: list[Street], built: np.ndarray) -> None:
    """Put cars, and a few lorries, along the streets where ``built`` (H, W) bool is False."""
    body, glass = Image.new("L", (canvas.size, canvas.size)), Image.new("L", (canvas.size, canvas.size))
    busy = rng.uniform(0.3, 2.0)
    for street in streets:
        if street.width < 3.5:
            continue
        steps = np.diff(street.line, axis=0)
        lengths = np.hypot(*steps.T)
        for _ in range(rng.poisson(busy * lengths.sum() / 60.0)):
            segment = int(rng.choice(len(lengths), p=lengths / lengths.sum()))
            along = steps[segment] / lengths[segment]
            across = np.array([-along[1], along[0]])
            side = rng.choice([-1, 1]) * rng.uniform(0.15, 0.38) * street.width
            centre = street.line[segment] + rng.random() * steps[segment] + side * across
            lorry = rng.random() < 0.1
            size = np.array([7.5, 2.4] if lorry else [rng.uniform(3.6, 4.9), 1.8])
            for image, u0, u1, width, value in (
                (body, -0.5, 0.5, 0.5, int(rng.integers(1, len(CAR_COLOURS) + 1))),
                (glass, 0.12, 0.28, 0.42, 255),
                (glass, -0.42, -0.3, 0.42, 255),
            ):
                corners = [(u0, -width), (u1, -width), (u1, width), (u0, width)]
                quad = np.array([centre + u * size[0] * along + v * size[1] * across for u, v in corners])
                ImageDraw.Draw(image).polygon(_pixels(quad, canvas.gsd), fill=value)
    kind = np.asarray(body)
    mask = (kind > 0) & ~built
    canvas.colour[mask] = np.array((CAR_COLOURS[0], *CAR_COLOURS), np.float32)[kind[mask]]
    canvas.height[mask] = 1.4
    canvas.colour[mask & (np.asarray(glass) > 0)] *= np.float32(0.4)


def _one_of(rng: np.random.Generator, colours: tuple) -> np.ndarray:
    return np.array(colours[int(rng.integers(len(colours)))], dtype=np.float32) * np.float32(rng.normal(1.0, 0.05))


def _pixels(points: np.ndarray, gsd: float) -> list[tuple[float, float]]:
    # Pillow's coordinates name pixel centres, ours name corners.
    return [tuple(point) for point in (points / gsd - 0.5).tolist()]


def _line(image: Image.Image, points: list[tuple[float, float]], width: float) -> None:
    ImageDraw.Draw(image).line(points, fill=255, width=max(1, round(width)), joint="curve")
