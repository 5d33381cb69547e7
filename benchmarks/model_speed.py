"""How fast a whole model is, from images to their instances: our ways, and the official code beside them.

    python benchmarks/model_speed.py [--model NAME] [--size N] [--batch N] [--device DEVICE] [--threads N] [--rounds N]
        [--compile] [--beside NAME]
        [--official CHECKOUT --detectron2 CHECKOUT]      (github.com/IDEA-Research/MaskDINO, facebookresearch/detectron2)

The weights follow from the parameters' names (untrained.py), the same for all. Figures are medians over the rounds
with the quartiles behind them, ratios are medians of the rounds' own. ``--beside`` takes turns with another model.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import torch
import typer
from measuring import kernel_on, machine, note, peaks_that_fit, print_table, take_turns
from official_maskdino import OfficialMaskDino
from torch.utils.flop_counter import FlopCounterMode
from untrained import smooth_images, untrained_model

import engine
from engine.model.inference import InferenceModel, best_precision


def main(
    model: str = "maskdino_r50",
    size: int = 512,
    batch: int = 1,
    device: str = "cpu",
    threads: int = 2,
    rounds: int = 7,
    compile: bool = False,
    beside: str | None = None,
    official: Path | None = None,
    detectron2: Path | None = None,
) -> None:
    """Print the table."""
    if (official is None) != (detectron2 is None):
        raise typer.BadParameter("give --official and --detectron2 together: one needs the other")
    torch.set_num_threads(threads)
    ours = untrained_model(model, device).eval()
    images = smooth_images(batch, size, device)
    ways = {}
    if official is not None and detectron2 is not None:
        theirs = OfficialMaskDino(
            model, checkout=official, detectron2=detectron2, weights=engine.export_official(ours),
            classes=ours.config.num_classes, device=device,
        )  # fmt: skip
        ways["official code"] = lambda: theirs.predict(images)
    ways["ours, as it is trained"] = lambda: ours.instances(images)
    for precision in ("float32", "bfloat16"):
        made = InferenceModel(ours, precision=precision)
        ways[f"ours for inference, {precision}"] = lambda made=made: made.instances(images)
        if beside is not None:
            other = InferenceModel(untrained_model(beside, device).eval(), precision=precision)
            ways[f"{beside} for inference, {precision}"] = lambda other=other: other.instances(images)
    if compile:
        fastest = InferenceModel(ours, compile_for=tuple(images.shape))
        ways[f"the same, {fastest.precision}, compiled"] = lambda: fastest.instances(images)
    print(f"{model}, {batch} x {size} x {size}; {machine(device)}")
    print(f"kernel {kernel_on(device)}; precision auto is {best_precision(ours)} here")
    peaks = peaks_that_fit(ways, device)
    seconds = take_turns({name: ways[name] for name in peaks}, rounds=rounds, device=device)
    print_table(seconds, peaks, images=batch, model=model, size=size, batch=batch)
    if beside is not None:
        for precision in ("float32", "bfloat16"):
            both = (seconds[f"{name} for inference, {precision}"] for name in ("ours", beside))
            ratio = statistics.median(a / b for a, b in zip(*both, strict=True))
            print(f"{precision}: {model} takes {ratio:.2f} times the time of {beside}")
    with FlopCounterMode(display=False) as counter:
        ours.instances(images[:1])
    rates = [_product_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16)]
    note(model=model, size=size, operations_per_image=counter.get_total_flops(), billion_per_second=rates)
    print(
        f"{counter.get_total_flops() / 1e9:.0f} billion operations an image, a multiply-add counted as two; a product of large "
        f"matrices in float32 runs {rates[0]:.0f} billion a second, in bfloat16 {rates[1]:.0f}"
    )
    if official is None:
        print("official code: not measured, no checkout was given")


def _product_rate(dtype: torch.dtype, device: str) -> float:
    """Billions of operations a second in the best of a few products, which no network gets past."""
    side = 8192 if device.startswith("cuda") else 1024
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = take_turns({"product": lambda: matrix @ matrix}, rounds=20, device=device)["product"]
    return 2 * side**3 / min(seconds) / 1e9


if __name__ == "__main__":
    typer.run(main)
