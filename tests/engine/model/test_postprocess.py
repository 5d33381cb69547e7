"""Instances of an image out of a batch of predictions."""

from __future__ import annotations

import torch

from engine.model.outputs import Prediction
from engine.model.postprocess import image_instances


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
