"""The options of the engine's commands, written by ``packaging/update_options.py``: change the engine's requests instead."""

from __future__ import annotations

from typing import Any, NamedTuple

from qgis_maskdino.translation import tr


class Option(NamedTuple):
    """What the engine says of an option.

    Attributes:
        help: one or two sentences.
        kind: ``flag``, ``whole number``, ``number``, ``text``, ``choice``, or ``list``.
        default: None where it may be left out.
        minimum: of a number; None where there is none.
        maximum: of a number; None where there is none.
        choices: the values of a choice, and those of a text that are offered.
    """

    help: str
    kind: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


def detect() -> dict[str, Option]:
    """Return the options of ``maskdino detect`` by name."""
    return {
        "raster": Option(tr("Anything that GDAL reads."), "text"),
        "output": Option(tr("Output file: .gpkg, .geojson, .fgb or .parquet."), "text"),
        "model": Option(tr("An embedded model by name, or a model file."), "text", default="maskdino_lite"),
        "device": Option(
            tr(
                "Where the model runs: auto (the graphics card where there is one, else the processor), cpu, cuda, "
                "cuda:N or mps."
            ),
            "text",
            default="auto",
            choices=("auto", "cpu", "cuda", "mps"),
        ),
        "resume": Option(tr("Go on where a killed or cancelled run ended."), "flag", default=False),
        "aoi": Option(tr("Polygons, in any format and CRS: look inside them alone."), "text"),
        "extent": Option(tr("Look inside a rectangle alone, in the raster's CRS."), "list"),
        "bands": Option(
            tr(
                "Bands for red, green and blue, counted from 1; by default by their colour interpretation, else the first ones."
            ),
            "list",
        ),
        "gsd": Option(
            tr("Ground sampling distance that the model sees, in metres per pixel; by default what it was trained at."),
            "number",
            minimum=0.001,
        ),
        "classes": Option(
            tr("Names of the model's classes to find, with commas between them, such as car,truck; by default all of them."),
            "list",
        ),
        "precision": Option(
            tr("Of the model's products; auto takes bfloat16 where the device is faster at it."),
            "choice",
            default="auto",
            choices=("auto", "float32", "bfloat16"),
        ),
        "on_damage": Option(
            tr("What a damaged block of the raster does: fail the run, or skip it as no data and name it."),
            "choice",
            default="fail",
            choices=("fail", "skip"),
        ),
        "local_only": Option(
            tr("Refuse a raster that reads from the network or from outside its own folder, such as a VRT from a stranger."),
            "flag",
            default=False,
        ),
        "batch_size": Option(
            tr("Tiles that the model sees at once; by default what suits the device."), "whole number", minimum=1
        ),
        "workers": Option(
            tr(
                "Threads that read, and that work on what the model gives; by default one beside a CPU, up to eight "
                "beside a GPU."
            ),
            "whole number",
            minimum=1,
        ),
        "overlap": Option(
            tr("Pixels that neighbouring tiles share; by default a quarter of a tile, at least 64."), "whole number", minimum=0
        ),
        "score": Option(
            tr("Keep what the model is at least this sure of, 0 to 1. Lower finds more, and more that is none."),
            "number",
            default=0.5,
            minimum=0,
            maximum=1,
        ),
        "min_area": Option(
            tr(
                "Leave out what is smaller, in square metres of ground; by default 12 pixels, and of buildings 4 m2 "
                "if that is more."
            ),
            "number",
            minimum=0,
        ),
        "outline": Option(
            tr("Outlines with right angles (regular), smooth ones (simplified), or the borders of the pixels (raw)."),
            "choice",
            default="regular",
            choices=("regular", "simplified", "raw"),
        ),
        "deterministic": Option(
            tr(
                "The same bits whatever the number of threads, workers and tiles at once, in float32, with one of each; slower."
            ),
            "flag",
            default=False,
        ),
        "compile": Option(
            tr("Compile the model first, with torch.compile: takes a minute, and on a CPU a C++ compiler."),
            "flag",
            default=False,
        ),
        "layer": Option(tr("Add them to an existing GeoPackage, as a new layer of this name."), "text"),
        "append": Option(
            tr(
                "Add them to the layer that --layer names, or to that of an earlier run; its fields and CRS must be "
                "the same. A run that fails or is cancelled adds none."
            ),
            "flag",
            default=False,
        ),
        "overwrite": Option(tr("Replace a GeoPackage that holds other layers too."), "flag", default=False),
    }


