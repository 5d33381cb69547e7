"""What people see of a model before they choose it."""

from __future__ import annotations

import json

import pytest

from qgis_maskdino.backend.model_card import read_model_card
from qgis_maskdino.backend.model_choice import DEFAULT


@pytest.fixture
def model_file(tmp_path):
    def write(header: bytes, *, length: int | None = None) -> str:
        path = tmp_path / "model.safetensors"
        path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + b"\0" * 64)
        return str(path)

    return write


def test_the_model_that_comes_with_the_plugin_says_what_it_is():
    card = read_model_card(DEFAULT)
    assert card.gsd == 0.3
    assert any("Trained on: Banepa (Nepal)" in line for line in card.lines())
    assert "0.3 m/px" in card.lines()


def test_a_model_without_a_resolution_takes_any(model_file):
    document = json.dumps({"gsd": None, "training": None})
    card = read_model_card(model_file(json.dumps({"__metadata__": {"maskdino": document}}).encode()))
    assert card.lines() == ["any resolution"]


def test_a_model_of_several_classes_says_so(model_file):
    names = [f"class {number}" for number in range(80)]
    for classes, line in ((["car", "truck"], "2 classes: car, truck"), (names, f"80 classes: {', '.join(names[:8])} …")):
        document = json.dumps({"gsd": 0.3, "classes": classes})
        card = read_model_card(model_file(json.dumps({"__metadata__": {"maskdino": document}}).encode()))
        assert card.classes == tuple(classes)
        assert line in card.lines()
    assert read_model_card(DEFAULT).classes == ("building",)
    assert not any("classes" in line for line in read_model_card(DEFAULT).lines())


@pytest.mark.parametrize(
    "header", [b"", b"{}", b"[]", b"\xff\xfe", b'{"__metadata__": {"maskdino": "[1]"}}', b'{"__metadata__": 1}']
)
def test_a_file_that_is_no_model_of_ours_says_nothing(model_file, header):
    assert read_model_card(model_file(header)) is None


def test_a_header_that_claims_to_be_huge_is_not_believed(model_file):
    assert read_model_card(model_file(b"{}", length=2**60)) is None


def test_a_model_that_is_not_there_says_nothing(tmp_path):
    assert read_model_card(str(tmp_path / "gone.safetensors")) is None
    assert read_model_card("no such name") is None
