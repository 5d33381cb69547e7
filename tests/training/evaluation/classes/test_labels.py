"""Which label stands for which class."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import ArgumentError
from training.evaluation.classes.labels import NOTHING, Classes, read_class_names


def test_labels_become_numbers_of_classes():
    classes = Classes({"water": 10, "Forest": 3, "cloud": 4}, ignored=("Cloud", "200"))
    assert classes.names == ("water", "Forest")
    assert classes.numbers_of(np.array([[3, 10], [4, 200]]), where="x").tolist() == [[1, 0], [NOTHING, NOTHING]]
    assert [classes.number_of(name, where="x") for name in ("WATER", "forest", "cloud", "3")] == [0, 1, NOTHING, 1]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "int64"])
def test_a_label_of_no_class_is_named(dtype):
    for label in (7, 100, -1, np.iinfo(dtype).max):
        labels = np.array([0, label], dtype=np.int64).astype(dtype)
        if labels[1] != label:
            continue
        with pytest.raises(ArgumentError, match=rf"x\.png has the label {label}, which is none of the 2 classes \(a, b\)"):
            Classes({"a": 0, "b": 1}, ignored=()).numbers_of(labels, where="x.png")


def test_without_names_each_label_of_8_bits_but_255_is_a_class():
    classes = Classes()
    assert classes.numbers_of(np.arange(256), where="x").tolist() == [*range(255), NOTHING]
    with pytest.raises(ArgumentError, match=r"the label 256, which is none of the labels 0 to 255\. Name its class"):
        classes.numbers_of(np.array([256]), where="x")


def test_another_file_has_other_labels_for_the_same_classes():
    classes = Classes({"water": 0, "forest": 1})
    other = classes.relabelled({"Forest": 0, "water": 9}, where="b.tif")
    assert other.numbers_of(np.array([0, 9, 255]), where="x").tolist() == [1, 0, NOTHING]
    with pytest.raises(ArgumentError, match="has the label 1"):
        other.numbers_of(np.array([1]), where="x")
    with pytest.raises(ArgumentError, match=r"b\.tif has the class 'town', which is none of the 2 classes"):
        classes.relabelled({"town": 3}, where="b.tif")


def test_names_come_from_a_list_or_a_file(tmp_path):
    assert read_class_names(" road, car ,") == {"road": 0, "car": 1}
    assert read_class_names("road") == {"road": 0}
    path = tmp_path / "names.txt"
    path.write_text("﻿road\n\ntree, low\n", encoding="utf-8")
    assert read_class_names(str(path)) == {"road": 0, "tree, low": 1}
    with pytest.raises(ArgumentError, match="'Road' is named twice"):
        read_class_names("road,Road")
    with pytest.raises(ArgumentError, match=r"none\.txt cannot be read"):
        read_class_names(str(tmp_path / "none.txt"))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArgumentError, match=r"names\.txt cannot be read"):
        read_class_names(str(path))
    with pytest.raises(ArgumentError, match="No class is left"):
        Classes({"a": 0}, ignored=("a",))
    with pytest.raises(ArgumentError, match="at most 4096"):
        Classes({str(number): number for number in range(5000)})
