"""The dense loss that helps per-pixel embeddings on their way."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from training.losses import DenseAuxiliaryLoss, Target
from training.losses.dense_auxiliary_loss import known_cells, roof_and_wall
from training.losses.target_batch import TargetBatch


def _target(masks: torch.Tensor, **ground: torch.Tensor) -> Target:
    return Target(torch.zeros(len(masks), dtype=torch.int64), torch.zeros(len(masks), 4), masks, **ground)


def _batch(masks: torch.Tensor, **ground: torch.Tensor) -> TargetBatch:
    return TargetBatch.of([_target(masks, **ground)])


def _two_touching_houses() -> torch.Tensor:
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, 8:24, 4:16] = True
    masks[1, 8:24, 16:28] = True
    return masks


def test_roof_is_the_share_of_a_cell_that_is_covered() -> None:
    [[roof, _]] = roof_and_wall(_batch(_two_touching_houses()))
    assert roof.sum() * 16 == _two_touching_houses().sum()


def test_a_wall_runs_between_houses_that_touch() -> None:
    [[_, wall]] = roof_and_wall(_batch(_two_touching_houses()))
    assert wall[4, 3] == 1 and wall[4, 4] == 1  # on both sides of the common wall
    assert wall[4, 2] == 0  # in the middle of a roof
    assert wall[0].sum() == 0 and wall[:, 0].sum() == 0  # outside


def test_nothing_there_is_no_roof_and_no_wall() -> None:
    assert roof_and_wall(_batch(torch.zeros(0, 32, 32, dtype=torch.bool))).sum() == 0


def test_a_perfect_reading_costs_less_than_a_wrong_one_and_gradients_reach_the_pixels() -> None:
    torch.manual_seed(0)
    auxiliary_loss = DenseAuxiliaryLoss(2, weight=3.0)
    with torch.no_grad():
        auxiliary_loss.read.weight.copy_(torch.eye(2)[:, :, None, None])
        auxiliary_loss.read.bias.zero_()
    masks = _two_touching_houses()
    right = (20 * roof_and_wall(_batch(masks)) - 10).requires_grad_()
    good, bad = auxiliary_loss(right, [_target(masks)]), auxiliary_loss(-right, [_target(masks)])
    assert good < 0.1 < bad
    good.backward()
    assert right.grad.abs().sum() > 0


def _ground(rows: slice, columns: slice) -> torch.Tensor:
    ground = torch.zeros(32, 32, dtype=torch.bool)
    ground[rows, columns] = True
    return ground


def _auxiliary_loss() -> DenseAuxiliaryLoss:
    torch.manual_seed(0)
    return DenseAuxiliaryLoss(3, weight=2.0)


def test_without_ignored_ground_it_is_the_mean_over_all_cells() -> None:
    auxiliary_loss, pixels, masks = _auxiliary_loss(), torch.randn(1, 3, 8, 8), _two_touching_houses()
    loss = auxiliary_loss(pixels, [_target(masks)])
    mean = F.binary_cross_entropy_with_logits(auxiliary_loss.read(pixels), roof_and_wall(_batch(masks)))
    torch.testing.assert_close(loss, 2 * mean)
    assert torch.equal(loss, auxiliary_loss(pixels, [_target(masks, ignored=torch.zeros(32, 32, dtype=torch.bool))]))


def test_ignored_ground_teaches_nothing_and_the_rest_counts_as_if_alone() -> None:
    """Half of the picture ignored: the loss is that of the other half, and no gradient reaches the ignored cells."""
    auxiliary_loss, masks = _auxiliary_loss(), _two_touching_houses()
    pixels = torch.randn(1, 3, 8, 8, requires_grad=True)
    loss = auxiliary_loss(pixels, [_target(masks, ignored=_ground(slice(16, 32), slice(None)))])
    upper = torch.zeros(1, 3, 8, 8)
    upper[:, :, :4] = pixels.detach()[:, :, :4]
    wanted = roof_and_wall(_batch(masks))[:, :, :4]
    torch.testing.assert_close(loss, 2 * F.binary_cross_entropy_with_logits(auxiliary_loss.read(upper)[:, :, :4], wanted))
    loss.backward()
    assert pixels.grad[:, :, :4].abs().sum(1).all() and not pixels.grad[:, :, 4:].any()


def test_a_cell_with_one_ignored_pixel_is_unknown() -> None:
    [known] = known_cells(_batch(_two_touching_houses(), ignored=_ground(slice(11, 12), slice(7, 8))))
    assert (~known).sum() == 2 and not known[:, 2, 1].any()


def test_merged_ground_is_roof_whose_walls_are_unknown() -> None:
    ground = _ground(slice(0, 8), slice(0, 6))  # the last two columns share cells with ground that is known to be empty
    batch = _batch(_two_touching_houses(), ignored=ground, merged=ground)
    [[roof, wall]] = roof_and_wall(batch)
    assert (roof[:2, 0] == 1).all() and (roof[:2, 1] == 0.5).all() and wall[:2].sum() == 0
    [[known_roof, known_wall]] = known_cells(batch)
    assert known_roof.all()
    assert not known_wall[:2, :2].any() and known_wall.sum() == 64 - 4


def test_a_picture_that_is_ignored_as_a_whole_costs_nothing() -> None:
    pixels = torch.randn(1, 3, 8, 8, requires_grad=True)
    loss = _auxiliary_loss()(pixels, [_target(_two_touching_houses(), ignored=_ground(slice(None), slice(None)))])
    loss.backward()
    assert loss == 0 and not pixels.grad.any()


def test_images_of_a_batch_do_not_mix() -> None:
    """Each as if alone, with and without instances and ground of its own, also where masks are smaller than the cells."""
    ground = _ground(slice(0, 8), slice(0, 6))
    targets = [
        _target(_two_touching_houses()),
        _target(torch.zeros(0, 32, 32, dtype=torch.bool)),
        _target(_two_touching_houses().flip(0), ignored=ground, merged=ground),
        _target(_two_touching_houses()[:, :30, :29]),
    ]
    batch = TargetBatch.of(targets, size=(32, 32))
    for draw in (roof_and_wall, known_cells):
        for image, drawn in enumerate(draw(batch)):
            assert torch.equal(drawn, draw(TargetBatch.of(targets[image : image + 1], size=(32, 32)))[0])