def segment() -> dict[str, Option]:
    """Return the options of ``maskdino segment`` by name."""
    return {
        "raster": Option(tr("Anything that GDAL reads."), "text"),
        "output": Option(tr("Output file: .tif."), "text"),
        "model": Option(tr("A model file for semantic or panoptic segmentation; none comes with the program."), "text"),
        "device": Option(
            tr(
                "Where the model runs: auto (the graphics card where there is one, else the processor), cpu, cuda, "
                "cuda:N or mps."
            ),
            "text",
            default="auto",
            choices=("auto", "cpu", "cuda", "mps"),
        ),
        "resume": Option(tr("Go on where a killed or cancelled run ended."), "flag", default=False),
        "aoi": Option(tr("Polygons, in any format and CRS: look inside them alone."), "text"),
        "extent": Option(tr("Look inside a rectangle alone, in the raster's CRS."), "list"),
        "bands": Option(
            tr(
                "Bands for red, green and blue, counted from 1; by default by their colour interpretation, else the first ones."
            ),
            "list",
        ),
        "gsd": Option(
            tr("Ground sampling distance that the model sees, in metres per pixel; by default what it was trained at."),
            "number",
            minimum=0.001,
        ),
        "classes": Option(
            tr(
                "Names of the model's classes to keep, with commas between them, such as road,water; by default all "
                "of them. Pixels of the others have no data."
            ),
            "list",
        ),
        "precision": Option(
            tr("Of the model's products; auto takes bfloat16 where the device is faster at it."),
            "choice",
            default="auto",
            choices=("auto", "float32", "bfloat16"),
        ),
        "on_damage": Option(
            tr("What a damaged block of the raster does: fail the run, or skip it as no data and name it."),
            "choice",
            default="fail",
            choices=("fail", "skip"),
        ),
        "local_only": Option(
            tr("Refuse a raster that reads from the network or from outside its own folder, such as a VRT from a stranger."),
            "flag",
            default=False,
        ),
        "batch_size": Option(
            tr("Tiles that the model sees at once; by default what suits the device."), "whole number", minimum=1
        ),
        "workers": Option(
            tr(
                "Threads that read, and that work on what the model gives; by default one beside a CPU, up to eight "
                "beside a GPU."
            ),
            "whole number",
            minimum=1,
        ),
        "overlap": Option(
            tr("Pixels that neighbouring tiles share; by default a quarter of a tile, at least 64."), "whole number", minimum=0
        ),
        "probabilities": Option(
            tr("Write the probability of the class of this name in place of class numbers, 0 to 254 for 0 to 1."), "text"
        ),
        "overwrite": Option(tr("Replace a file that this program did not write, too."), "flag", default=False),
    }


def regularize() -> dict[str, Option]:
    """Return the options of ``maskdino regularize`` by name."""
    return {
        "layer": Option(tr("Polygons, in any format and CRS; FILE|layername=NAME names one layer of several."), "text"),
        "output": Option(tr("Output file: .gpkg, .geojson or .fgb."), "text"),
        "outline": Option(
            tr("Outlines with right angles (regular), or smooth ones (simplified)."),
            "choice",
            default="regular",
            choices=("regular", "simplified"),
        ),
        "detail": Option(
            tr(
                "What is smaller than this is taken for noise, in metres on the ground; for polygons along the pixels"
                " of a raster, their size. More gives fewer corners."
            ),
            "number",
            default=0.3,
            minimum=0.001,
            maximum=100,
        ),
        "overwrite": Option(tr("Replace a GeoPackage that holds other layers too."), "flag", default=False),
    }


