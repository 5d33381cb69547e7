"""Sun, sky and camera: from colour and height to the picture that a sensor would have taken."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from training.data.synthetic.canvas import Canvas
from training.data.synthetic.style import TownStyle


@dataclass(frozen=True)
class Sun:
    """Where the sun stands, and how hard its light is."""

    azimuth: float  # radians, of the direction towards the sun on the image: 0 right, counted towards the bottom
    elevation: float  # radians over the horizon
    share: float  # of the direct light on a horizontal surface, 0 overcast to 1 no sky at all


def draw_sun(rng: np.random.Generator) -> Sun:
    """Draw a sun as aerial surveys see it: from mid-morning to mid-afternoon, sometimes behind clouds."""
    hazy = rng.random() < 0.33
    share = rng.uniform(0.15, 0.4) if hazy else rng.uniform(0.48, 0.7)
    return Sun(rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(38, 75)), share)


def add_facades(canvas: Canvas, rng: np.random.Generator, owner: np.ndarray, lean: float) -> None:
    """Show the walls that face an off-nadir camera, ``lean`` pixels a metre; roofs stay where their footprints are."""
    angle = rng.uniform(0, 2 * np.pi)
    step = np.array([np.cos(angle), np.sin(angle)])
    roof_height = np.where(owner > 0, canvas.height, 0).astype(np.float32)
    tone = np.float32(rng.uniform(0.55, 1.05))
    wall_colour = np.clip(0.55 * canvas.colour + 0.45 * np.array([0.66, 0.62, 0.57], np.float32), 0, 1) * tone
    free = (owner == 0).copy()
    for k in range(1, int(np.ceil(lean * float(roof_height.max(initial=0.0)))) + 1):
        dx, dy = np.round(k * step).astype(int)
        height = _shifted(roof_height, -dy, -dx)
        seen = free & (height * lean >= k)
        wall = _shifted(wall_colour, -dy, -dx)
        canvas.colour[seen] = wall[seen] * (1.0 - 0.25 * k / max(lean * 12, k))
        canvas.height[seen] = np.maximum(0.0, height[seen] - k / lean)
        free &= ~seen


def light(canvas: Canvas, sun: Sun) -> np.ndarray:
    """Return the lit scene (H, W, 3) float32: slopes by their normal, cast shadows, and less sky between high walls."""
    height, gsd = canvas.height, canvas.gsd
    toward = np.array([np.cos(sun.azimuth), np.sin(sun.azimuth)])
    slope_x, slope_y = _gentle_slope(height, 1) / gsd, _gentle_slope(height, 0) / gsd
    facing = (1.0 / np.tan(sun.elevation)) * (-(slope_x * toward[0] + slope_y * toward[1]))
    norm = np.sqrt(1.0 + slope_x**2 + slope_y**2)
    direct = np.clip((1.0 + facing) / norm, 0.0, 1.9)
    direct *= _sunlit(height, toward, np.tan(sun.elevation) * gsd)
    around = ndimage.uniform_filter(height, size=max(3, int(3.5 / gsd)), mode="nearest")
    sky = 1.0 / (1.0 + 0.09 * np.clip(around - height, 0, 6))
    sky_tint = np.array([0.94, 1.0, 1.10], dtype=np.float32)
    sun_tint = np.array([1.02, 1.0, 0.96], dtype=np.float32)
    shade = (1 - sun.share) * sky[..., None] * sky_tint + sun.share * direct[..., None] * sun_tint
    return canvas.colour * shade.astype(np.float32) ** np.float32(0.8)


def _sunlit(height: np.ndarray, toward: np.ndarray, fall: float) -> np.ndarray:
    """Return (H, W) float32, 1 in the sun and 0 in the shadow; ``fall`` metres is how much a shadow's top sinks a pixel."""
    horizon = np.full_like(height, -np.inf)
    reach = int(min(float(height.max()) / fall, 90.0)) + 1
    stride = 1 if reach < 50 else 2
    for k in range(1, reach + 1, stride):
        dx, dy = round(k * toward[0]), round(k * toward[1])
        rows, source_rows = _overlap(height.shape[0], dy)
        columns, source_columns = _overlap(height.shape[1], dx)
        target = horizon[rows, columns]
        np.maximum(target, height[source_rows, source_columns] - np.float32(k * fall), out=target)
    return 1.0 - np.clip((horizon - height - 0.1) / 0.35, 0.0, 1.0)


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """Return target and source slices such that source = target + offset, both within 0..size."""
    if offset >= 0:
        return slice(0, max(size - offset, 0)), slice(min(offset, size), size)
    return slice(min(-offset, size), size), slice(0, max(size + offset, 0))


def _shifted(values: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Return the array whose pixel (r, c) is ``values`` at (r + dy, c + dx), zero outside."""
    result = np.zeros_like(values)
    rows, source_rows = _overlap(values.shape[0], dy)
    columns, source_columns = _overlap(values.shape[1], dx)
    result[rows, columns] = values[source_rows, source_columns]
    return result


def _gentle_slope(height: np.ndarray, axis: int) -> np.ndarray:
    """Return the one-sided difference of smaller size: roofs keep their slope up to the very eaves, walls count for nothing."""
    step = np.diff(height, axis=axis)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (0, 1)
    ahead = np.pad(step, pad)
    pad[axis] = (1, 0)
    behind = np.pad(step, pad)
    return np.clip(np.where(np.abs(ahead) < np.abs(behind), ahead, behind), -1.2, 1.2)


def photograph(scene: np.ndarray, rng: np.random.Generator, style: TownStyle) -> np.ndarray:
    """Return the scene (H, W, 3) as a uint8 image with exposure, white balance, haze, blur, noise and JPEG artefacts."""
    exposure = rng.uniform(*style.brightness)
    balance = np.exp(rng.normal(0, 0.04, 3)).astype(np.float32)
    if rng.random() < 0.3:  # satellites see blue
        balance *= np.array([0.88, 1.0, 1.12], dtype=np.float32) ** np.float32(rng.uniform(0.2, 0.9))
    image = scene * (balance * np.float32(exposure * 1.12))
    sigma = rng.uniform(0.35, 0.85)
    for band in range(3):
        image[..., band] = ndimage.gaussian_filter(image[..., band], sigma, truncate=2.5)
    if rng.random() < 0.35:  # sharpened by whoever made the mosaic
        soft = ndimage.uniform_filter(image, size=(3, 3, 1))
        image += np.float32(rng.uniform(0.3, 0.9)) * (image - soft)
    image = np.clip(image, 0.0, None) ** np.float32(rng.uniform(0.85, 1.2))
    haze = rng.uniform(0.0, 0.16) * (rng.random() < 0.6)
    air = np.array([0.50, 0.60, 0.70], dtype=np.float32) * np.float32(rng.uniform(0.8, 1.2))
    image = image * (1 - haze) + haze * air
    grey = image.mean(axis=2, keepdims=True)
    image = grey + np.float32(rng.uniform(0.7, 1.08)) * (image - grey)
    contrast = np.float32(rng.uniform(0.9, 1.15))
    image = 0.45 + contrast * (image - 0.45)
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32)[..., None] * np.float32(rng.uniform(0.002, 0.014))
    pixels = np.clip((image + noise) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(68, 96)))
    return np.asarray(Image.open(buffer, formats=("JPEG",)).convert("RGB"))
