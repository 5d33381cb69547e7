"""The classes of the data sets that published segmentation models were trained on, in the order in which they index them.

Of a class with several names the first stands here.
"""

from __future__ import annotations

from engine.model.checkpoints.coco_classes import COCO_CLASSES

COCO_PANOPTIC_CLASSES: tuple[str, ...] = (
    *COCO_CLASSES,
    *("banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door-stuff", "floor-wood", "flower", "fruit"),
    *("gravel", "house", "light", "mirror-stuff", "net", "pillow", "platform", "playingfield", "railroad", "river"),
    *("road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent", "towel", "wall-brick", "wall-stone"),
    *("wall-tile", "wall-wood", "water-other", "window-blind", "window-other", "tree-merged", "fence-merged"),
    *("ceiling-merged", "sky-other-merged", "cabinet-merged", "table-merged", "floor-other-merged", "pavement-merged"),
    *("mountain-merged", "grass-merged", "dirt-merged", "paper-merged", "food-other-merged", "building-other-merged"),
    *("rock-merged", "wall-other-merged", "rug-merged"),
)
COCO_THINGS = tuple(range(len(COCO_CLASSES)))

ADE20K_CLASSES: tuple[str, ...] = (
    *("wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "window", "grass", "cabinet", "sidewalk"),
    *("person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water", "painting", "sofa"),
    *("shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk", "rock", "wardrobe"),
    *("lamp", "tub", "rail", "cushion", "base", "box", "column", "signboard", "chest of drawers", "counter", "sand"),
    *("sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path", "stairs", "runway", "case"),
    *("pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase", "blind", "coffee table"),
    *("toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm", "kitchen island", "computer"),
    *("swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light", "truck", "tower"),
    *("chandelier", "awning", "street lamp", "booth", "tv", "plane", "dirt track", "clothes", "pole", "land"),
    *("bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van", "ship", "fountain"),
    *("conveyer belt", "canopy", "washer", "plaything", "pool", "stool", "barrel", "basket", "falls", "tent", "bag"),
    *("minibike", "cradle", "oven", "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal"),
    *("bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light"),
    *("tray", "trash can", "fan", "pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator"),
    *("glass", "clock", "flag"),
)
_ADE20K_STUFF = {
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    9,
    11,
    13,
    16,
    17,
    21,
    25,
    26,
    28,
    29,
    34,
    40,
    46,
    48,
    51,
    52,
    54,
    59,
    60,
    61,
    63,
    68,
    77,
    79,
    84,
    91,
    94,
    96,
    99,
    100,
    101,
    105,
    106,
    109,
    113,
    114,
    117,
    122,
    128,
    131,
    140,
    141,
    145,
}
ADE20K_THINGS = tuple(index for index in range(len(ADE20K_CLASSES)) if index not in _ADE20K_STUFF)

CITYSCAPES_CLASSES: tuple[str, ...] = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
CITYSCAPES_THINGS = tuple(range(CITYSCAPES_CLASSES.index("person"), len(CITYSCAPES_CLASSES)))
