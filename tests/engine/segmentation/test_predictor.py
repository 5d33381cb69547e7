"""A model as a predictor of class scores, from its file to the class raster."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

import engine
from engine.errors import ArgumentError, DeviceError
from engine.model.header import ModelHeader
from engine.model.model_file import load_model, save_model
from engine.model.presets import PRESETS
from engine.segmentation.pipeline import score_predictor
from tests.engine.model.families.mask2former.small import SMALL, filled

CLASSES = ("road", "building", "tree", "water", "grass")


def test_scores_are_the_model_s(semantic_model):
    predictor = score_predictor(semantic_model)
    assert (predictor.tile_size, predictor.gsd, predictor.classes) == (96, 0.3, CLASSES)
    tiles = np.random.default_rng(0).uniform(0, 255, (2, 3, 96, 96)).astype(np.float32)
    expected = load_model(semantic_model).semantic(torch.from_numpy(tiles))
    for found, scores in zip(predictor.scores(tiles), expected, strict=True):
        np.testing.assert_allclose(found, scores.numpy(), rtol=1e-3, atol=1e-5)


def test_a_raster_of_one_tile_has_the_classes_that_the_model_gives_it(semantic_model, scene, tmp_path):
    """With another part of the scene, which is not resampled: 0.3 m is what the model wants."""
    with rasterio.open(scene) as dataset:
        window = Window(0, 0, 96, 96)
        pixels, profile = dataset.read(window=window), {**dataset.profile, "width": 96, "height": 96}
    with rasterio.open(tmp_path / "part.tif", "w", **profile) as part:
        part.write(pixels)
    engine.segment(tmp_path / "part.tif", tmp_path / "out.tif", model=semantic_model)
    (scores,) = load_model(semantic_model).semantic(torch.from_numpy(pixels[None].astype(np.float32)))
    best = scores.topk(2, dim=0).values
    is_clear = (best[0] - best[1] > 1e-4 * best[0]).numpy()  # of almost equal scores, rounding decides
    with rasterio.open(tmp_path / "out.tif") as out:
        found = out.read(1)
    assert is_clear.mean() > 0.9
    assert np.array_equal(found[is_clear], scores.argmax(0).numpy()[is_clear])


def test_a_panoptic_model_gives_classes_as_well_as_instances(scene, tmp_path):
    header = ModelHeader(name="panoptic", config=SMALL, classes=CLASSES, gsd=0.3, tile_size=96)
    path = save_model(tmp_path / "panoptic.safetensors", filled(SMALL, ""), header)
    extent = (500_000, 4_999_970, 500_040, 5_000_000)
    summary = engine.segment(scene, tmp_path / "out.tif", model=load_model(path), extent=extent)
    assert list(summary.classes) == list(CLASSES)
    assert sum(cover.pixels for cover in summary.classes.values()) == 100 * 133
    engine.detect(scene, tmp_path / "out.gpkg", model=path, extent=extent, score=0.0)


@pytest.mark.parametrize("model", ["instances", None, "weightless"])
def test_a_model_that_cannot_is_refused_with_the_presets_that_can(tiny_model, scene, tmp_path, model):
    given = {"instances": tiny_model, "weightless": engine.build_model(SMALL)}.get(model)
    says = {
        "instances": r"'untrained' finds instances.*does not give each pixel a class",
        None: "No model is given",
        "weightless": "says neither its tile size",
    }[model]
    with pytest.raises(ArgumentError, match=says) as caught:
        engine.segment(scene, tmp_path / "out.tif", model=given)
    if model != "weightless":
        named = set(re.findall(r"\w+", caught.value.hint))
        assert {"mask2former_dinatl_semantic", "mask2former_dinatl_panoptic"} <= named
        assert not {"maskdino_r50", "maskrcnn_r50"} & named
    assert list(tmp_path.iterdir()) == []


def test_every_preset_has_as_few_classes_as_a_class_raster_can_hold():
    assert max(config.num_classes for config in PRESETS.values()) <= 254


def test_a_device_that_runs_out_of_memory_sees_fewer_tiles(semantic_model):
    predictor = score_predictor(semantic_model)
    calls, most = [], [2]

    def semantic(images):
        calls.append(len(images))
        if len(images) > most[0]:
            raise torch.OutOfMemoryError
        return [torch.ones(5, 96, 96)] * len(images)

    predictor.model.semantic = semantic
    assert len(predictor.scores(np.zeros((5, 3, 96, 96), np.float32))) == 5
    assert calls == [5, 2, 2, 1]
    most[0] = 0
    with pytest.raises(DeviceError, match="ran out of memory on a tile of 96 pixels"):
        predictor.scores(np.zeros((1, 3, 96, 96), np.float32))
