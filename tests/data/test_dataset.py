"""What comes out of the training data set fits together, and depends on seed and index alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from engine.errors import ArgumentError
from training.data.augmentation import make_augmentation
from training.data.dataset import MixedCrops, collate, target_of_masks, to_tensors
from training.data.sample import Sample, masks_of_labels
from training.data.scene import Scene
from training.data.sources import SceneSource, SyntheticSource


def white_houses() -> Scene:
    rng = np.random.default_rng(0)
    footprints, image = [], np.zeros((300, 300, 3), dtype=np.uint8)
    for row in range(6):
        for column in range(6):
            x, y = column * 50 + rng.integers(2, 15), row * 50 + rng.integers(2, 15)
            w, h = rng.integers(8, 30, 2)
            footprints.append(shapely.box(x, y, x + w, y + h))
            image[y : y + h, x : x + w] = 255
    return Scene(image, np.array(footprints, dtype=object), 0.3)


def crops(**keywords: object) -> MixedCrops:
    settings = {"length": 40, "size": 96, "seed": 3, **keywords}
    return MixedCrops([(SceneSource([white_houses()]), 1.0)], **settings)


def test_a_crop_is_an_image_and_a_target_that_agree() -> None:
    dataset = crops()
    for index in range(len(dataset)):
        image, target = dataset[index]
        assert type(image) is torch.Tensor and image.dtype == torch.float32 and image.shape == (3, 96, 96)
        assert image.min() >= 0 and image.max() <= 255
        assert target.masks.dtype == torch.bool and target.masks.shape[1:] == (96, 96)
        assert type(target.masks) is torch.Tensor
        assert target.labels.dtype == torch.int64 and (target.labels == 0).all()
        assert (target.masks.flatten(1).sum(1) >= 12).all()
        assert ((target.boxes >= 0) & (target.boxes <= 1)).all()
        for box, mask in zip(target.boxes, target.masks, strict=True):
            x, y, w, h = (box * 96).tolist()
            rows, columns = torch.nonzero(mask, as_tuple=True)
            assert (columns.min().item(), columns.max().item() + 1) == pytest.approx((x - w / 2, x + w / 2), abs=1e-3)
            assert (rows.min().item(), rows.max().item() + 1) == pytest.approx((y - h / 2, y + h / 2), abs=1e-3)


def test_masks_move_with_the_picture() -> None:
    dataset = crops(colour=0.0)
    for index in range(20):
        image, target = dataset[index]
        painted = image[0] > 127
        # Houses of fewer than twelve pixels are painted and not annotated.
        assert (painted != target.masks.any(0)).float().mean() < 0.03


def test_all_eight_orientations_occur_and_no_other() -> None:
    picture = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3).repeat(3, 1, 1)
    turns = [torch.rot90(picture, k, (1, 2)) for k in range(4)]
    known = {tuple(t[0].flatten().tolist()) for t in [*turns, *(t.flip(2) for t in turns)]}
    augment = make_augmentation(colour=0.0)
    seen = set()
    for _ in range(200):
        image, mask = augment(tv_tensors.Image(picture), tv_tensors.Mask(picture[:1] > 4))
        assert torch.equal(image[0] > 4, mask[0])
        seen.add(tuple(image[0].flatten().tolist()))
    assert seen == known


def test_crops_do_not_depend_on_workers_or_on_order() -> None:
    dataset = crops(length=6)
    alone = [dataset[index] for index in reversed(range(6))][::-1]
    torch.manual_seed(123)
    loaded = [
        item
        for images, targets in DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate)
        for item in zip(images, targets, strict=True)
    ]
    for (image, target), (other, other_target) in zip(alone, loaded, strict=True):
        assert torch.equal(image, other)
        assert torch.equal(target.boxes, other_target.boxes) and torch.equal(target.masks, other_target.masks)
    assert not torch.equal(alone[0][0], alone[1][0])
    assert not torch.equal(alone[0][0], crops(seed=4)[0][0])


def test_drawing_a_crop_leaves_the_global_generator_alone() -> None:
    dataset = crops()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    dataset[0]
    assert torch.equal(torch.rand(3), expected)


def test_sources_are_drawn_by_weight() -> None:
    class Flat:
        def __init__(self, value: int) -> None:
            self.value = value

        def draw(self, rng: np.random.Generator, *, size: int, gsd: float, smallest: int) -> Sample:
            return Sample(np.full((size, size, 3), self.value, np.uint8), np.zeros((0, size, size), bool))

    dataset = MixedCrops([(Flat(10), 3.0), (Flat(200), 1.0), (Flat(90), 0.0)], length=400, size=8, colour=0.0)
    values = [dataset[index][0].mean().item() for index in range(400)]
    assert set(values) == {10.0, 200.0}
    assert 0.65 < values.count(10.0) / 400 < 0.85
    with pytest.raises(ArgumentError, match="weights"):
        MixedCrops([(Flat(1), 0.0)], length=1)


def test_an_empty_crop_has_an_empty_target() -> None:
    target = target_of_masks(torch.zeros((0, 8, 8), dtype=torch.bool))
    assert target.boxes.shape == (0, 4) and target.labels.shape == (0,)


def test_crowds_are_left_out_of_targets() -> None:
    masks = np.ones((2, 4, 4), dtype=bool)
    _, target = to_tensors(Sample(np.zeros((4, 4, 3), np.uint8), masks, crowd=np.array([False, True])))
    assert len(target) == 1


def test_labels_come_apart_into_masks() -> None:
    labels = np.array([[0, 3, 3], [5, 3, 0]])
    assert masks_of_labels(labels).sum(axis=(1, 2)).tolist() == [3, 1]
    assert masks_of_labels(labels, smallest=2).shape == (1, 2, 3)
    assert masks_of_labels(np.zeros((2, 2), int)).shape == (0, 2, 2)


def test_a_cached_town_is_the_painted_town(tmp_path: Path) -> None:
    painted = SyntheticSource(3, size=96, cache=tmp_path, in_memory=1)
    first = painted.scene(1)
    assert len(list(tmp_path.iterdir())) == 1 and not list(tmp_path.glob("*.part"))
    stored = SyntheticSource(3, size=96, cache=tmp_path).scene(1)
    assert np.array_equal(first.image, stored.image) and first.gsd == stored.gsd
    assert all(a.equals(b) for a, b in zip(first.footprints, stored.footprints, strict=True))


def test_an_unknown_style_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match="atlantis"):
        SyntheticSource(1, styles={"atlantis": 1.0})
