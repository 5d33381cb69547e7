"""What panel and toolbox call a setting and its choices: one name each, by the name that the engine has for it."""

from __future__ import annotations

from qgis_maskdino.translation import tr


def label(name: str) -> str:
    """Return what stands beside a setting; the letter after & reaches it with Alt."""
    return {
        "raster": tr("&Raster layer"),
        "model": tr("&Model"),
        "classes": tr("&Classes"),
        "score": tr("Minimum &score"),
        "outline": tr("&Outlines"),
        "min_area": tr("Sma&llest area"),
        "gsd": tr("Resol&ution"),
        "bands": tr("Bands"),
        "device": tr("De&vice"),
        "detections": tr("&Detections"),
        "annotations": tr("&Annotations"),
        "compare_inside": tr("Compare &inside"),
        "complete_inside": tr("Where annotations are &complete"),
        "tile_size": tr("&Tile size"),
        "training_share": tr("&Ground for training"),
        "dataset_folder": tr("&Folder of the data set"),
        "dataset": tr("&Data set"),
        "start_model": tr("Model to &start from"),
        "epochs": tr("&Epochs"),
        "name": tr("&Name of the new model"),
        "run_folder": tr("&Folder of the run"),
        "checkpoint": tr("&Checkpoint"),
        "class_names": tr("Names of its c&lasses"),
        "trained_gsd": tr("&Resolution that it was trained at"),
        "drop_classes": tr("Leave its own classes &out, to fine-tune it for others"),
        "resume": tr("&Go on with the run in the folder"),
    }[name]


def title(name: str, *, unit: str = "") -> str:
    """Return the label for the dialogs of the toolbox, which have no keys for it and no place of their own for a unit."""
    text = label(name).replace("&", "")
    return f"{text} [{unit}]" if unit else text


def choice(name: str, value: str) -> str:
    """Return what a value of a setting is called; one without a name, such as ``cuda:1``, is called as it is."""
    names = {
        "outline": {"regular": tr("Right angles"), "simplified": tr("Smooth"), "raw": tr("Borders of pixels")},
        "device": {
            "auto": tr("Automatic: the fastest"),
            "cpu": tr("Processor (CPU)"),
            "cuda": tr("Graphics card (CUDA)"),
            "mps": tr("Apple graphics (MPS)"),
        },
    }
    return names[name].get(value, value)
