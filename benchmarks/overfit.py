"""Can the training program drive a model to the ground truth of four images? What cannot overfit, cannot learn.

    python benchmarks/overfit.py [--data FOLDER] [--steps N]

Trains `maskdino_tiny` from nothing on four genuine MapChallenge tiles, without augmentation, and measures it on these four,
at about half their resolution. Needs the real imagery, which is not part of the project. Minutes on a CPU.
"""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path

import torch
import typer

from engine.job import Job, Progress
from training.callbacks.history import LOSSES, VALIDATION, read_history
from training.config.schema import TrainConfig
from training.data.coco.folder import find_annotations
from training.run.train import train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mapchallenge"
TILES = 4
SIDE = 160  # pixels that the tiles of 300 are brought to, for the sake of time


def main(data: Path = DATA, steps: int = 350) -> None:
    """Train and print the course of the run."""
    if not data.is_dir():
        raise typer.BadParameter(f"{data} is not there: the real imagery does not come with the project")
    with tempfile.TemporaryDirectory() as folder:
        annotations = Path(folder, "four.json")
        buildings = write_subset(data, annotations)
        source = {"kind": "coco", "folder": str(data), "annotations": str(annotations), "fit": True}
        config = TrainConfig.model_validate(
            {
                "name": "overfit",
                "model": "maskdino_tiny",
                "data": {"sources": [source], "validation": [source], "size": SIDE, "smallest": 1},
                "augmentation": {"orientations": "none", "scale": [1, 1], "colour": 0},
                "losses": {"points": 1024, "oversample_ratio": 1.5, "denoising": {"number": 50}},
                "auxiliary_loss": 20,
                "optimizer": {"learning_rate": 6e-4, "backbone_factor": 1, "clip": 0.1},
                "schedule": {"kind": "cosine", "warm_up": 50, "warm_up_factor": 0.01, "hold": 0.5},
                "run": {"steps": steps, "batch": TILES, "validate_every": max(steps // 6, 1), "average": 0.98}
                | {"workers": 0, "check_leakage": False, "pictures": 0},
            }
        )
        print(
            f"maskdino_tiny from nothing, {TILES} tiles with {buildings} buildings, {steps} steps of all four at {SIDE} pixels"
        )
        trained = train(config, Path(folder, "run"), job=Job(report=_silent))
        losses = {int(row["step"]): row["total"] for row in read_history(trained.folder / LOSSES)}
        for row in read_history(trained.folder / VALIDATION):
            step = max((known for known in losses if known <= row["step"]), default=0)
            print(
                f"step {row['step']:5.0f}, {row['seconds'] / 60:5.1f} min: loss {losses.get(step, float('nan')):7.2f}, "
                f"AP50 {row['AP50']:.3f}, AP {row['AP']:.3f}"
            )
        print(f"on {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")


def write_subset(data: Path, output: Path) -> int:
    """Write the annotations of the four images with the most buildings; return how many buildings they have."""
    content = json.loads(find_annotations(data).read_text(encoding="utf-8"))
    counts = {image["id"]: 0 for image in content["images"]}
    for annotation in content["annotations"]:
        counts[annotation["image_id"]] += 1
    kept = set(sorted(counts, key=lambda number: (-counts[number], number))[:TILES])
    content["images"] = [image for image in content["images"] if image["id"] in kept]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    output.write_text(json.dumps(content), encoding="utf-8")
    return len(content["annotations"])


def _silent(progress: Progress) -> None:
    pass


if __name__ == "__main__":
    typer.run(main)
