"""Polygons become the pixels that rasterio makes of them, and masks outlines as exact as its own."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely

from training.data.rasterize import outline_of_mask, rasterize_labels, rasterize_layers, rasterize_masks

HEIGHT, WIDTH = 48, 64


def random_polygon(rng: np.random.Generator) -> shapely.Geometry:
    """Draw a polygon or several, some with a hole, some slivers, some partly or wholly beside the raster."""
    count = int(rng.integers(3, 12))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = rng.uniform(2, 30) * rng.uniform(0.2, 1, count)
    centre, stretch = rng.uniform(-15, 75, 2), np.array([1.0, rng.choice([1.0, 0.3, 0.01])])
    star = shapely.Polygon(centre + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] * stretch)
    solid = shapely.make_valid(star)
    return shapely.difference(solid, shapely.Point(centre).buffer(rng.uniform(0, 10), quad_segs=3))


def random_mask(rng: np.random.Generator, share: float) -> np.ndarray:
    """Draw a mask of large and small regions, (H, W) uint8, with holes and corners that touch."""
    coarse = np.kron(rng.random((HEIGHT // 4, WIDTH // 4)), np.ones((4, 4)))
    return (0.7 * coarse + 0.3 * rng.random((HEIGHT, WIDTH)) < share).astype(np.uint8)


def burnt(polygons: list[shapely.Geometry]) -> np.ndarray:
    numbered = [(polygon, number) for number, polygon in enumerate(polygons, start=1)]
    return rasterio.features.rasterize(numbered, out_shape=(HEIGHT, WIDTH), dtype="int32")


@pytest.mark.parametrize("seed", range(8))
def test_pixels_are_those_of_rasterio(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = (random_polygon(rng) for _ in range(25))
    polygons = [polygon for polygon in drawn if polygon.geom_type.endswith("Polygon") and not polygon.is_empty]
    assert np.array_equal(rasterize_labels(polygons, HEIGHT, WIDTH), burnt(polygons))
    masks, covering = rasterize_masks(polygons, HEIGHT, WIDTH)
    wanted = [burnt([polygon]) > 0 for polygon in polygons]
    assert covering.tolist() == [number for number, mask in enumerate(wanted) if mask.any()]
    assert np.array_equal(masks, [wanted[number] for number in covering])
    layers, covering_layers = rasterize_layers(polygons, HEIGHT, WIDTH)
    assert np.array_equal(covering_layers, covering) and len(layers) == np.sum(wanted, axis=0).max()
    assert np.array_equal([(layers == number).any(axis=0) for number in range(1, len(masks) + 1)], masks)


def test_polygons_that_share_edges_share_out_the_pixels() -> None:
    # Corners and edges on pixel centres too: each of those still belongs to one polygon.
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 40, (30, 2)), rng.integers(0, 40, (30, 2)) + 0.5])
    triangles = shapely.get_parts(shapely.delaunay_triangles(shapely.MultiPoint(points)))
    masks, _ = rasterize_masks(triangles, HEIGHT, WIDTH)
    whole, _ = rasterize_masks([shapely.convex_hull(shapely.MultiPoint(points))], HEIGHT, WIDTH)
    assert np.array_equal(masks.sum(0), whole[0].astype(int))


def test_a_square_has_its_pixels_and_its_hole_has_none() -> None:
    ring = shapely.difference(shapely.box(2, 3, 9, 8), shapely.box(4, 4, 6, 7))
    wanted = np.zeros((10, 12), dtype=np.int32)
    wanted[3:8, 2:9] = 1
    wanted[4:7, 4:6] = 0
    assert np.array_equal(rasterize_labels([ring], 10, 12), wanted)


@pytest.mark.parametrize("polygons", [[], [shapely.Polygon()], [shapely.box(70, 5, 80, 9)], [shapely.box(3.6, 3.6, 4.4, 9)]])
def test_what_covers_no_pixel_centre_leaves_no_mask(polygons: list[shapely.Geometry]) -> None:
    masks, covering = rasterize_masks(polygons, HEIGHT, WIDTH)
    assert (masks.shape, covering.shape) == ((0, HEIGHT, WIDTH), (0,))
    assert not rasterize_labels(polygons, HEIGHT, WIDTH).any()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_the_outline_of_a_mask_is_rasterios_and_gives_the_mask_again(share: float) -> None:
    mask = random_mask(np.random.default_rng(1), share)
    outline = outline_of_mask(mask)
    shapes = rasterio.features.shapes(mask, mask=mask.astype(bool))
    assert outline.is_valid
    assert outline.equals(shapely.union_all([shapely.geometry.shape(shape) for shape, _ in shapes]))
    assert np.array_equal(rasterize_labels([outline], HEIGHT, WIDTH), mask)
