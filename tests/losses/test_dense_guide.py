"""The dense loss that helps per-pixel embeddings on their way."""

from __future__ import annotations

import torch

from training.losses import DenseGuide, Target
from training.losses.dense_guide import roof_and_wall


def _target(masks: torch.Tensor) -> Target:
    return Target(torch.zeros(len(masks), dtype=torch.int64), torch.zeros(len(masks), 4), masks)


def _two_touching_houses() -> torch.Tensor:
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, 8:24, 4:16] = True
    masks[1, 8:24, 16:28] = True
    return masks


def test_roof_is_the_share_of_a_cell_that_is_covered() -> None:
    roof, _ = roof_and_wall(_two_touching_houses(), (8, 8))
    assert roof.sum() * 16 == _two_touching_houses().sum()


def test_a_wall_runs_between_houses_that_touch() -> None:
    _, wall = roof_and_wall(_two_touching_houses(), (8, 8))
    assert wall[4, 3] == 1 and wall[4, 4] == 1  # on both sides of the common wall
    assert wall[4, 2] == 0  # in the middle of a roof
    assert wall[0].sum() == 0 and wall[:, 0].sum() == 0  # outside


def test_nothing_there_is_no_roof_and_no_wall() -> None:
    assert roof_and_wall(torch.zeros(0, 30, 30, dtype=torch.bool), (8, 8)).sum() == 0


def test_a_perfect_reading_costs_less_than_a_wrong_one_and_gradients_reach_the_pixels() -> None:
    torch.manual_seed(0)
    guide = DenseGuide(2, weight=3.0)
    with torch.no_grad():
        guide.read.weight.copy_(torch.eye(2)[:, :, None, None])
        guide.read.bias.zero_()
    masks = _two_touching_houses()
    right = (20 * roof_and_wall(masks, (8, 8)) - 10)[None].requires_grad_()
    good, bad = guide(right, [_target(masks)]), guide(-right, [_target(masks)])
    assert good < 0.1 < bad
    good.backward()
    assert right.grad.abs().sum() > 0
