"""How fast a whole model is, from images to their instances: our ways, and the official code beside them.

    python benchmarks/model_speed.py [--model NAME] [--size N] [--batch N] [--device DEVICE] [--threads N] [--rounds N]
        [--compile]
        [--official CHECKOUT --detectron2 CHECKOUT]      (github.com/IDEA-Research/MaskDINO, facebookresearch/detectron2)

The weights follow from the parameters' names (tests/parity_weights.py), the same for all. Figures are medians over the rounds
with the quartiles behind them, ratios are medians of the rounds' own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import typer
from measuring import kernel_on, machine, peak_megabytes, print_table, take_turns
from official_maskdino import OfficialMaskDino
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import engine
from engine.model.inference import InferenceModel, best_precision

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests")]

from parity_weights import fill  # noqa: E402


def main(
    model: str = "maskdino_r50",
    size: int = 512,
    batch: int = 1,
    device: str = "cpu",
    threads: int = 2,
    rounds: int = 7,
    compile: bool = False,
    official: Path | None = None,
    detectron2: Path | None = None,
) -> None:
    """Print the table."""
    if (official is None) != (detectron2 is None):
        raise typer.BadParameter("give --official and --detectron2 together: one needs the other")
    torch.set_num_threads(threads)
    ours = engine.build_model(model).eval()
    weights = filled(engine.export_official(ours))
    engine.load_official(ours, weights)
    ours.to(device)
    images = smooth_images(batch, size).to(device)
    ways = {}
    if official is not None and detectron2 is not None:
        theirs = OfficialMaskDino(
            model, checkout=official, detectron2=detectron2, weights=weights, classes=ours.config.num_classes, device=device
        )
        ways["official code"] = lambda: theirs.predict(images)
    ways["ours, as it is trained"] = lambda: ours.instances(images)
    for precision in ("float32", "bfloat16"):
        made = InferenceModel(ours, precision=precision)
        ways[f"ours for inference, {precision}"] = lambda made=made: made.instances(images)
    if compile:
        fastest = InferenceModel(ours, compile_for=tuple(images.shape))
        ways[f"the same, {fastest.precision}, compiled"] = lambda: fastest.instances(images)
    print(f"{model}, {batch} x {size} x {size}; {machine(device)}")
    print(f"kernel {kernel_on(device)}; precision auto is {best_precision(ours)} here")
    peaks = {name: peak_megabytes(way, device) for name, way in ways.items()}
    seconds = take_turns(ways, rounds=rounds, device=device)
    print_table(seconds, peaks, images=batch)
    with FlopCounterMode(display=False) as counter:
        ours.instances(images[:1])
    rates = [_product_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16)]
    print(
        f"{counter.get_total_flops() / 1e9:.0f} billion operations an image, a multiply-add counted as two; a product of large "
        f"matrices in float32 runs {rates[0]:.0f} billion a second, in bfloat16 {rates[1]:.0f}"
    )
    if official is None:
        print("official code: not measured, no checkout was given")


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill a state dict by the rule of the parity figures; names that share a tensor take the value of the first."""
    names: dict[int, str] = {}
    for name in sorted(state):
        names.setdefault(state[name].data_ptr(), name)
    result = {}
    for name, tensor in state.items():
        constant = name.endswith(("empty_weight", "relative_position_index", "num_batches_tracked"))
        result[name] = tensor if constant else torch.from_numpy(fill(names[tensor.data_ptr()], tuple(tensor.shape)))
    return result


def smooth_images(count: int, size: int) -> Tensor:
    """Smooth noise: (count, 3, size, size) in 0..255."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, size // 8, size // 8, generator=generator) * 255
    return F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)


def _product_rate(dtype: torch.dtype, device: str) -> float:
    """Billions of operations a second in the best of a few products, which no network gets past."""
    side = 8192 if device.startswith("cuda") else 1024
    matrix = torch.randn(side, side, device=device).to(dtype)
    seconds = take_turns({"product": lambda: matrix @ matrix}, rounds=20, device=device)["product"]
    return 2 * side**3 / min(seconds) / 1e9


if __name__ == "__main__":
    typer.run(main)
