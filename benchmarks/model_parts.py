"""Where the time of a model goes, from images to instances: backbone, pixel decoder, decoder, postprocessing.

    python benchmarks/model_parts.py [--model NAME]... [--batch N]... [--size N] [--device DEVICE] [--rounds N] [--compile]

Of models made for inference, in the precision that is best on the device. On a GPU each is measured eagerly and with its
network replayed from a CUDA graph; ``--compile`` adds torch.compile, which takes a minute per model and batch. Figures are
medians over the rounds in milliseconds per batch, on the GPU's own clock. Postprocessing selects and draws all instances that a
model may give, and brings them to the host's memory; in the column after it, none.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import typer
from measuring import kernel_on, machine, note
from torch import Tensor
from untrained import smooth_images, untrained_model

from engine.model.families.maskdino.model import MaskDino
from engine.model.inference import InferenceModel

SIZES = {"maskdino_tiny": 256, "maskdino_r50": 512, "maskdino_swinl": 320}  # sides of the tiles that they are made for
_PARTS = ("backbone", "pixel decoder", "decoder", "postprocessing")
_NONE = 1.1  # a class probability that nothing has


class Marks:
    """Moments of a pass, and the seconds between them by the device's own clock."""

    def __init__(self, device: str) -> None:
        self._on_gpu = device.startswith("cuda")
        self._names: list[str] = []
        self._moments: list = []

    def mark(self, name: str) -> None:
        """Note that the part of this name is over."""
        if self._on_gpu:
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            moment = time.perf_counter()
        self._names.append(name)
        self._moments.append(moment)

    def taken(self) -> dict[str, float]:
        """Return the milliseconds of each part after the first mark, and forget them."""
        names, moments = self._names, self._moments
        self._names, self._moments = [], []
        if self._on_gpu:
            torch.cuda.synchronize()
        milliseconds = {}
        for before, name, after in zip(moments, names[1:], moments[1:], strict=False):
            milliseconds[name] = before.elapsed_time(after) if self._on_gpu else 1000 * (after - before)
        return milliseconds


def main(
    model: list[str] = typer.Option(list(SIZES)),
    batch: list[int] = typer.Option([1, 8, 32]),
    size: int | None = typer.Option(None, help="Side of the images; by default that of each model's tiles."),
    device: str = "cuda",
    threads: int = 2,
    rounds: int = 7,
    compile: bool = False,
) -> None:
    """Print the table."""
    if device == "cuda" and not torch.cuda.is_available():
        print("CUDA: no device here, nothing measured")
        return
    torch.set_num_threads(threads)
    print(f"{machine(device)}; kernel {kernel_on(device)}")
    print(f"{'milliseconds per batch':<52}{''.join(f'{part:>16}' for part in _PARTS)}{'nothing kept':>14}{'images/s':>10}")
    for name in model:
        trained = untrained_model(name, device)
        for each in batch:
            images = smooth_images(each, size or SIZES[name], device)
            for how in ("eager", *(["CUDA graph"] if device.startswith("cuda") else []), *(["compiled"] if compile else [])):
                try:
                    _measure(trained, images, how, rounds, f"{name}, {each} x {images.shape[-1]}, {how}", name)
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    print(f"{name}, {each} x {images.shape[-1]}, {how}: out of memory", flush=True)


def _measure(trained: MaskDino, images: Tensor, how: str, rounds: int, title: str, name: str) -> None:
    device = str(images.device)
    made = InferenceModel(trained, compile_for=tuple(images.shape) if how == "compiled" else None)
    marks = Marks(device)
    _mark_parts(made.model, marks, whole=how != "eager", images=images if how == "CUDA graph" else None)
    passes: list[dict[str, float]] = []
    for threshold in [0.0, _NONE] * (rounds + 1):
        marks.mark("start")
        made.instances(images, threshold=threshold)
        marks.mark("postprocessing")
        passes.append(marks.taken())
    everything, nothing = passes[2::2], passes[3::2]  # the first pair warms up
    parts = {part: statistics.median(each[part] for each in everything) for part in everything[0]}
    rate = statistics.median(1000 * len(images) / sum(each.values()) for each in everything)
    unkept = statistics.median(each["postprocessing"] for each in nothing)
    cells = [f"{parts[part]:.1f}" if part in parts else "" for part in _PARTS]
    if how != "eager":
        cells[2] = f"all {parts['network']:.1f}"
    row = "".join(f"{cell:>16}" for cell in cells)
    print(f"{f'{title}, {made.precision}':<52}{row}{unkept:>14.1f}{rate:>10.1f}", flush=True)
    note(
        model=name, size=images.shape[-1], batch=len(images), how=how, precision=made.precision, milliseconds=parts,
        postprocessing_of_nothing=unkept, images_per_second=rate,
    )  # fmt: skip


def _mark_parts(model: MaskDino, marks: Marks, *, whole: bool, images: Tensor | None) -> None:
    """Let a model mark the end of its parts, or of its network as a whole.

    Args:
        model: changed in place.
        marks: where to.
        whole: one program or graph has no parts.
        images: what a CUDA graph of the network is recorded with; None leaves the network as it is.
    """
    network = model.last_layer if images is None else _graph_of(model.last_layer, images)
    if not whole:
        for part, name in ((model.backbone, _PARTS[0]), (model.pixel_decoder, _PARTS[1])):
            part.register_forward_hook(lambda *_, name=name: marks.mark(name))

    def marked(given: Tensor) -> tuple[Tensor, ...]:
        outputs = network(given)
        marks.mark("network" if whole else _PARTS[2])
        return outputs

    model.last_layer = marked


@torch.inference_mode()
def _graph_of(network: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Record a network, and return what replays it for images of this shape; its results last until the next call."""
    static = images.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = network(static)

    def replayed(given: Tensor) -> tuple[Tensor, ...]:
        static.copy_(given)
        graph.replay()
        return outputs

    return replayed


if __name__ == "__main__":
    typer.run(main)
