"""How long an audit takes a picture, and how much memory, on generated pictures with planted copies; and whether it finds them.

    python benchmarks/audit.py [--images 5000] [--workers N] [--size 300] [--thumbnails 100000]

Every fifth picture is a copy of an earlier one: stored again as a JPEG of another quality, turned or mirrored, or brightened.
After that, how long comparing alone takes among many more, of which no pictures are stored.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import typer
from PIL import Image, ImageEnhance

from training.data.audit.audit import audit_dataset
from training.data.audit.duplicates import Pictures, find_pairs, groups_of
from training.data.audit.perceptual_hash import SIDE, hash_orientations, orient

EVERY = 5  # pictures, one of which is a copy
ANNOTATIONS = 9  # an image, as MapChallenge has
TEXTURES = 64  # of ground and roofs, generated once: what is measured is the audit


def main(
    images: int = typer.Option(5000, help="Pictures to generate."),
    size: int = typer.Option(300, help="Side in pixels."),
    workers: int = typer.Option(os.cpu_count() or 1, help="Threads."),
    thumbnails: int = typer.Option(100_000, help="Pictures to compare without storing them."),
) -> None:
    """Generate, audit, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        with ProcessPoolExecutor(1) as child:  # whose memory is not the audit's
            source = child.submit(_write, folder, images, size).result()
        print(f"{images} pictures of {size} x {size} pixels generated in {time.perf_counter() - started:.0f} s; {_machine()}")
        before, started, busy = _peak(), time.perf_counter(), time.process_time()
        audit = audit_dataset(folder, workers=workers)
        wall, cpu = time.perf_counter() - started, time.process_time() - busy
        print(f"audit with {workers} threads: {wall:.1f} s, {1e3 * wall / images:.2f} ms a picture; "
              f"{1e3 * cpu / images:.2f} ms of one core a picture")  # fmt: skip
        print(f"memory: {_peak():.0f} MB at most, of which {before:.0f} MB for the libraries")
        copies = source != np.arange(images)
        found = audit.group[copies] == audit.group[source[copies]]
        wrong = sum(source[pair.first] != source[pair.second] for pair in audit.pairs)
        print(f"{found.sum()} of {copies.sum()} copies found, {wrong} pairs that are none")
    _compare_many(thumbnails)


def _compare_many(count: int) -> None:
    """Compare thumbnails of noise at several scales, every fifth a turned copy of another with noise of its own."""
    rng = np.random.default_rng(5)
    source = np.arange(count)
    copies = source[EVERY - 1 :: EVERY]
    source[EVERY - 1 :: EVERY] = copies - rng.integers(1, EVERY, len(copies))
    pictures = Pictures(np.zeros((count, 8), np.uint64), np.zeros((count, SIDE, SIDE), np.uint8), np.zeros(count, bool))
    for number in range(count):
        own = np.random.default_rng([2, int(source[number])])
        total = sum(np.kron(own.normal(0, 30, (n, n)), np.ones((SIDE // n, SIDE // n))) for n in (4, 8, 16))
        changed = orient(total, int(rng.integers(8))) if source[number] != number else total
        pictures.thumbnails[number] = np.clip(changed + rng.normal(125, 4, (SIDE, SIDE)), 0, 255)
    for start in range(0, count, 1000):
        pictures.hashes[start : start + 1000] = hash_orientations(pictures.thumbnails[start : start + 1000])
    started = time.perf_counter()
    group = groups_of(find_pairs(pictures), count)
    wall = time.perf_counter() - started
    right = (group == group[source]).sum() - len(np.unique(source))
    print(f"comparing {count} pictures: {wall:.1f} s; {right} of {len(source) - len(np.unique(source))} copies found, "
          f"{len(np.unique(source)) - len(np.unique(group[source]))} pictures taken for copies of others; "
          f"{_peak():.0f} MB at most")  # fmt: skip


def _write(folder: Path, count: int, size: int) -> np.ndarray:
    """Write pictures and annotations; return for each the number of the one that it is a copy of, its own where it is none."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    textures = [_texture(rng, 2 * size) for _ in range(TEXTURES)]
    source = np.arange(count)
    with (folder / "annotation.json").open("w", encoding="utf-8") as target:
        target.write('{"categories": [{"id": 100, "name": "building"}], "images": [')
        for number in range(count):
            if number % EVERY == EVERY - 1:
                source[number] = source[rng.integers(number)]
            entry = {"id": number, "file_name": f"{number:06d}.jpg", "width": size, "height": size}
            target.write(("," if number else "") + json.dumps(entry))
            own = np.random.default_rng([1, int(source[number])])
            image, quality = _picture(own, textures, size), 85
            if source[number] != number:
                image = np.moveaxis(orient(np.moveaxis(image, -1, 0), int(rng.integers(8))), 0, -1)
                quality = int(rng.integers(40, 80))
            picture = Image.fromarray(np.ascontiguousarray(image))
            if source[number] != number and rng.random() < 0.3:
                picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.85, 1.15))
            picture.save(folder / "images" / entry["file_name"], quality=quality)
        target.write('], "annotations": [')
        for number in range(count * ANNOTATIONS):
            x, y, w, h = (int(value) for value in (*rng.integers(0, size - 40, 2), *rng.integers(8, 40, 2)))
            ring = [x, y, x + w, y, x + w, y + h, x, y + h]
            entry = {"id": number, "image_id": number // ANNOTATIONS, "category_id": 100, "iscrowd": 0, "area": w * h,
                     "bbox": [x, y, w, h], "segmentation": [ring]}  # fmt: skip
            target.write(("," if number else "") + json.dumps(entry))
        target.write("]}")
    return source


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    noise = sum(
        np.asarray(Image.fromarray(rng.normal(0, 1, (side // s + 1,) * 2).astype(np.float32)).resize((side, side))) * s**0.5
        for s in (2, 8, 32, 96)
    )
    tint = rng.uniform(0.7, 1.3, 3)
    return np.clip((110 + 12 * noise)[..., None] * tint, 0, 255).astype(np.uint8)


def _picture(rng: np.random.Generator, textures: list[np.ndarray], size: int) -> np.ndarray:
    """Lay roofs on ground: the same few textures, streets and houses at other places, so that pictures are of one style."""
    corners = rng.integers(0, size, (3, 2))
    parts = [textures[int(rng.integers(TEXTURES))][y : y + size, x : x + size] for x, y in corners]
    image = (np.add(parts[0], parts[1], dtype=np.uint16) // 2).astype(np.uint8)
    image[image[..., 0] > 115] = parts[2][image[..., 0] > 115]
    street = int(rng.integers(0, size - 12))
    image[street : street + 12] = 120
    for _ in range(int(rng.integers(4, 20))):
        x, y = rng.integers(0, size - 45, 2)
        w, h = rng.integers(15, 45, 2)
        image[y : y + h, x : x + w] = rng.integers(60, 240, 3)
    return image


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    typer.run(main)
