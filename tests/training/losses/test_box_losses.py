from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from training.losses.box_losses import (
    BOX_AGREEMENT,
    BoxLoss,
    box_iou,
    complete_iou,
    cxcywh_to_xyxy,
    distance_iou,
    generalized_iou,
    l1_distance,
)

number = st.floats(0, 1, width=32)
boxes = st.lists(st.tuples(number, number, number, number), min_size=1, max_size=5).map(torch.tensor)
every_kind = pytest.mark.parametrize("kind", BOX_AGREEMENT)

UNIT = torch.tensor([0.0, 0.0, 100.0, 100.0])


def test_corners() -> None:
    box = torch.tensor([0.5, 0.25, 0.5, 0.5])
    torch.testing.assert_close(cxcywh_to_xyxy(box), torch.tensor([0.25, 0.0, 0.75, 0.5]))


def test_known_values() -> None:
    """Equal boxes; halves of each other; apart by their own width: nothing shared, a third of the hull empty."""
    others = torch.tensor([[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 50.0, 100.0], [200.0, 0.0, 300.0, 100.0]])
    torch.testing.assert_close(box_iou(UNIT, others), torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(generalized_iou(UNIT, others), torch.tensor([1.0, 0.5, -1 / 3]))
    # Centres 25 and 200 apart, under diagonals of 100 sqrt(2) and 100 sqrt(10).
    torch.testing.assert_close(distance_iou(UNIT, others), torch.tensor([1.0, 0.5 - 625 / 20_000, -40_000 / 100_000]))


def test_complete_iou_is_distance_iou_for_boxes_of_one_shape_alone() -> None:
    others = torch.tensor([[40.0, 0.0, 90.0, 50.0], [40.0, 0.0, 90.0, 25.0]])
    complete, distance = complete_iou(UNIT, others), distance_iou(UNIT, others)
    torch.testing.assert_close(complete[0], distance[0])
    assert complete[1] < distance[1] - 1e-3


@every_kind
@given(first=boxes, second=boxes)
def test_symmetric_and_bounded(kind: BoxLoss, first: torch.Tensor, second: torch.Tensor) -> None:
    a, b = cxcywh_to_xyxy(first), cxcywh_to_xyxy(second)
    agreement = BOX_AGREEMENT[kind](a[:, None], b[None])
    assert agreement.shape == (len(a), len(b))
    assert (agreement >= (-2 if kind == "ciou" else -1) - 1e-5).all() and (agreement <= 1 + 1e-5).all()
    torch.testing.assert_close(agreement, BOX_AGREEMENT[kind](b[:, None], a[None]).T)


@pytest.mark.parametrize(
    ("kind", "loss"),
    [("giou", generalized_box_iou_loss), ("diou", distance_box_iou_loss), ("ciou", complete_box_iou_loss)],
)
def test_values_and_gradients_are_those_of_torchvision(kind: BoxLoss, loss: object) -> None:
    generator = torch.Generator().manual_seed(0)
    low, size = torch.rand(2, 50, 2, generator=generator) * 50, torch.rand(2, 50, 2, generator=generator) * 50 + 5
    ours, theirs = (torch.cat([low[0], low[0] + size[0]], 1).requires_grad_() for _ in range(2))
    wanted = torch.cat([low[1], low[1] + size[1]], 1)
    value, expected = (1 - BOX_AGREEMENT[kind](ours, wanted)).sum(), loss(theirs, wanted, reduction="sum")
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@given(boxes)
def test_l1_is_zero_on_the_diagonal_only(first: torch.Tensor) -> None:
    distance = l1_distance(first[:, None], first[None])
    assert (distance.diagonal() == 0).all()
    torch.testing.assert_close(distance, torch.cdist(first, first, p=1))


@every_kind
@pytest.mark.parametrize("other", [[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.2, 0.1], [0.2, 0.2, 0.1, 0.3]])
def test_a_box_without_area_has_a_finite_gradient(kind: BoxLoss, other: list[float]) -> None:
    box = torch.tensor([0.5, 0.5, 0.0, 0.0], requires_grad=True)
    BOX_AGREEMENT[kind](cxcywh_to_xyxy(box), cxcywh_to_xyxy(torch.tensor(other))).backward()
    assert box.grad.isfinite().all()


@every_kind
def test_moving_a_box_onto_the_other_lowers_the_loss(kind: BoxLoss) -> None:
    wanted = torch.tensor([0.5, 0.5, 0.2, 0.1])
    centres = torch.linspace(0.45, 0.5, 6)
    moved = torch.stack(
        [centres, torch.full_like(centres, 0.5), torch.full_like(centres, 0.2), torch.full_like(centres, 0.1)], 1
    )
    agreement = BOX_AGREEMENT[kind](cxcywh_to_xyxy(moved), cxcywh_to_xyxy(wanted))
    assert (agreement.diff() > 0).all()
