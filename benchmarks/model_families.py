"""How large each preset is, and how long it takes for an image: the table of docs/models.md.

    python benchmarks/model_families.py [--model NAME ...] [--size N] [--threads N] [--rounds N] [--device DEVICE]

Each preset is measured in a process of its own, as inference runs it, in the precision that ``auto`` takes: instances of one
image, or class scores of a model for semantic segmentation alone. The weights follow from the parameters' names
(untrained.py). Times are medians over the rounds; the peak is what a call needs beyond the model.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import torch
import typer
from measuring import machine, megabytes, peak_megabytes, take_turns
from untrained import smooth_images, untrained_model

from engine.model.families.registry import family_of
from engine.model.inference import InferenceModel
from engine.model.presets import PRESETS


def main(
    model: list[str] = typer.Option(list(PRESETS), help="Presets, in the order of the table."),
    size: int = 320,
    threads: int = 2,
    rounds: int = 5,
    device: str = "cpu",
    alone: bool = typer.Option(False, hidden=True),
) -> None:
    """Print the table."""
    if alone:
        print(json.dumps(_measured(model[0], size=size, threads=threads, rounds=rounds, device=device)))
        return
    print(f"one image of {size} x {size}; {machine(device)}; {threads} threads\n")
    print("| preset | parameters | precision | time | peak |\n|---|---|---|---|---|")
    for name in model:
        options = {"--model": name, "--size": size, "--threads": threads, "--rounds": rounds, "--device": device}
        command = [sys.executable, __file__, "--alone", *(str(word) for pair in options.items() for word in pair)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| `{name}` | {row['parameters'] / 1e6:.1f} M | {row['precision']} | {row['seconds']:.2f} s | {row['peak']} |",
            flush=True,
        )


def _measured(name: str, *, size: int, threads: int, rounds: int, device: str) -> dict[str, object]:
    torch.set_num_threads(threads)
    built = untrained_model(name, device).eval()
    parameters = sum(parameter.numel() for parameter in built.parameters())
    only_semantic = "instances" not in family_of(built.config).tasks(built.config)
    model = InferenceModel(built)
    images = smooth_images(1, size, device)
    way = (lambda: model.semantic(images)) if only_semantic else (lambda: model.instances(images))
    peak = megabytes(peak_megabytes(way, device))  # the first call also lays out weights anew
    seconds = take_turns({name: way}, rounds=rounds, device=device)[name]
    return {
        "parameters": parameters,
        "precision": model.precision,
        "seconds": statistics.median(seconds),
        "peak": peak,
    }


if __name__ == "__main__":
    typer.run(main)
