"""A colour for each class of a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

Colour = tuple[int, int, int]

# What maps show in about these colours. The first word that is in a class's name decides.
_FAMILIAR: tuple[tuple[tuple[str, ...], Colour], ...] = (
    (("building", "house", "skyscraper", "roof"), (214, 69, 65)),
    (("sidewalk", "pavement", "path"), (188, 174, 160)),
    (("road", "runway", "street"), (110, 110, 118)),
    (("tree", "vegetation", "forest", "palm"), (46, 125, 50)),
    (("grass", "field", "terrain", "pasture"), (156, 204, 101)),
    (("water", "sea", "river", "lake", "pool"), (41, 121, 255)),
    (("earth", "dirt", "sand", "soil", "land"), (205, 164, 92)),
    (("mountain", "rock", "hill"), (141, 110, 99)),
    (("snow", "ice"), (224, 242, 255)),
    (("sky",), (129, 212, 250)),
    (("railroad", "rail", "track"), (94, 53, 96)),
    (("background",), (230, 230, 230)),
)
_GOLDEN = 0.618034  # of a turn: hues that follow one another by it never come close


def class_colours(names: Sequence[str]) -> list[Colour]:
    """Return a colour for each class: that of its kind on maps where it has one and no class before has it, else a hue."""
    colours: list[Colour] = []
    for number, name in enumerate(names):
        familiar = _familiar(name)
        colours.append(familiar if familiar and familiar not in colours else _hue(number))
    return colours


def _familiar(name: str) -> Colour | None:
    words = set(name.casefold().replace("-", " ").replace("_", " ").split())
    return next((colour for known, colour in _FAMILIAR if words & set(known)), None)


def _hue(number: int) -> Colour:
    # Of many classes some hues are close; brightness and saturation keep those apart.
    saturation, value = 0.55 + 0.4 * (number % 3) / 2, 0.95 - 0.4 * (number % 4) / 3
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number * _GOLDEN % 1, saturation, value))
