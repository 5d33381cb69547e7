"""What neighbourhood attention costs: alone, and in the DiNAT-L backbone and the Mask2Former around it.

    python benchmarks/neighborhood_attention.py [--size N] [--device DEVICE] [--threads N] [--rounds N]

Random weights, float32, one image. Medians of the rounds in milliseconds; with one thread on a CPU those of the processor,
which other programs do not lengthen. The attention alone is that of DiNAT-L's first stage, with each of its dilations.
"""

from __future__ import annotations

import statistics

import torch
import typer
from measuring import machine, note, take_turns

import engine
from engine.model.layers.neighborhood_attention import NeighborhoodAttention
from engine.model.presets import preset

_PRESET = "mask2former_dinatl"


def main(size: int = 320, device: str = "cpu", threads: int = 1, rounds: int = 5) -> None:
    """Print the table."""
    torch.set_num_threads(threads)
    print(f"{machine(device)}; {size} x {size} pixels; milliseconds")
    config = preset(_PRESET).backbone
    tokens = torch.randn(1, size // 4, size // 4, config.embed_dim, device=device)
    ways = {}
    for dilation in sorted(set(config.dilations[0])):
        attention = NeighborhoodAttention(config.embed_dim, heads=config.heads[0], kernel=config.kernel, dilation=dilation)
        attention = attention.to(device)
        title = f"attention, {size // 4} x {size // 4} cells, dilation {dilation}"
        ways[title] = torch.inference_mode()(lambda attention=attention: attention(tokens))
        ways[f"{title}, with gradients"] = lambda attention=attention: attention(tokens).sum().backward()
    _report(ways, rounds, device)
    torch.manual_seed(0)
    model = engine.build_model(_PRESET).to(device).eval().requires_grad_(False)
    images = torch.rand(1, 3, size, size, device=device) * 255
    batch = model.prepare(images)
    features = model.backbone(batch)
    pixels, maps = model.pixel_decoder(features)
    ways = {
        "backbone": lambda: model.backbone(batch),
        "pixel decoder": lambda: model.pixel_decoder(features),
        "decoder": lambda: model.decoder(maps, pixels, model.heads, intermediate=False),
        "instances, everything": lambda: model.instances(images),
    }
    _report({f"{_PRESET}, {name}": torch.inference_mode()(way) for name, way in ways.items()}, rounds, device)


def _report(ways: dict, rounds: int, device: str) -> None:
    for name, seconds in take_turns(ways, rounds=rounds + 1, device=device).items():
        milliseconds = 1000 * statistics.median(seconds[1:])  # the first warms up
        print(f"{name:<60}{milliseconds:>10.1f}", flush=True)
        note(what=name, milliseconds=milliseconds)


if __name__ == "__main__":
    typer.run(main)
