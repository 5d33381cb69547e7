"""Once its constants are made, a model's forward pass neither sends anything to its GPU nor waits for it.

What it would cost is a stop of the GPU at each: torch waits for a copy of ordinary memory. And a pass without either is one
that a CUDA graph can record. No GPU is needed to see that: fake tensors say on which device each result would lie.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import engine
from engine.model import host_transfer, inference, postprocess
from engine.model.build import build_model
from tests.engine.model.small_model import SMALL_CONFIG

GPU = "cuda:7"  # one that nobody has: constants kept for it get into nobody's way
WAITS = ("_local_scalar_dense", "nonzero", "item", "unique", "masked_select")


class Watch(TorchDispatchMode):
    """Note what crosses from one device to another, and what has to know numbers that a GPU is still working out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.operations = 0
        self.largest = 0  # bytes of a piece of memory

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.name()
        self.operations += name.startswith("aten::")
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.largest = max([self.largest, *(leaf.untyped_storage().nbytes() for leaf in made)])
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)}
        # the sizes of levels that the operator takes are numbers for the CPU, which a kernel is launched with
        crosses = len(devices) > 1 and not name.startswith("maskdino::")
        scalar = all(
            leaf.dim() == 0 for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu"
        )
        copies = "_to_copy" in name or name.startswith("aten::to.")
        if (crosses and (copies or not scalar)) or any(word in name for word in WAITS):
            self.seen.append(f"{name} {sorted(devices)}")
        return result


def on_a_fake_gpu(module: nn.Module) -> nn.Module:
    """Put fake parameters and buffers of the same kind in the place of a module's own."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            fake = torch.empty(parameter.shape, dtype=parameter.dtype, device=GPU)
            part.register_parameter(name, nn.Parameter(fake, requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            part.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype, device=GPU))
    return module


@pytest.mark.parametrize(
    "name", ["maskdino_lite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("maskdino_r50", "maskdino_swinl"))]
)
@pytest.mark.parametrize("kind", ["training", "inference", "inference in bfloat16"])
def test_a_forward_pass_stays_on_its_device(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "can_pack", lambda *_: False)  # as it is on a GPU
    model = engine.build_model(name).train()
    if kind != "training":
        model = inference.InferenceModel(model, precision="bfloat16" if "bfloat16" in kind else "float32").model
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = on_a_fake_gpu(model)
        images = torch.empty(2, 3, 100, 70, device=GPU)
        model(images, intermediate=kind == "training")  # makes what is kept
        with Watch() as watch:
            outputs = model(images, intermediate=kind == "training")
    assert outputs.mask_logits.device.type == "cuda"
    assert watch.seen == []


def test_what_does_not_stay_there_is_seen() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        numbers = torch.empty(3, device=GPU)
        with Watch() as watch:
            numbers + torch.tensor([1.0, 2.0, 3.0]).to(numbers)
            numbers[[2, 0]]
            numbers.new_tensor([1.0, 2.0])
            numbers * 2
    assert len(watch.seen) == 3


class Host:
    """The host's end of the copies; what a real GPU would tell it of its numbers is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: list[int] = []  # instances of each image
        self.events: list[str] = []
        monkeypatch.setattr(postprocess, "start_copy", self._start_copy)
        monkeypatch.setattr(postprocess, "finish_copies", lambda device: self.events.append("wait"))

    def _start_copy(self, tensor: torch.Tensor) -> torch.Tensor | SimpleNamespace:
        self.events.append("copy")
        copied = host_transfer.start_copy(tensor)
        return copied if "wait" in self.events else SimpleNamespace(tolist=lambda: self.kept)


KEPT = {
    "one query": [1],
    "nothing": [0],
    "nothing in two": [0, 0],
    "as many in each": [5, 5],
    "eight": [0, 3, 1, 0, 7, 2, 2, 4],
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_instances_are_two_waits_and_as_many_operations_for_any_batch(kept: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "can_pack", lambda *_: False)
    model = inference.InferenceModel(build_model(SMALL_CONFIG), precision="float32").model
    host, operations = Host(monkeypatch), []
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = on_a_fake_gpu(model)
        for host.kept in (KEPT["one query"], kept):
            images = torch.empty(len(host.kept), 3, 100, 70, device=GPU)
            for _ in range(2):  # the first makes what is cached
                host.events = []
                with Watch() as watch:
                    assert len(model.instances(images, threshold=0.5)) == len(images)
            operations.append(watch.operations)
            assert host.events == ["copy", "wait", *["copy"] * 5, "wait"]
            assert len(watch.seen) == 6 and all(name.startswith("aten::to.") for name in watch.seen), watch.seen
    assert abs(operations[1] - operations[0]) <= 5  # where all images have as many instances, no table is filled


@pytest.mark.parametrize("output_size", [(256, 256), (300, 301)])
def test_many_instances_take_little_memory(output_size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """As bools the masks of such a batch would be 600 MB."""
    images, queries = 32, 300
    host = Host(monkeypatch)
    host.kept = [queries] * images
    with FakeTensorMode(allow_non_fake_inputs=True):
        class_logits = torch.empty(images, queries, 1, device=GPU)
        boxes = torch.empty(images * queries, 4, device=GPU)
        mask_logits = torch.empty(images * queries, 64, 64, dtype=torch.bfloat16, device=GPU)
        with Watch() as watch:
            chosen = postprocess.best_pairs(class_logits, count=queries, threshold=0.0)
            postprocess.draw_instances(
                chosen, boxes=boxes, mask_logits=mask_logits, image_sizes=[(256, 256)] * images, padded_size=(256, 256),
                output_sizes=[output_size] * images,
            )  # fmt: skip
    assert watch.largest < 200 * 2**20


@pytest.mark.slow
def test_a_pass_is_one_graph() -> None:
    """No part of it has to be decided in Python by numbers of the images: torch.compile takes it whole, and so does export."""
    torch.manual_seed(0)
    model = build_model(SMALL_CONFIG).eval()
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        expected = model(images)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(images)
        exported = torch.export.export(model, (images,)).module()(images)
    for found in (compiled, exported):
        for name in ("class_logits", "boxes", "mask_logits"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)
