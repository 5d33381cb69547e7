"""What comes out of the training data set fits together, and depends on seed and index alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import torch
from torch.utils.data import DataLoader

from engine.errors import ArgumentError
from tests.training.data.coco.coco_folder import square, write_folder
from training.data.augmentation_config import AugmentationConfig
from training.data.batch import collate
from training.data.coco.folder import CocoFolder
from training.data.crop import Crop
from training.data.dataset import TrainingCrops
from training.data.scenes.scene import Scene
from training.data.sources import ImageSource, SceneSource, SyntheticSource
from training.losses.target import Target

SENSOR = {"dark": 0.5, "haze": 0.5, "stretch": 0.5, "coarse": 0.5, "jpeg": 0.5, "noise": 0.5}
MIXED = {"lean": 0.4, "copy_paste": 0.4, "mosaic": 0.4, "mixup": 0.4, "sparse": 0.4}
EVERYTHING = AugmentationConfig(scale=(0.3, 2.0), colour=1.0, perspective=0.5, **SENSOR, **MIXED)
PLAIN = AugmentationConfig(orientations="none", scale=(1.0, 1.0), colour=0.0)


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


def crops(augmentation: AugmentationConfig = EVERYTHING, **keywords: Any) -> TrainingCrops:
    settings = {"length": 40, "size": 96, "seed": 3, "augmentation": augmentation, **keywords}
    return TrainingCrops([(SceneSource([white_houses()], gsd=0.3), 1.0)], **settings)


def images_in_turn(folder: Path, count: int, augmentation: AugmentationConfig | None = None, **keywords: Any) -> TrainingCrops:
    """Images of one colour each: 10, 20, 30 and so on."""
    path = write_folder(folder, [], names=[f"{n}.png" for n in range(count)])
    source = ImageSource(CocoFolder(path))
    source.images.pixels = lambda index: np.full((16, 20, 3), 10 * (index + 1), np.uint8)
    return TrainingCrops([(source, 1.0)], length=None, size=8, augmentation=augmentation or PLAIN, **keywords)


def same(first: Target, second: Target) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("labels", "boxes", "masks"))


def test_a_crop_is_an_image_and_a_target_that_agree() -> None:
    dataset = crops()
    for index in range(24):
        image, target = dataset[index]
        assert type(image) is torch.Tensor and image.dtype == torch.uint8 and image.shape == (3, 96, 96)
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


@pytest.mark.parametrize("change", [{}, {"scale": (0.5, 2.0)}, {"perspective": 1.0}, {"mosaic": 1.0}, {"copy_paste": 1.0}])
def test_masks_move_with_the_picture(change: dict[str, Any]) -> None:
    dataset = crops(AugmentationConfig(colour=0.0, **change))
    for index in range(20):
        image, target = dataset[index]
        painted = image[0] > 127
        # Houses of fewer than twelve pixels are painted and not annotated; a border pixel is grey.
        assert (painted != target.masks.any(0)).float().mean() < 0.035


def test_crops_do_not_depend_on_workers_or_on_order() -> None:
    dataset = crops(length=6)
    alone = [dataset[index] for index in reversed(range(6))][::-1]
    torch.manual_seed(123)
    loaded = [
        item
        for batch in DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate)
        for item in zip(batch.images, batch.targets, strict=True)
    ]
    for (image, target), (other, other_target) in zip(alone, loaded, strict=True):
        assert torch.equal(image, other) and same(target, other_target)
    assert not torch.equal(alone[0][0], alone[1][0])
    assert not torch.equal(alone[0][0], crops(seed=4)[0][0])


@pytest.mark.slow
def test_workers_that_share_no_memory_by_birth_give_the_same_crops(tmp_path: Path) -> None:
    rings = [{"segmentation": [square(3 * n, n, 5)], "image_id": 7 + n % 3} for n in range(6)]
    source = ImageSource(CocoFolder(write_folder(tmp_path, rings, names=["a.png", "b.png", "c.png"])))
    scenes = SceneSource([white_houses()], gsd=0.3)
    dataset = TrainingCrops([(source, 1.0), (scenes, 1.0)], length=8, size=32, augmentation=EVERYTHING, smallest=1)
    alone = [dataset[index] for index in range(8)]
    loader = DataLoader(dataset, batch_size=4, num_workers=1, collate_fn=collate, multiprocessing_context="spawn")
    loaded = [item for batch in loader for item in zip(batch.images, batch.targets, strict=True)]
    assert sum(len(target) for _, target in alone) > 0
    for (image, target), (other, other_target) in zip(alone, loaded, strict=True):
        assert torch.equal(image, other) and same(target, other_target)


def test_drawing_a_crop_leaves_the_global_generator_alone() -> None:
    dataset = crops()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    dataset[0]
    assert torch.equal(torch.rand(3), expected)


class Flat:
    """A source of one colour."""

    def __init__(self, value: int) -> None:
        self.value = value

    def draw(self, rng: np.random.Generator, *, size: int, scale: float, fill: int, sparse: bool = False) -> Crop:
        empty = np.zeros((1, size, size), np.int32), np.zeros(0, np.int64)
        return Crop(np.full((size, size, 3), self.value, np.uint8), *empty)


def test_sources_are_drawn_by_weight() -> None:
    dataset = TrainingCrops([(Flat(10), 3.0), (Flat(200), 1.0), (Flat(90), 0.0)], length=200, size=8, augmentation=PLAIN)
    values = [dataset[index][0].float().mean().item() for index in range(200)]
    assert set(values) == {10.0, 200.0}
    assert 0.65 < values.count(10.0) / 200 < 0.85
    with pytest.raises(ArgumentError, match="weights"):
        TrainingCrops([(Flat(1), 0.0)], length=1, size=8, augmentation=PLAIN)


def test_each_epoch_takes_each_image_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    dataset = images_in_turn(tmp_path, 7)
    assert len(dataset) == 7
    epochs = [[int(dataset[7 * epoch + place][0].max()) for place in range(7)] for epoch in range(3)]
    assert all(sorted(epoch) == [10, 20, 30, 40, 50, 60, 70] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    again = images_in_turn(tmp_path / "again", 7)
    assert [int(again[7 + place][0].max()) for place in reversed(range(7))][::-1] == epochs[1]


def test_an_image_has_its_turn_in_a_mosaic_too(tmp_path: Path) -> None:
    dataset = images_in_turn(tmp_path, 7, PLAIN.model_copy(update={"mosaic": 1.0}))
    corners = [int(dataset[place][0][0, 0, 0]) for place in range(14)]  # the first piece lies at the top left
    assert sorted(corners[:7]) == sorted(corners[7:]) == [10, 20, 30, 40, 50, 60, 70]


def test_crops_go_on_beyond_an_epoch_and_do_not_begin_before_it() -> None:
    dataset = crops(PLAIN, length=3)
    assert not torch.equal(dataset[0][0], dataset[3][0]) and dataset[10**12][0].shape == (3, 96, 96)
    with pytest.raises(IndexError):
        dataset[-1]


@pytest.mark.parametrize(
    "change", [{}, {"mosaic": 1.0, "mixup": 1.0, "perspective": 1.0}, dict.fromkeys([*SENSOR, *MIXED], 1.0)]
)
def test_images_without_instances_go_through_every_change(change: dict[str, Any]) -> None:
    dataset = TrainingCrops([(Flat(100), 1.0)], length=4, size=32, augmentation=AugmentationConfig(**change))
    image, target = dataset[0]
    assert image.shape == (3, 32, 32) and target.masks.shape == (0, 32, 32)


def test_a_thousand_instances_are_kept(tmp_path: Path) -> None:
    rings = [{"segmentation": [square(4 * (n % 32), 4 * (n // 32), 3)]} for n in range(1024)]
    source = ImageSource(CocoFolder(write_folder(tmp_path, rings, size=(128, 128))))
    _, target = TrainingCrops([(source, 1.0)], length=1, size=128, augmentation=PLAIN, smallest=9)[0]
    assert len(target) == 1024 and target.masks.sum() == 1024 * 9


def test_a_cached_town_is_the_painted_town(tmp_path: Path) -> None:
    painted = SyntheticSource(3, gsd=0.3, size=96, cache=tmp_path, in_memory=1)
    first = painted.scene(1)
    assert len(list(tmp_path.iterdir())) == 1 and not list(tmp_path.glob("*.part"))
    stored = SyntheticSource(3, gsd=0.3, size=96, cache=tmp_path).scene(1)
    assert np.array_equal(first.image, stored.image) and first.gsd == stored.gsd
    assert all(a.equals(b) for a, b in zip(first.footprints, stored.footprints, strict=True))


def test_an_unknown_style_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match="atlantis"):
        SyntheticSource(1, gsd=0.3, styles={"atlantis": 1.0})


def test_each_source_has_its_own_range_of_scales() -> None:
    class Scaled(Flat):
        def draw(self, rng: np.random.Generator, *, size: int, scale: float, fill: int, sparse: bool = False) -> Crop:
            self.value = round(100 * scale)
            return super().draw(rng, size=size, scale=scale, fill=fill)

    sources, plain = [(Scaled(0), 1.0), (Scaled(0), 1.0)], PLAIN.model_copy(update={"scale": (1.5, 2.0)})
    dataset = TrainingCrops(sources, length=40, size=8, augmentation=plain, scales=[(0.2, 0.4), None])
    values = [dataset[index][0].max().item() / 100 for index in range(40)]
    assert all(0.2 <= value <= 0.4 or 1.5 <= value <= 2.0 for value in values)
    assert 5 < sum(value < 1 for value in values) < 35


def test_ground_that_is_not_labelled_travels_as_a_region() -> None:
    house, block, unlabelled = shapely.box(10, 10, 40, 40), shapely.box(50, 10, 90, 50), shapely.box(0, 60, 100, 100)
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    footprints, regions = np.array([house, block], dtype=object), np.array([unlabelled], dtype=object)
    scene = Scene(image, footprints, 0.3, merged=np.array([False, True]), ignored=regions)
    source = SceneSource([scene], gsd=0.3, turned=False)
    _, target = TrainingCrops([(source, 1.0)], length=1, size=100, augmentation=PLAIN)[0]
    assert target.masks.sum(dim=(1, 2)).tolist() == [30 * 30]
    assert target.merged.sum() == 40 * 40 and target.merged[10:50, 50:90].all()
    assert target.ignored.sum() == 40 * 40 + 100 * 40 and target.ignored[60:].all()
    turned = AugmentationConfig(scale=(1.0, 1.0), perspective=0.5, copy_paste=0.5, lean=0.5)
    for index in range(12):
        image, target = TrainingCrops([(source, 1.0)], length=12, size=100, augmentation=turned)[index]
        assert not (target.masks.any(0) & target.ignored).any() and (target.ignored | ~target.merged).all()


def test_sparse_crops_show_fewer_buildings() -> None:
    town = white_houses()
    town_and_fields = Scene(np.pad(town.image, ((0, 0), (0, 300), (0, 0))), town.footprints, 0.3)
    counts = []
    for share in (0.0, 1.0):
        plain = PLAIN.model_copy(update={"sparse": share})
        dataset = TrainingCrops([(SceneSource([town_and_fields], gsd=0.3), 1.0)], length=30, size=96, augmentation=plain)
        counts.append([len(dataset[index][1]) for index in range(30)])
    assert np.mean(np.array(counts[1]) == 0) > 0.8 > np.mean(np.array(counts[0]) == 0)
