"""The model on a GPU gives what it gives on a CPU, in inference and in training."""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("timm", reason="the model's backbones are timm's")
pytest.importorskip("pydantic", reason="the model's config is checked by pydantic")

from engine.model.build import build_model
from engine.model.inference import InferenceModel
from engine.ops import kernel_name
from tests.engine.model.small_model import SMALL_CONFIG
from tests.gpu.device import DEVICE, record


@pytest.fixture(scope="module")
def models():
    """The same small model on both; matrix products and convolutions in full float32."""
    torch.manual_seed(0)
    model = build_model(SMALL_CONFIG).eval()
    with torch.no_grad():
        model.heads.classify.bias.fill_(0.0)  # an untrained model would be sure of nothing
        for name, parameter in model.named_parameters():
            if name.endswith("sampling_offsets.bias"):
                # An untrained model looks exactly between pixels, where rounding decides which slope a gradient has.
                parameter.add_(0.05 + 0.4 * torch.rand_like(parameter))
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield model, copy.deepcopy(model).to(DEVICE)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1)) * 255


def test_outputs_agree(models, images) -> None:
    ours, theirs = models
    with torch.no_grad():
        expected, found = ours(images), theirs(images.to(DEVICE))
    for name in ("class_logits", "boxes", "mask_logits"):
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(expected, name), rtol=1e-3, atol=1e-3)


def test_gradients_agree(models, images) -> None:
    gradients = []
    for model, given in zip(models, (images, images.to(DEVICE)), strict=True):
        outputs = model(given)
        loss = outputs.class_logits.float().mean() + outputs.boxes.mean() + outputs.mask_logits.float().square().mean()
        gradients.append(torch.autograd.grad(loss, list(model.pixel_decoder.parameters()), allow_unused=True))
    # The bias of a convolution before a group norm cancels out: its gradient is 0, and what is computed is the rounding of a
    # sum of B * H * W terms, each about as large as the gradients that do not cancel. In float32 on a CPU that is up to 1.4 eps
    # of the largest of these; a sum in another order may round more.
    largest = max(expected.abs().max() for expected in gradients[0] if expected is not None)
    rounding = 100 * torch.finfo(torch.float32).eps * largest
    for expected, found in zip(*gradients, strict=True):
        if expected is not None:
            assert (found.cpu() - expected).abs().max() <= 1e-2 * expected.abs().max() + rounding


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_found_agrees(models, images, precision: str) -> None:
    expected = InferenceModel(models[0], precision="float32").instances(images)
    found = InferenceModel(models[1], precision=precision).instances(images.to(DEVICE))
    bound = 1e-3 if precision == "float32" else 0.1
    for one, other in zip(found, expected, strict=True):
        assert len(one.scores) == len(other.scores)
        assert one.scores.device.type == one.masks.device.type == "cpu"
        torch.testing.assert_close(one.scores, other.scores, atol=bound, rtol=0)
        if precision == "float32":  # near-ties may stand in another order
            areas, expected_areas = (each.masks.sum((1, 2)).sort().values for each in (one, other))
            torch.testing.assert_close(areas, expected_areas, atol=10, rtol=0.02)


def test_a_cuda_graph_records_a_pass(models, images) -> None:
    model, static = models[1], images.to(DEVICE)

    @torch.no_grad()
    def step() -> list[torch.Tensor]:
        outputs = model(static)
        return [outputs.class_logits, outputs.boxes, outputs.mask_logits]

    recorded, replay = record(step)
    static.copy_(images.flip(-1))
    replay()
    for found, expected in zip(recorded, step(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_detection_runs_there_with_the_best_kernel() -> None:
    pytest.importorskip("rasterio", reason="detection reads rasters")
    from engine.commands.doctor import small_detection

    report = small_detection(device=DEVICE)
    assert report["succeeded"], report
    assert report["kernel"] == kernel_name(DEVICE)
