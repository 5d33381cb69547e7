"""Folders of label pictures: layouts of ADE20K and Cityscapes, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import ArgumentError
from training.evaluation.classes.evaluation import evaluate_classes


def write_labels(path: Path, labels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels)
    (picture if mode is None else picture.convert(mode)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Two scenes in towns of their own, with three classes and ignored ground."""
    rng = np.random.default_rng(2)
    truth, found = [], []
    for town in ("aachen", "bern"):
        labels = rng.choice([0, 1, 2, 255], (12, 17)).astype(np.uint8)
        shown = np.where(rng.random(labels.shape) < 0.7, labels, 1).astype(np.uint8)
        write_labels(tmp_path / "truth" / town / f"{town}_000.png", labels)
        write_labels(tmp_path / "found" / town / f"{town}_000.png", shown)
        truth.append(labels)
        found.append(shown)
    return tmp_path / "found", tmp_path / "truth", np.stack(found), np.stack(truth)


def test_pictures_of_one_name_are_compared_and_255_is_ignored(folders):
    found, truth, shown, labels = folders
    evaluation = evaluate_classes(found, truth)
    expected = [[((labels == t) & (shown == p)).sum() for p in (0, 1, 2, 255)] for t in (0, 1, 2)]
    assert evaluation.matrix.names == ("0", "1", "2")
    assert evaluation.matrix.counts.tolist() == expected
    assert (evaluation.kind, evaluation.pictures) == ("pictures", 2)


def test_named_classes_stay_though_they_do_not_occur(folders):
    assert evaluate_classes(*folders[:2], classes="road,car,tree,sky").matrix.names == ("road", "car", "tree", "sky")
    with pytest.raises(ArgumentError, match=r"aachen_000\.png has the label 2, which is none of the 2 classes \(road, car\)"):
        evaluate_classes(*folders[:2], classes="road,car")
    part = evaluate_classes(*folders[:2], classes="road,car,tree", ignore=["tree", "255"])
    assert part.matrix.names == ("road", "car")
    assert part.matrix.counts.sum() == (folders[3] < 2).sum()


def test_names_may_end_otherwise(folders):
    found, truth, *_ = folders
    for path in [*truth.rglob("*.png")]:
        path.rename(path.with_name(path.name.replace(".png", "_gtFine_labelTrainIds.png")))
        write_labels(path.with_name(path.name.replace(".png", "_gtFine_color.png")), np.zeros((2, 2, 3), np.uint8))
    evaluation = evaluate_classes(found, truth, truth_suffix="_gtFine_labelTrainIds.png")
    assert evaluation.pictures == 2
    with pytest.raises(ArgumentError, match="no file whose name ends with '_x'"):
        evaluate_classes(found, truth, truth_suffix="_x")


def test_labels_that_begin_at_1_are_shifted(folders):
    found, truth, *_ = folders
    expected = evaluate_classes(found, truth).matrix.counts
    for number, path in enumerate(sorted(truth.rglob("*.png"))):
        labels = np.asarray(Image.open(path))
        other = np.where(labels == 255, 0 if number else 255, labels + 1).astype(np.uint8)  # 0 and 255 are both ignored
        write_labels(path, other)
    assert (evaluate_classes(found, truth, reduce_zero_label=True).matrix.counts == expected).all()


def test_palettes_and_16_bits_are_labels_too(folders):
    found, truth, *_ = folders
    expected = evaluate_classes(found, truth).matrix.counts
    for path, mode in zip(sorted(found.rglob("*.png")), ("P", "I;16"), strict=True):
        labels = np.asarray(Image.open(path))
        if mode == "P":
            picture = Image.fromarray(labels)
            picture.putpalette([value for number in range(256) for value in (255 - number, number, 0)])
            picture.save(path)
        else:
            write_labels(path, labels.astype(np.uint16))
        with Image.open(path) as written:
            assert written.mode == mode
    assert (evaluate_classes(found, truth).matrix.counts == expected).all()


def test_what_is_wrong_is_said_in_one_sentence(folders):
    found, truth, *_ = folders
    path = found / "bern" / "bern_000.png"
    whole = path.read_bytes()
    write_labels(path, np.zeros((3, 4), np.uint8))
    with pytest.raises(ArgumentError, match=r"bern_000\.png is 4x3 pixels, .*bern_000\.png 17x12"):
        evaluate_classes(found, truth)
    write_labels(path, np.zeros((12, 17, 3), np.uint8))
    with pytest.raises(ArgumentError, match="it is a PNG of RGB values, which are no labels"):
        evaluate_classes(found, truth)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArgumentError, match=r"bern_000\.png cannot be read"):
        evaluate_classes(found, truth)
    path.unlink()
    with pytest.raises(ArgumentError, match=r"no prediction .*bern_000\.png for .*bern_000\.png"):
        evaluate_classes(found, truth)
    with pytest.raises(ArgumentError, match="--aoi belongs to rasters"):
        evaluate_classes(found, truth, aoi="a.gpkg")
    with pytest.raises(ArgumentError, match="is no folder"):
        evaluate_classes(found, found / "aachen" / "aachen_000.png")
