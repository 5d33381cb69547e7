from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from tests.training.losses.tiny_batch import GridPoints, perfect_prediction, permuted, random_prediction, random_target
from training.errors import DivergedError
from training.losses import HungarianMatcher, Match, Target, TermWeights
from training.losses.target_batch import TargetBatch


@pytest.fixture
def matcher() -> HungarianMatcher:
    return HungarianMatcher(points=50, random=GridPoints())


def pairs(match: Match) -> set[tuple[int, int]]:
    return set(zip(match.queries.tolist(), match.targets.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_assignment_is_cheaper(matcher: HungarianMatcher, seed: int) -> None:
    prediction, target = random_prediction(seed, images=1, queries=5), random_target(seed, 3)
    cost = matcher.cost([prediction], TargetBatch.of([target]))[0]
    [[match]] = matcher([prediction], TargetBatch.of([target]))
    cheapest = min(sum(cost[q, t] for t, q in enumerate(queries)) for queries in permutations(range(5), 3))
    torch.testing.assert_close(cost[match.queries, match.targets].sum(), cheapest)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_queries_and_targets_means_nothing(matcher: HungarianMatcher, seed: int) -> None:
    prediction, target = random_prediction(seed, images=1), random_target(seed, 4)
    [[match]] = matcher([prediction], TargetBatch.of([target]))
    queries, order = torch.randperm(6), torch.randperm(4)
    shuffled = Target(target.labels[order], target.boxes[order], target.masks[order])
    [[other]] = matcher([permuted(prediction, queries=queries)], TargetBatch.of([shuffled]))
    assert {(queries[q].item(), order[t].item()) for q, t in pairs(other)} == pairs(match)


def test_each_layer_and_image_by_itself(matcher: HungarianMatcher) -> None:
    layers = [random_prediction(seed) for seed in range(3)]
    targets = TargetBatch.of([random_target(0, 2), random_target(1, 3)])
    together = matcher(layers, targets)
    for layer, matches in zip(layers, together, strict=True):
        [alone] = matcher([layer], targets)
        assert [pairs(match) for match in alone] == [pairs(match) for match in matches]


def test_the_number_of_threads_means_nothing(matcher: HungarianMatcher) -> None:
    layers = [random_prediction(seed, images=24) for seed in range(3)]
    targets = TargetBatch.of([random_target(seed, seed % 5) for seed in range(24)])
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            found.append([[pairs(match) for match in matches] for matches in matcher(layers, targets)])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]
    assert [len(matches) for matches in found[1]] == [24] * 3


def test_a_perfect_prediction_is_matched_to_its_own_targets(matcher: HungarianMatcher) -> None:
    target = random_target(3, 4)
    [[match]] = matcher([perfect_prediction([target], queries=6)], TargetBatch.of([target]))
    assert pairs(match) == {(i, i) for i in range(4)}


@pytest.mark.parametrize(("queries", "count"), [(6, 0), (6, 1), (6, 6), (2, 5), (1, 1)])
def test_as_many_pairs_as_there_can_be(matcher: HungarianMatcher, queries: int, count: int) -> None:
    """Also with more targets than queries, and with none."""
    [[match]] = matcher([random_prediction(0, images=1, queries=queries)], TargetBatch.of([random_target(0, count)]))
    assert len(match.queries) == len(match.targets) == min(queries, count)
    assert len(set(match.queries.tolist())) == len(set(match.targets.tolist())) == min(queries, count)
    assert match.queries.tolist() == sorted(match.queries.tolist())


def test_without_masks_class_and_box_decide(matcher: HungarianMatcher) -> None:
    prediction, target = random_prediction(0, images=1), random_target(0, 3)
    [[without]] = matcher([replace(prediction, mask_logits=None)], TargetBatch.of([target]))
    only_these = HungarianMatcher(costs=TermWeights(mask=0, dice=0), points=50, random=GridPoints())
    [[match]] = only_these([prediction], TargetBatch.of([target]))
    assert pairs(without) == pairs(match)


def test_precisions_agree(matcher: HungarianMatcher) -> None:
    """bfloat16 outputs are widened before anything is computed, and under autocast too."""
    half = random_prediction(4, images=1, dtype=torch.bfloat16)
    full = type(half)(half.class_logits.double(), half.boxes.double(), half.mask_logits.double())
    target = random_target(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        [[in_half]] = matcher([half], TargetBatch.of([target]))
        cost = matcher.cost([half], TargetBatch.of([target]))
    assert cost.dtype == torch.float32
    [[in_full]] = matcher([full], TargetBatch.of([target]))
    assert pairs(in_half) == pairs(in_full)


def test_a_model_that_left_the_numbers_is_named(matcher: HungarianMatcher) -> None:
    prediction = random_prediction(0, images=1)
    prediction.mask_logits[0, 2] = float("nan")
    with pytest.raises(DivergedError, match="finite"):
        matcher([prediction], TargetBatch.of([random_target(0, 2)]))
