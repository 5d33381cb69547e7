from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses.box_losses import cxcywh_to_xyxy, generalized_iou, l1_distance

number = st.floats(0, 1, width=32)
boxes = st.lists(st.tuples(number, number, number, number), min_size=1, max_size=5).map(torch.tensor)


def test_corners() -> None:
    box = torch.tensor([0.5, 0.25, 0.5, 0.5])
    torch.testing.assert_close(cxcywh_to_xyxy(box), torch.tensor([0.25, 0.0, 0.75, 0.5]))


def test_known_values() -> None:
    """Equal boxes 1; halves of each other 1/2; apart by their own width: nothing shared, a third of the hull empty."""
    unit = torch.tensor([0.0, 0.0, 100.0, 100.0])
    others = torch.tensor([[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 50.0, 100.0], [200.0, 0.0, 300.0, 100.0]])
    torch.testing.assert_close(generalized_iou(unit, others), torch.tensor([1.0, 0.5, -1 / 3]))


@given(boxes, boxes)
def test_symmetric_and_bounded(first: torch.Tensor, second: torch.Tensor) -> None:
    a, b = cxcywh_to_xyxy(first), cxcywh_to_xyxy(second)
    giou = generalized_iou(a[:, None], b[None])
    assert giou.shape == (len(a), len(b))
    assert (giou >= -1 - 1e-5).all() and (giou <= 1 + 1e-5).all()
    torch.testing.assert_close(giou, generalized_iou(b[:, None], a[None]).T)


@given(boxes)
def test_l1_is_zero_on_the_diagonal_only(first: torch.Tensor) -> None:
    distance = l1_distance(first[:, None], first[None])
    assert (distance.diagonal() == 0).all()
    torch.testing.assert_close(distance, torch.cdist(first, first, p=1))


def test_a_box_without_area_has_a_finite_gradient() -> None:
    box = torch.tensor([0.5, 0.5, 0.0, 0.0], requires_grad=True)
    generalized_iou(cxcywh_to_xyxy(box), cxcywh_to_xyxy(torch.tensor([0.5, 0.5, 0.0, 0.0]))).backward()
    assert box.grad.isfinite().all()
