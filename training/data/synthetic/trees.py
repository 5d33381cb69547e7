"""Trees, palms and bushes: a few crowns are grown for a scene and planted many times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.synthetic.canvas import Canvas, smooth_noise
from training.data.synthetic.style import TownStyle


@dataclass(frozen=True, eq=False)
class Crown:
    """A crown: (n, n) coverage in 0..1, height over the ground in metres, and colour (n, n, 3)."""

    cover: np.ndarray
    height: np.ndarray
    colour: np.ndarray


def plant(canvas: Canvas, rng: np.random.Generator, style: TownStyle, places: np.ndarray) -> None:
    """Plant trees.

    Args:
        canvas: painted over: a crown covers what is lower than itself.
        rng: source of randomness.
        style: gives number and colours.
        places: (H, W) float32, how welcome a tree is at a pixel; 0 or less keeps it free of trunks.
    """
    hectares = (canvas.size * canvas.gsd) ** 2 / 1e4
    crowns = [_grow(rng, style, canvas.gsd) for _ in range(22)]
    wanted = rng.uniform(*style.trees) * hectares
    spots = rng.integers(0, canvas.size, (int(3 * wanted) + 1, 2))
    welcome = places[spots[:, 0], spots[:, 1]]
    chosen = spots[rng.random(len(spots)) < np.clip(welcome, 0, 2.5) / 2.5]
    for row, column in chosen:
        _stamp(canvas, crowns[rng.integers(len(crowns))], int(row), int(column), int(rng.integers(8)))


def _grow(rng: np.random.Generator, style: TownStyle, gsd: float) -> Crown:
    bush = rng.random() < 0.4
    radius = rng.uniform(0.5, 1.5) if bush else rng.lognormal(np.log(2.4), 0.35)
    palm = not bush and rng.random() < (0.3 if style.name == "island" else 0.05)
    half = max(1, int(np.ceil(1.3 * radius / gsd)))
    axis = np.arange(-half, half + 1) * gsd
    x, y = np.meshgrid(axis, axis)
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    rim = np.ones_like(distance)
    if palm:
        fronds = int(rng.integers(7, 11))
        rim = 0.35 + 0.75 * np.abs(np.cos(0.5 * fronds * angle + rng.uniform(0, 6))) ** 1.5
    else:
        for lobes in (2, 3, 5, 8):
            rim += rng.normal(0, 0.07) * np.cos(lobes * angle + rng.uniform(0, 6))
    inner = distance / (radius * rim)
    size = 2 * half + 1
    leaves = smooth_noise(rng, size, 0.55 / gsd) if size > 4 else np.zeros((size, size), dtype=np.float32)
    clumps = smooth_noise(rng, size, 1.4 / gsd) if size > 8 else leaves
    dome = np.sqrt(np.clip(1 - inner**2, 0, None))
    top = rng.uniform(0.5, 1.4) if bush else rng.uniform(1.1, 2.0) * radius + 1.5
    height = top * (0.45 + 0.55 * dome) + radius * (0.16 * clumps + 0.10 * leaves)
    cover = np.clip((1.06 - inner + 0.10 * leaves) / 0.14, 0, 1)
    base = np.array(style.foliage[int(rng.integers(len(style.foliage)))]) * rng.uniform(0.8, 1.25) + rng.normal(0, 0.012, 3)
    tone = 1.0 + 0.14 * leaves + 0.14 * clumps + 0.25 * (dome - 0.6)
    colour = np.clip(base * tone[..., None], 0.02, 0.8)
    return Crown(cover.astype(np.float32), height.astype(np.float32), colour.astype(np.float32))


def _stamp(canvas: Canvas, crown: Crown, row: int, column: int, turn: int) -> None:
    cover, height, colour = (np.rot90(layer, turn % 4) for layer in (crown.cover, crown.height, crown.colour))
    if turn >= 4:
        cover, height, colour = cover[:, ::-1], height[:, ::-1], colour[:, ::-1]
    half = cover.shape[0] // 2
    r0, c0 = max(row - half, 0), max(column - half, 0)
    r1, c1 = min(row + half + 1, canvas.size), min(column + half + 1, canvas.size)
    if r0 >= r1 or c0 >= c1:
        return
    inner = (slice(r0 - row + half, r1 - row + half), slice(c0 - column + half, c1 - column + half))
    ground = canvas.height[r0:r1, c0:c1]
    share = cover[inner] * (height[inner] > ground)
    canvas.colour[r0:r1, c0:c1] += share[..., None] * (colour[inner] - canvas.colour[r0:r1, c0:c1])
    np.maximum(ground, height[inner] * (cover[inner] > 0.5), out=ground)
