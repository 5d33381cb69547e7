"""Make the small recordings of this folder from the larger originals: ``python -m tests.goldens.shrink ORIGINALS``.

What the tests compare stays as it was recorded, to the last bit; only what they can do without is left out:

- inference: the second run in float64, whose difference from the first is also in the recording's own ``meta``; of
  DI-MaskDINO, which differs from Mask DINO in its queries alone, whole masks, most classes and half of the proposals too;
- training: images and targets, which the four recordings have in common, go to one file, named by their checksum;
- the operator: all heads of the largest case but two, since no head depends on another.
"""

from __future__ import annotations

import argparse
import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.goldens.recordings import HERE, INPUT_OF_TRAINING

Arrays = Mapping[str, np.ndarray]

MODELS = (
    "maskdino_r50",
    "maskdino_swinl_map",
    "maskdino_r50_coco_pan",
    "maskdino_r50_ade_sem",
    "dimaskdino_r50",
    "mask2former_dinatl",
)
INFERENCE = ("maskdino_r50_256x320", "dimaskdino_r50_256x320")
TRAINING = tuple(
    f"train_r50_{case}{precision}" for case in ("dnno_fixedpoints", "dnseg_pointrend") for precision in ("", "_f64")
)
OPERATOR = "ms_deform_attn_op"
_HEADS_LEFT = 2
_CLASSES_LEFT = 4
_PROPOSALS_LEFT = 300
_QUERIES_WITH_MASKS_LEFT = 30


def without_second_run(original: Arrays) -> dict[str, np.ndarray]:
    """Leave out what the float64 run gave."""
    return {name: array for name, array in original.items() if not name.startswith("f64_")}


def with_fewer_classes_and_masks(original: Arrays) -> dict[str, np.ndarray]:
    """Leave out whole masks, and of classes, of proposals and of masks at every eighth pixel all but the first."""
    cut = {name: array for name, array in original.items() if not name.endswith(("masks_first2", "masks_first4"))}
    for name in cut:
        if name.endswith("_logits"):
            cut[name] = cut[name][:, :_PROPOSALS_LEFT, :_CLASSES_LEFT]
        elif name.startswith(("interm", "oldm")) and name.endswith("_boxes"):
            cut[name] = cut[name][:, :_PROPOSALS_LEFT]
        elif name.endswith("masks_ds8"):
            cut[name] = cut[name][:, :_QUERIES_WITH_MASKS_LEFT]
    return cut


def inference(stem: str, original: Arrays) -> dict[str, np.ndarray]:
    """Return what is left of a recording of inference."""
    left = without_second_run(original)
    return with_fewer_classes_and_masks(left) if stem.startswith("dimaskdino") else left


def input_and_results(original: Arrays) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Separate images and targets of a training step from what the step gave; the results name the file of the input."""
    given = {name: array for name, array in original.items() if name.startswith(("image", "gt_"))}
    checksum = zlib.crc32(b"".join(given[name].tobytes() for name in sorted(given)))
    results = {name: array for name, array in original.items() if name not in given}
    meta = json.loads(str(original["meta"]))
    del meta["args"]["out"]  # a path of the machine that it was recorded on
    return given, results | {"meta": np.array(json.dumps(meta)), INPUT_OF_TRAINING: np.array(f"train_input_{checksum:08x}")}


def with_fewer_heads(original: Arrays) -> dict[str, np.ndarray]:
    """Leave two heads of case B: axis 2 of all its arrays but outputs, in which heads lie side by side on the last axis."""
    width = original["B_value"].shape[-1]
    cut = {}
    for name in original:
        if name.startswith("B_") and not name.endswith("shapes"):
            beside = name in ("B_out", "B_grad_out")
            cut[name] = original[name][..., : _HEADS_LEFT * width] if beside else original[name][:, :, :_HEADS_LEFT]
    return dict(original) | cut


def shrink(originals: Path, target: Path) -> None:
    """Write the small recordings of ``originals`` into the folder ``target``."""
    for model in MODELS:
        shutil.copyfile(originals / f"{model}.keys.json", target / f"{model}.keys.json")
    for stem in INFERENCE:
        np.savez_compressed(target / f"{stem}.npz", **inference(stem, np.load(originals / f"{stem}.npz")))
    for stem in TRAINING:
        given, results = input_and_results(np.load(originals / f"{stem}.npz"))
        np.savez_compressed(target / f"{results[INPUT_OF_TRAINING]}.npz", **given)
        np.savez_compressed(target / f"{stem}.npz", **results)
    np.savez_compressed(target / f"{OPERATOR}.npz", **with_fewer_heads(np.load(originals / f"{OPERATOR}.npz")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("originals", type=Path, help="the folder of the originals")
    shrink(parser.parse_args().originals, HERE)
