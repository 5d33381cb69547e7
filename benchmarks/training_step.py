"""How long a training step takes and how much memory: ours, and the official code's beside it.

    python benchmarks/training_step.py [--model NAME] [--size N] [--batch N] [--targets N] [--device DEVICE] [--threads N]
        [--rounds N] [--official CHECKOUT --detectron2 CHECKOUT]

A step is the forward pass with denoising queries, matching and losses, the backward pass, clipping and AdamW's update. The
weights follow from the parameters' names, the same for all; the targets are rectangles and L-shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import typer
from measuring import Way, kernel_on, machine, peaks_that_fit, print_table, take_turns
from official_maskdino import OfficialMaskDino
from torch import Tensor, nn
from untrained import smooth_images, untrained_model

import engine
from training.losses import LossConfig, Target
from training.objectives.mask_dino import MaskDinoObjective
from training.run.activation_checkpointing import checkpoint_activations


def main(
    model: str = "maskdino_r50",
    size: int = 320,
    batch: int = 2,
    targets: int = 9,
    device: str = "cpu",
    threads: int = 2,
    rounds: int = 5,
    official: Path | None = None,
    detectron2: Path | None = None,
) -> None:
    """Print the table."""
    if (official is None) != (detectron2 is None):
        raise typer.BadParameter("give --official and --detectron2 together: one needs the other")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images = smooth_images(batch, size, device)
    annotated = [annotations(size, targets, seed, device) for seed in range(batch)]
    ways: dict[str, Way] = {}
    if official is not None and detectron2 is not None:
        ours = untrained_model(model, device)
        theirs = OfficialMaskDino(
            model, checkout=official, detectron2=detectron2, weights=engine.export_official(ours),
            classes=ours.config.num_classes, device=device,
        )  # fmt: skip
        ways["official code"] = _step(theirs.module.train(), lambda: theirs.losses(images, annotated))
    ways["ours, float32"] = training_step(model, images, annotated)
    ways["ours, float32, less memory"] = training_step(model, images, annotated, checkpointed=True)
    ways["ours, bfloat16"] = training_step(model, images, annotated, autocast=True)
    print(f"{model}, {batch} x {size} x {size}, {targets} targets each; {machine(device)}")
    print(f"kernel {kernel_on(device)}")
    peaks = peaks_that_fit(ways, device)
    seconds = take_turns({name: ways[name] for name in peaks}, rounds=rounds, device=device)
    print_table(seconds, peaks, images=batch, model=model, size=size, batch=batch)
    if official is None:
        print("official code: not measured, no checkout was given")


def training_step(
    name: str,
    images: Tensor,
    annotated: list[tuple[Tensor, Tensor, Tensor]],
    *,
    checkpointed: bool = False,
    autocast: bool = False,
) -> Way:
    """Return a step of our model of that name, on the images' device.

    Args:
        name: of a preset.
        images: (B, 3, H, H) in 0..255.
        annotated: of each image what `annotations` returns.
        checkpointed: keep less of the forward pass in memory.
        autocast: to bfloat16.
    """
    model = untrained_model(name, str(images.device))
    if checkpointed:
        checkpoint_activations(model)
    objective = MaskDinoObjective(model, LossConfig()).to(images.device).train()
    size = images.shape[-1]
    targets = [Target(labels, _cxcywh(boxes) / size, masks) for labels, boxes, masks in annotated]

    def losses() -> dict[str, Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            return objective(images, targets)

    return _step(objective, losses)


def _step(module: nn.Module, losses: Callable[[], dict[str, Tensor]]) -> Way:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-8, weight_decay=0.05)  # so small that every round finds the same model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack([loss.float() for loss in losses().values()]).sum().backward()
        nn.utils.clip_grad_norm_(trained, 0.01)
        optimizer.step()

    return step


def annotations(size: int, count: int, seed: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return labels (N,), boxes (N, 4) xyxy in pixels and masks (N, size, size) of rectangles and L-shapes."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * size * 0.8
    sides = size * (0.05 + 0.15 * torch.rand(count, 2, generator=generator))
    boxes = torch.cat([corners, corners + sides], dim=1).floor()
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    for number, (left, top, right, bottom) in enumerate(boxes.int().tolist()):
        masks[number, top:bottom, left:right] = True
        if number % 2:
            masks[number, top : (top + bottom) // 2, left : (left + right) // 2] = False
    return torch.zeros(count, dtype=torch.int64, device=device), boxes.to(device), masks.to(device)


def _cxcywh(boxes: Tensor) -> Tensor:
    low, high = boxes.split(2, dim=1)
    return torch.cat([(low + high) / 2, high - low], dim=1)


if __name__ == "__main__":
    typer.run(main)
