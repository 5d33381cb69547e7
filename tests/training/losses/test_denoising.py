from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.losses.tiny_batch import CLASSES, GridPoints, random_target
from training.losses import make_denoising_queries
from training.losses.denoising import denoising_attention_mask, group_slots

counts_of_images = st.lists(st.integers(0, 6), min_size=1, max_size=4)


@given(counts_of_images, st.integers(0, 20))
def test_every_group_holds_every_target_once(counts: list[int], number: int) -> None:
    targets = [random_target(i, count) for i, count in enumerate(counts)]
    queries = make_denoising_queries(targets, num_queries=5, num_classes=CLASSES, number=number, noise_scale=0)
    groups = number // max(counts) if max(counts) else 0
    if groups == 0:
        assert queries is None
        return
    assert (queries.groups, queries.group_size) == (groups, max(counts))
    size = groups * max(counts)
    assert size <= number
    assert queries.labels.shape == queries.padding.shape == (len(counts), size)
    for image, target in enumerate(targets):
        for group in range(groups):
            slots = slice(group * max(counts), group * max(counts) + len(target))
            torch.testing.assert_close(queries.labels[image, slots], target.labels)
            torch.testing.assert_close(queries.boxes[image, slots], target.boxes)
        expected = (torch.arange(max(counts)) >= len(target)).repeat(groups)
        assert (queries.padding[image] == expected).all()


@given(counts_of_images.filter(any), st.integers(1, 4))
def test_slots_are_told_apart(counts: list[int], groups: int) -> None:
    image, slot = group_slots(counts, groups, max(counts))
    assert len(set(zip(image.tolist(), slot.tolist(), strict=True))) == groups * sum(counts)
    assert image[: sum(counts)].tolist() == [i for i, count in enumerate(counts) for _ in range(count)]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 4))
def test_nothing_leaks(groups: int, size: int, queries: int) -> None:
    """Ordinary queries see each other only; a group sees itself and the ordinary ones, never another group."""
    blocked = denoising_attention_mask(groups, size, queries, torch.device("cpu"))
    noised = groups * size
    assert blocked.shape == (noised + queries, noised + queries)
    assert blocked[noised:, :noised].all() and not blocked[:, noised:].any()
    for row in range(noised):
        for column in range(noised):
            assert bool(blocked[row, column]) == (row // size != column // size)
    # Every query sees at least itself: attention over nothing would be NaN.
    assert not blocked.diagonal().any()


def test_noise_stays_within_its_scale() -> None:
    target = random_target(0, 6)
    queries = make_denoising_queries([target], num_queries=5, num_classes=CLASSES, number=600, noise_scale=0.4)
    boxes, sides = target.boxes.repeat(100, 1), target.boxes[:, 2:].repeat(100, 1)
    moved = (queries.boxes[0] - boxes).abs()
    assert (moved[:, :2] <= 0.2 * sides + 1e-6).all() and (moved[:, 2:] <= 0.4 * sides + 1e-6).all()
    assert (moved > 0).any(dim=0).all()
    changed = (queries.labels[0] != target.labels.repeat(100)).float().mean()
    # A fifth is replaced, a third of that by the same label again.
    assert 0.05 < changed < 0.22
    assert ((queries.boxes >= 0) & (queries.boxes <= 1)).all()


def test_chance_comes_from_where_it_is_told() -> None:
    targets = [random_target(0, 2), random_target(1, 1)]

    def make() -> torch.Tensor:
        return make_denoising_queries(targets, num_queries=3, num_classes=CLASSES, number=4, random=GridPoints()).boxes

    torch.testing.assert_close(make(), make())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boxes_keep_their_precision(dtype: torch.dtype) -> None:
    target = random_target(0, 2, dtype=dtype)
    assert make_denoising_queries([target], num_queries=3, num_classes=CLASSES).boxes.dtype == dtype
