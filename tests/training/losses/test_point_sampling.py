from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.losses.tiny_batch import GridPoints
from training.losses.point_sampling import MaskSampler, choose_points, sample_points
from training.losses.random_source import TorchRandom

CPU = torch.device("cpu")


@given(st.integers(0, 2**31), st.integers(0, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 20))
def test_masks_are_read_as_interpolation_reads_them(seed: int, masks: int, height: int, width: int, count: int) -> None:
    """One set of points for all, or each mask its own, a mask several times or never: as torch interpolates float masks."""
    generator = torch.Generator().manual_seed(seed)
    stack = torch.rand(masks, height, width, generator=generator) > 0.5
    sampler = MaskSampler(stack)
    shared = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    expected = sample_points(stack[None].double(), shared[None])[0] if masks else torch.zeros(0, count).double()
    torch.testing.assert_close(sampler(torch.arange(masks), shared.expand(masks, -1, -1), torch.float64), expected)

    rows = torch.randint(masks, (5,), generator=generator) if masks else torch.zeros(0, dtype=torch.int64)
    own = torch.rand(len(rows), count, 2, generator=generator, dtype=torch.float64)
    expected = sample_points(stack[rows][:, None].double(), own)[:, 0]
    torch.testing.assert_close(sampler(rows, own, torch.float64), expected)


def test_pixel_centres_give_the_pixels() -> None:
    mask = torch.tensor([[[True, False, True], [False, True, True]]])
    y, x = torch.meshgrid((torch.arange(2) + 0.5) / 2, (torch.arange(3) + 0.5) / 3, indexing="ij")
    points = torch.stack([x, y], dim=-1).view(-1, 2)
    torch.testing.assert_close(
        MaskSampler(mask)(torch.tensor([0]), points[None], torch.float32), mask.flatten(1).float(), atol=1e-6, rtol=0
    )


def test_stride_does_not_shift() -> None:
    """A map and its enlargement by four, sampled inside a cell's flat middle, agree: nothing moves by half a pixel."""
    mask = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    large = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)
    y, x = torch.meshgrid((torch.arange(6) + 0.5) / 6, (torch.arange(6) + 0.5) / 6, indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 2)
    small = sample_points(mask[None].float(), centres[None])[0]
    torch.testing.assert_close(MaskSampler(large)(torch.tensor([0]), centres[None], torch.float32), small, atol=1e-5, rtol=0)


def test_the_least_certain_candidates_are_chosen() -> None:
    logits = torch.linspace(-4, 4, 64).view(1, 8, 8) + torch.tensor([0.0, 3.0]).view(2, 1, 1)
    points = choose_points(logits, count=12, oversample_ratio=4, importance_ratio=0.75, random=GridPoints())
    assert points.shape == (2, 12, 2)
    candidates = GridPoints().candidate_points(2, 48, CPU)
    certainty = sample_points(logits[:, None], candidates)[:, 0].abs().sort(dim=1).values
    chosen = sample_points(logits[:, None], points[:, :9])[:, 0].abs().sort(dim=1).values
    torch.testing.assert_close(chosen, certainty[:, :9])
    torch.testing.assert_close(points[:, 9:], GridPoints().uniform_points(2, 3, CPU))


@pytest.mark.parametrize("importance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("masks", [0, 1, 3])
def test_as_many_points_as_asked_for(importance: float, masks: int) -> None:
    points = choose_points(
        torch.zeros(masks, 4, 4), count=7, oversample_ratio=1.5, importance_ratio=importance, random=TorchRandom()
    )
    assert points.shape == (masks, 7, 2)
    assert ((points >= 0) & (points < 1)).all()


def test_the_gradient_reaches_the_map() -> None:
    maps = torch.zeros(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    points = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda maps: sample_points(maps, points), maps)


def test_a_generator_makes_chance_repeatable() -> None:
    def draw() -> list[torch.Tensor]:
        random = TorchRandom(torch.Generator().manual_seed(5))
        return [random.matching_points(2, 3, CPU), random.replacement_labels(4, 9, CPU), random.box_noise(2, CPU)]

    for first, second in zip(draw(), draw(), strict=True):
        torch.testing.assert_close(first, second)
