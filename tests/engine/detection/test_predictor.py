"""A model as a predictor of tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import engine
from engine.detection.predictor import ModelPredictor, without_specks
from engine.errors import DeviceError
from engine.model.families.maskdino.model import MaskDino
from engine.model.presets import PRESETS
from tests.engine.model.instance_agreement import assert_sure_ones_are_found, picture_with_houses


@pytest.fixture(scope="module")
def model() -> MaskDino:
    torch.manual_seed(0)
    model = engine.build_model(PRESETS["maskdino_tiny"])
    with torch.no_grad():
        model.heads.classify.bias.fill_(1.0)  # an untrained model would be sure of nothing
    return model.eval()


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def predictor(model: MaskDino, request: pytest.FixtureRequest) -> ModelPredictor:
    return ModelPredictor(model, tile_size=64, gsd=None, score=0.3, precision=request.param)


def _tiles(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, 3, 64, 64)).astype(np.float32)


def test_each_tile_gets_its_instances(predictor: ModelPredictor) -> None:
    found = predictor.predict(_tiles(3))
    assert len(found) == 3
    for instances in found:
        assert instances.masks.shape == (len(instances), 64, 64) and instances.masks.dtype == bool
        assert instances.scores.dtype == np.float32 and instances.labels.dtype == np.int64
        assert (instances.scores >= 0.3).all()
    assert sum(map(len, found)) > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_found_does_not_depend_on_the_batch(precision: str) -> None:
    """With trained weights: what such a model is sure of outlasts any rounding, and a batch of one rounds otherwise."""
    predictor = ModelPredictor(engine.load_model("maskdino_lite"), tile_size=256, gsd=None, score=0.3, precision=precision)
    tiles = np.stack([picture_with_houses(top=top, left=left) for top, left in ((20, 20), (40, 30), (10, 44))])
    together = predictor.predict(tiles)
    for tile, instances in zip(tiles, together, strict=True):
        (alone,) = predictor.predict(tile[None])
        assert_sure_ones_are_found(alone, instances)
        assert_sure_ones_are_found(instances, alone)


def test_a_score_that_nothing_reaches_leaves_nothing(model: MaskDino) -> None:
    strict = ModelPredictor(model, tile_size=64, gsd=None, score=1.0)
    (found,) = strict.predict(_tiles(1))
    assert len(found) == 0 and found.masks.shape == (0, 64, 64)


def test_specks_go_and_wings_stay() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:10, 2:10] = True  # 64 pixels
    mask[12:18, 2:6] = True  # 24: the other leg of a U whose bar lies in the next tile
    mask[15, 15:18] = True  # 3
    expected = mask.copy()
    expected[15, 15:18] = False
    assert (without_specks(mask) == expected).all()
    assert not without_specks(np.zeros((4, 4), dtype=bool)).any()


def test_a_batch_too_large_for_the_device_is_seen_in_parts(
    model: MaskDino, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = ModelPredictor(model, tile_size=64, gsd=None, score=0.3, precision="float32")
    tiles = _tiles(5)
    expected = predictor.predict(tiles)
    instances, asked = predictor.model.instances, []

    def with_room_for(count: int):
        def run(images, **arguments):
            asked.append(len(images))
            if len(images) > count:
                raise torch.OutOfMemoryError("no room")
            return instances(images, **arguments)

        return run

    monkeypatch.setattr(predictor.model, "instances", with_room_for(2))
    found = predictor.predict(tiles)
    assert predictor.predict(tiles[:1]) and asked == [5, 2, 2, 1, 1]  # what does not fit is not tried again
    assert caplog.text.count("ran out of memory on 5 tiles; from now on it sees 2") == 1
    for ours, all_at_once in zip(found, expected, strict=True):
        assert np.allclose(ours.scores, all_at_once.scores, atol=1e-4)
    monkeypatch.setattr(predictor.model, "instances", with_room_for(0))
    with pytest.raises(DeviceError, match="ran out of memory on a tile of 64 pixels"):
        predictor.predict(tiles)


def test_a_compiled_model_sees_whole_batches(model: MaskDino, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compiled for their shape; the end of a raster would have it compiled once more."""
    shapes = []

    def compiled(function, **options):
        def run(images):
            shapes.append(tuple(images.shape))
            return function(images)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    common = {"tile_size": 64, "gsd": None, "score": 0.3, "precision": "float32", "batch_size": 3}
    whole = ModelPredictor(model, **common, compile=True)
    tiles = _tiles(2)
    found, expected = whole.predict(tiles), ModelPredictor(model, **common).predict(tiles)
    assert set(shapes) == {(3, 3, 64, 64)}
    assert len(found) == 2
    for ours, plain in zip(found, expected, strict=True):
        assert np.allclose(ours.scores, plain.scores, atol=1e-4)
