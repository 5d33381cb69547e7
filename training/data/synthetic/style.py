"""What towns of several regions are made of: plots, roofs, soil, streets, trees.

A style holds frequencies and sizes only; ``town_layout`` draws a plan from it and ``town_roofs`` and ``town_ground`` paint it.
Lengths are metres, colours are display RGB in 0..1, weights need not add up to one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)
Colour = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class RoofMaterial:
    """A kind of roof: its colours, its surface, and the forms it is built in."""

    surface: str  # concrete, corrugated, tile, membrane, thatch, shell
    colours: tuple[Colour, ...]
    forms: dict[str, float]  # flat, gable, hip, shed -> weight


CONCRETE = RoofMaterial(
    "concrete", ((0.60, 0.58, 0.54), (0.52, 0.50, 0.47), (0.67, 0.64, 0.58), (0.58, 0.52, 0.46)), {"flat": 1.0}
)
GREY_TIN = RoofMaterial(
    "corrugated", ((0.62, 0.66, 0.68), (0.72, 0.76, 0.78), (0.52, 0.55, 0.56)), {"gable": 3, "hip": 1, "shed": 2}
)
BRIGHT_TIN = RoofMaterial(
    "corrugated", ((0.78, 0.83, 0.87), (0.70, 0.77, 0.82), (0.85, 0.88, 0.90)), {"gable": 3, "hip": 3, "shed": 1}
)
BLUE_TIN = RoofMaterial(
    "corrugated", ((0.22, 0.42, 0.66), (0.26, 0.50, 0.74), (0.18, 0.32, 0.55)), {"gable": 2, "shed": 2, "flat": 1}
)
RED_TIN = RoofMaterial(
    "corrugated", ((0.62, 0.22, 0.22), (0.70, 0.30, 0.28), (0.55, 0.18, 0.20)), {"gable": 3, "hip": 2, "shed": 1}
)
GREEN_TIN = RoofMaterial("corrugated", ((0.30, 0.44, 0.36), (0.38, 0.52, 0.44)), {"gable": 2, "hip": 1})
RUSTED_TIN = RoofMaterial("corrugated", ((0.46, 0.34, 0.28), (0.52, 0.42, 0.36), (0.40, 0.30, 0.26)), {"gable": 3, "shed": 2})
RED_TILE = RoofMaterial(
    "tile", ((0.62, 0.37, 0.28), (0.68, 0.43, 0.33), (0.54, 0.33, 0.28), (0.72, 0.51, 0.40)), {"hip": 3, "gable": 3}
)
BROWN_TILE = RoofMaterial(
    "tile", ((0.50, 0.42, 0.36), (0.58, 0.48, 0.40), (0.44, 0.38, 0.35), (0.62, 0.54, 0.45)), {"hip": 4, "gable": 2}
)
GREY_SHINGLE = RoofMaterial("tile", ((0.44, 0.45, 0.46), (0.36, 0.37, 0.39), (0.54, 0.54, 0.53)), {"hip": 2, "gable": 3})
MEMBRANE = RoofMaterial("membrane", ((0.84, 0.84, 0.82), (0.74, 0.74, 0.72), (0.62, 0.62, 0.61)), {"flat": 1.0})
THATCH = RoofMaterial("thatch", ((0.45, 0.38, 0.29), (0.50, 0.43, 0.33), (0.40, 0.35, 0.29)), {"hip": 2, "gable": 1})
SHELL = RoofMaterial("shell", ((0.62, 0.60, 0.56), (0.70, 0.68, 0.64)), {"flat": 1.0})  # walls still without a roof


@dataclass(frozen=True, eq=False)
class TownStyle:
    """How a kind of town is laid out and what it is built of."""

    name: str
    block: Range  # length of a block between streets
    plot: Range  # length of a plot's longer side
    street: tuple[float, float, float]  # widths: main street, street, lane
    grid_disorder: float  # 0 a drawing board, 1 grown over centuries
    attached: float  # probability that a side of a building stands on the plot's border
    vacant: float  # share of plots without a building
    coverage: Range  # share of the plot's sides that a detached building takes
    storeys: tuple[int, int]
    roofs: dict[RoofMaterial, float]
    shapes: dict[str, float]  # rectangle, l, t, u, courtyard, notched, round -> weight
    annexes: float  # probability of a shed beside the house
    open_blocks: dict[str, float]  # fields, scrub, park, water, bare -> share of all blocks
    large_blocks: float  # share of blocks with halls and schools on large plots
    soil: tuple[Colour, ...]
    grass: tuple[Colour, ...]
    foliage: tuple[Colour, ...]
    asphalt: Colour
    paved_streets: float  # probability that a lane is paved
    greenness: Range  # how much of a yard is green
    trees: Range  # a hectare
    walls: float  # probability that a plot has a wall or hedge around it
    pools: float
    clutter: float  # things on flat roofs and in yards
    brightness: Range  # of the exposure


DENSE = TownStyle(
    name="dense",
    block=(34, 75),
    plot=(8, 15),
    street=(8.0, 4.6, 2.2),
    grid_disorder=0.8,
    attached=0.62,
    vacant=0.13,
    coverage=(0.7, 0.98),
    storeys=(1, 5),
    roofs={
        CONCRETE: 8,
        GREY_TIN: 2.2,
        BLUE_TIN: 1.4,
        RED_TIN: 0.7,
        RUSTED_TIN: 1.6,
        RED_TILE: 0.4,
        GREEN_TIN: 0.15,
        MEMBRANE: 0.3,
    },
    shapes={"rectangle": 6, "l": 2, "u": 0.3, "t": 0.3, "courtyard": 0.35, "notched": 0.8},
    annexes=0.3,
    open_blocks={"fields": 0.07, "scrub": 0.04, "park": 0.02, "bare": 0.02},
    large_blocks=0.07,
    soil=((0.56, 0.51, 0.44), (0.50, 0.45, 0.39), (0.60, 0.53, 0.44)),
    grass=((0.27, 0.33, 0.18), (0.36, 0.40, 0.23)),
    foliage=((0.20, 0.29, 0.15), (0.26, 0.34, 0.18), (0.30, 0.38, 0.20)),
    asphalt=(0.47, 0.46, 0.45),
    paved_streets=0.5,
    greenness=(0.25, 0.85),
    trees=(50, 170),
    walls=0.3,
    pools=0.0,
    clutter=1.0,
    brightness=(0.85, 1.12),
)
ISLAND = TownStyle(
    name="island",
    block=(60, 140),
    plot=(20, 40),
    street=(7.0, 4.0, 2.2),
    grid_disorder=0.9,
    attached=0.05,
    vacant=0.25,
    coverage=(0.35, 0.7),
    storeys=(1, 1),
    roofs={BRIGHT_TIN: 6, GREY_TIN: 3, RUSTED_TIN: 1.6, THATCH: 0.9, SHELL: 2.2, RED_TIN: 0.3, CONCRETE: 0.2},
    shapes={"rectangle": 5, "l": 2, "t": 0.7, "u": 0.5, "courtyard": 0.2, "notched": 2, "round": 0.15},
    annexes=0.5,
    open_blocks={"fields": 0.16, "scrub": 0.18, "bare": 0.04, "water": 0.01},
    large_blocks=0.04,
    soil=((0.62, 0.54, 0.43), (0.56, 0.48, 0.39), (0.66, 0.60, 0.50)),
    grass=((0.40, 0.45, 0.26), (0.46, 0.48, 0.30), (0.34, 0.41, 0.22)),
    foliage=((0.18, 0.28, 0.14), (0.24, 0.34, 0.17), (0.33, 0.42, 0.20), (0.15, 0.23, 0.13)),
    asphalt=(0.62, 0.60, 0.56),
    paved_streets=0.15,
    greenness=(0.45, 1.05),
    trees=(120, 420),
    walls=0.15,
    pools=0.0,
    clutter=0.5,
    brightness=(0.95, 1.2),
)
RED_EARTH = TownStyle(
    name="red_earth",
    block=(40, 95),
    plot=(11, 26),
    street=(8.0, 5.0, 2.5),
    grid_disorder=0.8,
    attached=0.25,
    vacant=0.16,
    coverage=(0.5, 0.85),
    storeys=(1, 2),
    roofs={
        RUSTED_TIN: 4,
        GREY_TIN: 3,
        RED_TIN: 2.4,
        RED_TILE: 2.2,
        BROWN_TILE: 1,
        GREEN_TIN: 0.4,
        BRIGHT_TIN: 1,
        BLUE_TIN: 0.4,
    },
    shapes={"rectangle": 6, "l": 1.5, "t": 0.5, "notched": 1.5, "u": 0.2},
    annexes=0.5,
    open_blocks={"scrub": 0.10, "park": 0.06, "bare": 0.03, "fields": 0.03},
    large_blocks=0.07,
    soil=((0.66, 0.46, 0.33), (0.60, 0.41, 0.30), (0.70, 0.53, 0.41)),
    grass=((0.30, 0.40, 0.18), (0.38, 0.45, 0.23)),
    foliage=((0.18, 0.26, 0.14), (0.22, 0.32, 0.16), (0.30, 0.40, 0.20)),
    asphalt=(0.47, 0.43, 0.41),
    paved_streets=0.25,
    greenness=(0.15, 0.7),
    trees=(70, 240),
    walls=0.4,
    pools=0.0,
    clutter=0.7,
    brightness=(0.95, 1.2),
)
SUBURB = TownStyle(
    name="suburb",
    block=(60, 120),
    plot=(19, 29),
    street=(14.0, 9.0, 8.0),
    grid_disorder=0.25,
    attached=0.0,
    vacant=0.05,
    coverage=(0.66, 0.95),
    storeys=(1, 2),
    roofs={BROWN_TILE: 5, GREY_SHINGLE: 4, RED_TILE: 3, MEMBRANE: 0.8},
    shapes={"notched": 6, "l": 2, "rectangle": 2, "t": 1.2, "u": 0.4},
    annexes=0.2,
    open_blocks={"park": 0.04, "bare": 0.025, "water": 0.02},
    large_blocks=0.12,
    soil=((0.58, 0.51, 0.45), (0.64, 0.57, 0.50), (0.52, 0.48, 0.43)),
    grass=((0.34, 0.40, 0.25), (0.40, 0.44, 0.28)),
    foliage=((0.17, 0.25, 0.16), (0.22, 0.30, 0.18), (0.14, 0.20, 0.14)),
    asphalt=(0.36, 0.37, 0.39),
    paved_streets=1.0,
    greenness=(0.1, 0.85),
    trees=(90, 300),
    walls=0.6,
    pools=0.28,
    clutter=0.4,
    brightness=(0.55, 1.05),
)
OLD_TOWN = TownStyle(
    name="old_town",
    block=(50, 100),
    plot=(11, 24),
    street=(9.0, 6.0, 3.5),
    grid_disorder=0.7,
    attached=0.6,
    vacant=0.10,
    coverage=(0.55, 0.9),
    storeys=(2, 4),
    roofs={RED_TILE: 7, BROWN_TILE: 3, GREY_SHINGLE: 2, MEMBRANE: 0.8, CONCRETE: 0.6},
    shapes={"rectangle": 5, "l": 2.2, "u": 0.8, "courtyard": 0.9, "t": 0.6, "notched": 1},
    annexes=0.3,
    open_blocks={"park": 0.08, "fields": 0.05, "water": 0.02},
    large_blocks=0.07,
    soil=((0.58, 0.55, 0.50), (0.52, 0.49, 0.45)),
    grass=((0.32, 0.42, 0.22), (0.38, 0.47, 0.26)),
    foliage=((0.17, 0.27, 0.13), (0.22, 0.33, 0.16), (0.30, 0.38, 0.18)),
    asphalt=(0.46, 0.46, 0.47),
    paved_streets=0.9,
    greenness=(0.3, 0.9),
    trees=(70, 240),
    walls=0.3,
    pools=0.03,
    clutter=0.6,
    brightness=(0.8, 1.1),
)

STYLES = {style.name: style for style in (DENSE, ISLAND, RED_EARTH, SUBURB, OLD_TOWN)}


def draw_by_weight(rng: np.random.Generator, weights: Mapping[Key, float]) -> Key:
    """Draw one of the keys, each as often as its weight says."""
    place = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        place -= weight
        if place < 0:
            return key
    return key
