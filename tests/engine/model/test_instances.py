"""The instances of images: the same as read off the model's whole outputs, without the work that nobody asked for."""

from __future__ import annotations

import pytest
import torch

from engine.model.build import build_model
from engine.model.postprocess import image_instances
from tests.engine.model.instance_agreement import assert_same_instances
from tests.engine.model.small_model import SMALL_CONFIG


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = build_model(SMALL_CONFIG).eval()
    with torch.no_grad():
        model.heads.classify.bias.fill_(0.0)  # an untrained model would be sure of nothing
    return model


def _images(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) * 255 for size in sizes]


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("output_sizes", [None, [(40, 70), (100, 50)]])
def test_they_are_those_of_the_whole_outputs(model, threshold, output_sizes):
    images = _images((40, 70), (64, 32))
    found = model.instances(images, threshold=threshold, output_sizes=output_sizes)
    with torch.inference_mode():
        outputs = model(images)
    for index, image in enumerate(images):
        expected = image_instances(
            outputs, index, image_size=tuple(image.shape[-2:]), padded_size=(64, 96), threshold=threshold,
            output_size=None if output_sizes is None else output_sizes[index], count=SMALL_CONFIG.detections_per_image,
        )  # fmt: skip
        assert_same_instances(found[index], expected, tolerance=1e-3)


def test_as_many_as_asked_for(model):
    (image,) = _images((96, 96))
    (few,), (all_of_them,) = model.instances(image[None], count=3), model.instances(image[None], count=10_000)
    assert len(few.scores) == 3
    positions = 12 * 12 + 6 * 6 + 3 * 3 + 2 * 2  # fewer than the model has queries
    assert len(all_of_them.scores) == positions * SMALL_CONFIG.num_classes


def test_a_threshold_that_nothing_reaches_leaves_nothing(model):
    (found,) = model.instances(_images((96, 60))[0][None], threshold=1.0)
    assert len(found.scores) == 0 and found.masks.shape == (0, 96, 60) and found.boxes.shape == (0, 4)