def evaluate() -> dict[str, Option]:
    """Return the options of ``maskdino evaluate`` by name."""
    return {
        "detections": Option(tr("What was found: polygons in any format and CRS."), "text"),
        "annotations": Option(tr("What is there: polygons in any format and CRS."), "text"),
        "aoi": Option(tr("Compare inside an area alone: what lies there by more than half."), "text"),
        "json": Option(tr("Write the figures as JSON."), "text"),
        "report": Option(tr("Write a report, one page with pictures."), "text"),
        "output": Option(tr("Write hits, false positives and misses as a layer."), "text"),
        "score_field": Option(
            tr("Field with the detections' scores, which average precision goes by; by default score or confidence."), "text"
        ),
        "class_field": Option(
            tr("Field with the names of classes; by default class, if both layers have it. Matches are within a class."), "text"
        ),
        "annotated_class_field": Option(tr("That field of the annotations, if it has another name there."), "text"),
        "boundary_width": Option(
            tr("Width of the strip along borders that boundary IoU compares, in metres."), "number", default=1.0, minimum=0.01
        ),
    }


def export_dataset() -> dict[str, Option]:
    """Return the options of ``maskdino export-dataset`` by name."""
    return {
        "raster": Option(tr("Anything that GDAL reads."), "text"),
        "annotations": Option(tr("Footprints: polygons, in any format and CRS."), "text"),
        "output": Option(tr("A new folder."), "text"),
        "aoi": Option(tr("Polygons inside which the annotations are complete; nothing outside is used."), "text"),
        "tile_size": Option(tr("Side of a tile in pixels."), "whole number", default=300, minimum=16, maximum=8192),
        "stride": Option(
            tr("Pixels from tile to tile; by default the tile size. Less makes training tiles overlap."),
            "whole number",
            minimum=1,
        ),
        "gsd": Option(tr("Metres per pixel of the tiles; by default the raster's own pixels."), "number", minimum=0.001),
        "bands": Option(
            tr(
                "Bands for red, green and blue, counted from 1; by default by their colour interpretation, else the first ones."
            ),
            "list",
        ),
        "split": Option(
            tr("Share of the ground for training, such as 0.8: writes train/ and val/, which share no ground."), "number"
        ),
        "block": Option(tr("Where the ground is split: tiles along the side of a block of ground."), "whole number", minimum=1),
        "margin": Option(
            tr("Where the ground is split: pixels of unused ground between blocks."), "whole number", default=32, minimum=0
        ),
        "seed": Option(
            tr("Where the ground is split: another seed, other blocks for validation."), "whole number", default=0, minimum=0
        ),
        "min_area": Option(
            tr("Leave out what a tile's border leaves of a building below this."), "number", default=4.0, minimum=0
        ),
        "image_format": Option(
            tr("Of the tiles: png (exact) or jpg (smaller)."), "choice", default="png", choices=("png", "jpg")
        ),
    }


def train() -> dict[str, Option]:
    """Return the options of ``maskdino train`` by name."""
    return {
        "config": Option(tr("A YAML file, or a ready config by its name."), "text"),
        "overrides": Option(tr("Changes to it, such as run.epochs=20."), "list"),
        "output": Option(tr("Folder of the run."), "text"),
        "resume": Option(
            tr("Go on where the run in the folder ended, cancelled or broken off, with the same settings."),
            "flag",
            default=False,
        ),
    }


def models_convert() -> dict[str, Option]:
    """Return the options of ``maskdino models convert`` by name."""
    return {
        "published": Option(tr("A published .pth, .pkl or .safetensors checkpoint."), "text"),
        "output": Option(tr("The model file to write, .safetensors."), "text"),
        "preset": Option(tr("Which preset it is; told by the tensors' shapes if left out."), "text"),
        "classes": Option(tr("Names of the classes, with commas between them."), "list"),
        "num_classes": Option(tr("How many classes, where they have no names; 1 or more."), "whole number", minimum=1),
        "drop_classes": Option(
            tr("Leave the checkpoint's own classes out: its classifier must be trained again."), "flag", default=False
        ),
        "gsd": Option(tr("Metres per pixel that it was trained at."), "number"),
        "tile_size": Option(tr("Side of the tiles to detect in, in pixels."), "whole number"),
        "half": Option(tr("Store as float16: half the size, about three decimal digits."), "flag", default=False),
    }
