"""Instances of an image out of a batch of predictions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.model import postprocess
from engine.model.outputs import Prediction
from engine.model.postprocess import best_pairs, bounding_boxes, draw_instances, image_instances


def _prediction(*, queries: int = 6, classes: int = 2, seed: int = 0) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    return Prediction(
        torch.randn(1, queries, classes, generator=generator),
        torch.rand(1, queries, 4, generator=generator),
        torch.randn(1, queries, 8, 16, generator=generator),
    )


def _read(prediction: Prediction, **options):
    options = {"image_size": (30, 60), "padded_size": (32, 64), "count": 8, **options}
    return image_instances(prediction, 0, **options)


def test_the_best_come_first_and_have_the_size_of_the_image() -> None:
    found = _read(_prediction())
    assert found.masks.shape == (8, 30, 60)
    assert (found.scores.diff() <= 0).all()
    assert found.labels.min() >= 0 and found.labels.max() < 2


def test_more_are_wanted_than_there_are() -> None:
    assert len(_read(_prediction(), count=1000).scores) == 12


def test_a_threshold_leaves_out_what_would_be_below_it_and_nothing_else() -> None:
    everything, sure = _read(_prediction(), count=12), _read(_prediction(), count=12, threshold=0.6)
    kept = everything.scores >= 0.6
    assert torch.equal(sure.scores[sure.scores >= 0.6], everything.scores[kept])
    assert torch.equal(sure.masks[sure.scores >= 0.6], everything.masks[kept])
    assert len(_read(_prediction(), threshold=1.0).scores) == 0


def test_an_empty_mask_scores_nothing() -> None:
    prediction = _prediction()
    prediction.mask_logits[:] = -5.0
    assert _read(prediction).scores.max() == 0


def test_boxes_are_of_the_padded_image_and_scale_with_the_output() -> None:
    prediction = _prediction(queries=1, classes=1)
    prediction.boxes[:] = torch.tensor([0.5, 0.5, 1.0, 1.0])
    assert torch.allclose(_read(prediction).boxes, torch.tensor([[0.0, 0.0, 64.0, 32.0]]))
    doubled = _read(prediction, output_size=(60, 120))
    assert torch.allclose(doubled.boxes, torch.tensor([[0.0, 0.0, 128.0, 64.0]]))
    assert doubled.masks.shape == (1, 60, 120)


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    first, second = _prediction(seed=1), _prediction(seed=2)
    both = Prediction(*(torch.cat([getattr(p, n) for p in (first, second)]) for n in ("class_logits", "boxes", "mask_logits")))
    together = image_instances(both, 1, image_size=(30, 60), padded_size=(32, 64), count=8)
    alone = _read(second)
    assert torch.equal(together.scores, alone.scores)
    assert torch.equal(together.masks, alone.masks)


def _batch(*, images: int, queries: int, seed: int) -> Prediction:
    """Predictions of which some are empty, and of some images more than of others."""
    generator = torch.Generator().manual_seed(seed)
    sure = torch.linspace(-4, 2, images)[torch.randperm(images, generator=generator)]
    masks = torch.randn(images, queries, 8, 16, generator=generator)
    masks[torch.rand(images, queries, generator=generator) < 0.2] = -5.0
    return Prediction(
        torch.randn(images, queries, 2, generator=generator) + sure[:, None, None],
        torch.rand(images, queries, 4, generator=generator),
        masks,
    )


def _found_in(prediction: Prediction, sizes: list, output_sizes: list, *, count: int, threshold: float):
    chosen = best_pairs(prediction.class_logits, count=count, threshold=threshold)
    return draw_instances(
        chosen,
        boxes=prediction.boxes[chosen.images, chosen.queries],
        mask_logits=prediction.mask_logits[chosen.images, chosen.queries],
        image_sizes=sizes,
        padded_size=(32, 64),
        output_sizes=output_sizes,
    )


@pytest.mark.parametrize("at_once", [1, 20_000, 2**24])
@given(
    images=st.integers(1, 5),
    queries=st.integers(1, 9),
    count=st.integers(1, 12),
    threshold=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    sizes=st.lists(st.sampled_from([(32, 64), (30, 60), (1, 7)]), min_size=5, max_size=5),
    resized=st.lists(st.booleans(), min_size=5, max_size=5),
    seed=st.integers(0, 2**20),
)
def test_a_batch_holds_what_each_image_holds_alone(
    images: int, queries: int, count: int, threshold: float, sizes: list, resized: list, seed: int, at_once: int
) -> None:
    prediction, sizes = _batch(images=images, queries=queries, seed=seed), sizes[:images]
    output_sizes = [(45, 51) if other else size for size, other in zip(sizes, resized, strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocess, "_DRAWN_AT_ONCE", {"cpu": at_once})
        together = _found_in(prediction, sizes, output_sizes, count=count, threshold=threshold)
    assert len(together) == images
    for index, found in enumerate(together):
        alone = image_instances(
            prediction, index, image_size=sizes[index], padded_size=(32, 64), output_size=output_sizes[index], count=count,
            threshold=threshold,
        )  # fmt: skip
        assert found.masks.shape == (len(found.scores), *output_sizes[index])
        # the sum over a mask is rounded in another order where others are summed beside it
        torch.testing.assert_close(found.scores, alone.scores)
        for name in ("labels", "boxes", "masks"):
            assert torch.equal(getattr(found, name), getattr(alone, name)), name


def test_masks_that_travel_as_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = _batch(images=3, queries=5, seed=3)
    sizes, output_sizes = [(30, 60), (30, 60), (32, 64)], [(30, 60), (30, 60), (45, 51)]
    expected = _found_in(prediction, sizes, output_sizes, count=8, threshold=0.2)
    enlarged = postprocess.EnlargedMasks
    resampled = postprocess._resampled
    monkeypatch.setattr(
        postprocess, "EnlargedMasks", lambda logits, size, **on_cpu: enlarged(logits, size, skip_empty=False, packed=True)
    )
    monkeypatch.setattr(postprocess, "_resampled", lambda *given, **on_cpu: resampled(*given, packed=True))
    found = _found_in(prediction, sizes, output_sizes, count=8, threshold=0.2)
    assert sum(len(each.scores) for each in expected) > 3
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.masks, other.masks)
        torch.testing.assert_close(one.scores, other.scores)


def test_what_is_not_a_number_is_not_found() -> None:
    prediction = _batch(images=2, queries=6, seed=0)
    prediction.class_logits[0, 2] = float("nan")
    prediction.class_logits[1] = float("nan")
    first, second = _found_in(prediction, [(32, 64)] * 2, [(32, 64)] * 2, count=8, threshold=0.0)
    assert len(first.scores) == 8 and first.scores.isfinite().all()
    assert len(second.scores) == 0 and second.masks.shape == (0, 32, 64)


def test_it_reads_like_a_list() -> None:
    found = _found_in(_batch(images=3, queries=2, seed=1), [(32, 64)] * 3, [(32, 64)] * 3, count=2, threshold=0.0)
    assert len(found) == len(list(found)) == 3
    assert torch.equal(found[-1].scores, found[2].scores)
    assert len(found[:2]) == 2 and torch.equal(found[:2][1].masks, found[1].masks)
    with pytest.raises(IndexError):
        found[3]


def test_without_boxes_it_is_the_masks_that_are_bounded() -> None:
    prediction = _prediction()
    chosen = best_pairs(prediction.class_logits, count=5, threshold=0.0)
    logits = prediction.mask_logits[0, chosen.queries]
    logits[0] = -5.0
    for output_size in ((32, 64), (48, 60)):
        (found,) = draw_instances(
            chosen, boxes=None, mask_logits=logits, image_sizes=[(32, 64)], padded_size=(32, 64), output_sizes=[output_size]
        )
        for box, mask in zip(found.boxes, found.masks, strict=True):
            rows, columns = mask.nonzero().unbind(-1)
            bounds = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
            assert box.tolist() == bounds
        assert found.scores[-1] == 0
    assert bounding_boxes(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4)
