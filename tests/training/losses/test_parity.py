"""A training step gives the losses, matches, gradients and denoising queries that the published code gives.

Weights, images, targets and random numbers are the same. The recordings lie in tests/goldens, whose README.md says how they
were made; others of the same kind are tried where they lie beside the checkout. In float64 the numbers must be equal but
for rounding. In float32 both codes round, and each processor in its own way: the yardstick is how far the published code's
own float32 and float64 runs differ, and queries that tie within that may stand for one another.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.goldens.recordings import recordings
from tests.training.losses.golden import Golden, Step, spread

FILES = recordings("train_r50_*", "train_swinl_*")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def step(golden: Golden) -> Step:
    return golden.run()


def test_losses(golden: Golden, step: Step) -> None:
    """In float32 within three times the published noise, in float64 to a millionth.

    The noise is the worst of the run's: which of two points is the less certain may turn on the last bit, and then one loss
    jumps that happened to stand still in the published pair of runs.
    """
    assert step.losses.keys() == golden.losses.keys()
    noise = golden.noise(lambda recorded: recorded.losses, otherwise=(5e-6, 5e-5, 1.9e-4))
    tolerance = 1e-6 if golden.double else max(1e-4, 3 * noise[-1])
    for name, expected in golden.losses.items():
        assert step.losses[name] == pytest.approx(expected, rel=tolerance), name
    assert step.weights == golden.weights
    assert step.total == pytest.approx(float(golden.arrays["loss_total"]), rel=1e-8 if golden.double else 1e-4)


def test_matching(golden: Golden, step: Step) -> None:
    """The recorded pairs are the cheapest: the same queries for the same targets, in every layer and for the proposals.

    In float32 scores of proposals are off by up to 4e-4, and neighbours whose scores differ by less may have swapped their
    numbers. So a recorded pair costs what the cheapest of the queries that tie with it costs. In float64 none tie.
    """
    recorded = [name for name in golden.arrays if name.startswith("match") and name.endswith("_b0")]
    assert len(recorded) == len(step.matches)
    tie, rounding = (1e-9, 1e-9) if golden.double else (1e-3, 1e-3)
    for layer, (matches, costs) in enumerate(zip(step.matches, step.costs, strict=True)):
        for image, (match, cost) in enumerate(zip(matches, costs, strict=True)):
            queries, targets = golden.arrays[f"match{layer}_b{image}"]
            assert sorted(match.targets) == sorted(targets) == list(range(cost.shape[1]))
            alike = np.eye(len(cost), dtype=bool)[queries]  # (T, Q)
            if step.selection_scores is not None:
                alike = np.abs(step.selection_scores[image][queries, None] - step.selection_scores[image]) <= tie
            theirs = np.where(alike, cost[:, targets].T, np.inf).min(axis=1).sum()
            assert theirs == pytest.approx(cost[match.queries, match.targets].sum(), rel=rounding), (layer, image)


def test_gradient_norms(golden: Golden, step: Step) -> None:
    """Of every parameter. Where a sampling point crosses from one pixel to the next its gradient jumps, so float32 is judged
    by how the errors are spread: median, 99th percentile and worst within three times the published code's own."""
    expected = golden.gradient_norms
    assert step.gradients.keys() == expected.keys()
    norms = {name: gradient.double().norm().item() for name, gradient in step.gradients.items()}
    noise = golden.noise(lambda recorded: recorded.gradient_norms, otherwise=(7e-5, 1.9e-3, 4.2e-3))
    bounds = np.array([2e-6, 1e-4, 1e-4]) if golden.double else np.maximum(3 * noise, 1e-4)
    assert (spread(norms, expected) <= bounds).all(), f"{spread(norms, expected)} exceeds {bounds}"
    total = np.sqrt(sum(norm**2 for norm in norms.values()))
    assert total == pytest.approx(float(golden.arrays["grad_total_norm"]), rel=1e-5 if golden.double else 3e-3)


def test_gradient_values(golden: Golden, step: Step) -> None:
    for name, expected in golden.gradient_slices.items():
        gradient = step.gradients[name].double().flatten(1)[: expected.shape[0], : expected.shape[1]].numpy()
        twin = golden.twin.gradient_slices[name] if golden.twin is not None else expected * 1.004
        largest = np.abs(expected).max()
        tolerance = 2e-4 * largest if golden.double else max(3 * np.abs(twin - expected).max(), 1e-4 * largest)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance, err_msg=name)


def test_denoising_queries(golden: Golden, step: Step) -> None:
    if golden.args["dn"] == "no":
        assert step.denoising is None
        return
    arrays, queries = golden.arrays, step.denoising
    assert [queries.labels.shape[1], queries.groups] == arrays["dn_pad_size_scalar"].tolist()
    size = arrays["dn_attn_mask_shape"]
    blocked = np.unpackbits(arrays["dn_attn_mask_packed"], axis=-1, count=int(size[1])).astype(bool)
    np.testing.assert_array_equal(queries.attention_mask.numpy(), blocked)
    logits = torch.special.logit(queries.boxes, eps=1e-5).masked_fill(queries.padding[..., None], 0.0)
    np.testing.assert_allclose(logits.numpy(), arrays["dn_query_bbox_unsig"], rtol=1e-4, atol=2e-6)
    recorded = arrays["dn_query_label"]
    labels = golden.label_embedding()[queries.labels, : recorded.shape[-1]].masked_fill(queries.padding[..., None], 0.0)
    np.testing.assert_allclose(labels.numpy(), recorded, rtol=1e-6)
