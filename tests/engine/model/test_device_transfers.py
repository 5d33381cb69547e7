"""Once its constants are made, a model's forward pass neither sends anything to its GPU nor waits for it.

What it would cost is a stop of the GPU at each: torch waits for a copy of ordinary memory. And a pass without either is one
that a CUDA graph can record. No GPU is needed to see that: fake tensors say on which device each result would lie.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import engine
from engine.model import inference
from engine.model.build import build_model
from tests.engine.model.small_model import SMALL_CONFIG

GPU = "cuda:7"  # one that nobody has: constants kept for it get into nobody's way
WAITS = ("_local_scalar_dense", "nonzero", "item", "unique", "masked_select")


class Watch(TorchDispatchMode):
    """Note what crosses from one device to another, and what has to know numbers that a GPU is still working out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.name()
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)}
        # the sizes of levels that the operator takes are numbers for the CPU, which a kernel is launched with
        crosses = len(devices) > 1 and not name.startswith("maskdino::")
        scalar = all(
            leaf.dim() == 0 for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu"
        )
        if (crosses and not (scalar and "_to_copy" not in name)) or any(word in name for word in WAITS):
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


@pytest.mark.parametrize("name", ["maskdino_lite", "maskdino_r50", pytest.param("maskdino_swinl", marks=pytest.mark.slow)])
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
