"""Which neck and which box loss for Mask R-CNN? Each of three with each of four, on a small real data set.

    python benchmarks/mask_rcnn_necks.py [--data FOLDER] [--steps N] [--neck NAME ...]

Trains the model of the ready config `maskrcnn_finetune`, with narrower heads, twelve times for a few steps each on two thirds
of 20 genuine MapChallenge tiles at 128 pixels, and measures boxes and masks on the other third. Few tiles and few steps: the
table says that each of them learns, how large it is and how long it takes, not which is the best. Minutes on a CPU. Needs the
real imagery, which is not part of the project.
"""

from __future__ import annotations

import json
import tempfile
import time
import typing
from pathlib import Path

import torch
import typer

import engine
from benchmarks.measuring import machine
from engine.model.families.family_model import FamilyModel
from engine.model.header import ModelHeader
from engine.model.inference import InferenceModel
from engine.model.model_file import save_model
from training.config.config_file import read_config
from training.config.schema import TrainConfig
from training.data.batch import collate
from training.data.coco.folder import find_annotations
from training.data.training_data import TrainingData, open_training_data
from training.evaluation.coco.predictions import predict_images
from training.evaluation.coco.table import coco_row
from training.evaluation.coco.truth import CocoTruth, read_truth
from training.losses.box_losses import BoxLoss
from training.objectives import objective_of
from training.pretrained.start import start_from_each
from training.run.optimization import make_optimizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mapchallenge"
NECKS = ("fpn", "panet", "bifpn")
SIDE = 128  # pixels that the tiles of 300 are brought to, for the sake of time
BATCH = 4
BOXES = 64  # of an image that the heads learn from, where torchvision samples 512: for the sake of time
HELD_OUT = 3  # each third tile


def main(data: Path = DATA, steps: int = 60, neck: list[str] = list(NECKS)) -> None:  # noqa: B006 - typer reads it
    """Train, measure and print the table as Markdown, a row as soon as it is known."""
    if not data.is_dir():
        raise typer.BadParameter(f"{data} is not there: the real imagery does not come with the project")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        learned, held_out = split(data, Path(folder))
        truth = read_truth(held_out, data / "images")
        print(f"{steps} steps of {BATCH} tiles at {SIDE} pixels, {truth.objects} buildings held out; {machine()}\n")
        print("| neck | parameters | box loss | box AP50 | box AP | mask AP50 | mask AP | a step |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for name in neck:
            for loss in typing.get_args(BoxLoss):
                config = config_of(data, learned, name, loss)
                model, seconds = trained(config, steps, Path(folder, "model.safetensors"))
                print(row(config, model, seconds, truth), flush=True)


def split(data: Path, folder: Path) -> tuple[Path, Path]:
    """Write the annotations of the tiles to train on, and of those to measure on."""
    content = json.loads(find_annotations(data).read_text(encoding="utf-8"))
    images = sorted(content["images"], key=lambda image: image["id"])
    held_out = {image["id"] for image in images[::HELD_OUT]}
    paths = folder / "train.json", folder / "held_out.json"
    for path, is_held_out in zip(paths, (False, True), strict=True):
        part = {
            "images": [image for image in images if (image["id"] in held_out) == is_held_out],
            "annotations": [each for each in content["annotations"] if (each["image_id"] in held_out) == is_held_out],
        }
        path.write_text(json.dumps(content | part), encoding="utf-8")
    return paths


def config_of(data: Path, annotations: Path, neck: str, loss: BoxLoss) -> TrainConfig:
    """Return the ready config with another neck and box loss, smaller."""
    document = read_config("maskrcnn_finetune").model_dump(mode="json")
    source = {"kind": "coco", "folder": str(data), "annotations": str(annotations), "fit": True}
    document["model"] |= {"neck": neck, "hidden_dim": 64, "box_features": 256, "anchor_sizes": [8, 16, 32, 64, 128]}
    document["data"] |= {"sources": [source], "validation": [], "size": SIDE}
    document["losses"] |= {"box_loss": loss}
    document["optimizer"] |= {"learning_rate": 1e-3}
    return TrainConfig.model_validate(document)


def trained(config: TrainConfig, steps: int, path: Path) -> tuple[FamilyModel, float]:
    """Train a model, return it as its file gives it, and the processor time of a step in seconds."""
    torch.manual_seed(0)
    data = open_training_data(config.data, config.augmentation, seed=0)
    model = engine.build_model(config.model, num_classes=len(data.classes)).train()
    start_from_each(model, config.starts)
    model.roi_heads.fg_bg_sampler.batch_size_per_image = BOXES
    objective = objective_of(model.config).build(model, config.losses)
    optimizer = make_optimizer(objective, config.optimizer)
    begin = time.process_time()
    for step in range(steps):
        # The rate rises for a tenth of the run and falls to nothing in a straight line.
        rate = min(10 * (step + 1) / steps, 1.0, 2 * (steps - step) / steps)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = rate * group["initial_lr"]
        take_step(objective, optimizer, data, step, config.optimizer.clip)
    seconds = (time.process_time() - begin) / steps
    header = ModelHeader(name=config.name, config=model.config, classes=data.classes, tile_size=SIDE)
    return engine.load_model(save_model(path, model.eval(), header)), seconds


def take_step(
    objective: torch.nn.Module, optimizer: torch.optim.Optimizer, data: TrainingData, step: int, clip: float | None
) -> None:
    """Learn from one batch."""
    batch = collate([data.train[step * BATCH + number] for number in range(BATCH)])
    optimizer.zero_grad()
    sum(objective(batch.images.float(), batch.targets).values()).backward()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), clip)
    optimizer.step()


def row(config: TrainConfig, model: FamilyModel, seconds: float, truth: CocoTruth) -> str:
    """Measure a model, and return its row of the table."""
    found = predict_images(InferenceModel(model, precision="float32"), truth, resize=SIDE)
    box, mask = (coco_row(truth.dataset, found, kind) for kind in ("box", "mask"))
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    figures = " | ".join(f"{value:.3f}" for value in (box.ap50, box.ap, mask.ap50, mask.ap))
    return f"| {config.model.neck.kind} | {parameters:.2f} M | {config.losses.box_loss} | {figures} | {seconds:.2f} s |"


if __name__ == "__main__":
    typer.run(main)
