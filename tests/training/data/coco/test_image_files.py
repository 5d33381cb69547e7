"""Files of images that are missing, broken, or not what the annotation file says: repaired and counted, or refused by name."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.errors import ArgumentError
from tests.training.data.coco.coco_folder import SQUARE, repaired, square, write_folder
from training.data.coco.folder import CocoFolder
from training.data.coco.image_files import FORMATS, look_at_file, open_image

MANY = [f"{number:02}.png" for number in range(20)]


def write_many(folder: Path) -> Path:
    """Twenty images, so that one is no more than a tenth of them."""
    return write_folder(folder, [{"segmentation": [SQUARE], "image_id": 7 + n} for n in range(20)], names=MANY)


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def overwrite(path: Path) -> None:
    path.write_text("no picture")


def disguise(path: Path) -> None:
    Image.new("RGB", (20, 16)).save(path, "GIF")


def resize(path: Path) -> None:
    Image.new("RGB", (10, 8)).save(path)


def deepen(path: Path) -> None:
    Image.fromarray(np.full((16, 20), 3000, dtype=np.uint16)).save(path)


BROKEN = pytest.mark.parametrize(
    ("spoil", "words", "fault"),
    [
        (remove, "is not there", "is not there; left out"),
        (truncate, "cannot be read", "no picture of 8 bit values"),
        (overwrite, "no picture", "no picture of 8 bit values"),
        (disguise, "known kind", "no picture of 8 bit values"),
        (resize, "10x8", "of another size"),
        (deepen, "8 bit", "no picture of 8 bit values"),
    ],
)


@BROKEN
def test_a_few_images_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path, spoil: Any, words: str, fault: str) -> None:
    spoil(write_many(tmp_path) / "images" / "03.png")
    folder = CocoFolder(tmp_path)
    assert len(folder) == 19 and repaired(folder.repairs, fault) == 1
    assert [folder.image(index).id for index in range(19)] == [7 + n for n in range(20) if n != 3]
    assert all(len(sample.masks) == 1 for sample in folder)


@BROKEN
def test_a_validation_set_has_to_be_complete(tmp_path: Path, spoil: Any, words: str, fault: str) -> None:
    spoil(write_many(tmp_path) / "images" / "03.png")
    with pytest.raises(ArgumentError, match=rf"1 of the 20 images.*03.png \(id 10\).*{words}"):
        CocoFolder(tmp_path, complete=True)


def test_many_images_that_cannot_be_used_are_no_accident(tmp_path: Path) -> None:
    folder = write_many(tmp_path)
    for name in MANY[5:8]:
        remove(folder / "images" / name)
    with pytest.raises(ArgumentError, match=r"3 of the 20 images.*05.png \(id 12\)"):
        CocoFolder(folder)


def test_a_truncated_jpeg_is_found_before_it_is_needed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[:-50])
    (tmp_path / "more.jpg").write_bytes(content + bytes(200))  # some programs write more than the picture
    assert look_at_file(tmp_path / "whole.jpg").fault == look_at_file(tmp_path / "more.jpg").fault == ""
    assert "cannot be read" in look_at_file(tmp_path / "cut.jpg").words


@pytest.mark.parametrize(("mode", "words"), [("L", "grey"), ("P", "grey"), ("RGBA", "transparency"), ("LA", "transparency")])
def test_other_pictures_become_red_green_and_blue(tmp_path: Path, mode: str, words: str) -> None:
    path = write_folder(tmp_path, [{"segmentation": [SQUARE]}]) / "images" / "one.png"
    grey = Image.fromarray(np.arange(320, dtype=np.uint16).reshape(16, 20).astype(np.uint8))
    grey.convert(mode).save(path)
    folder = CocoFolder(tmp_path)
    assert np.array_equal(folder[0].image, np.repeat(np.asarray(grey)[..., None], 3, axis=2))
    assert repaired(folder.repairs, words) == 1


def rewrite(folder: Path, **changes: Any) -> Path:
    """Change the first image's entry."""
    file = folder / "annotation.json"
    content = json.loads(file.read_text())
    content["images"][0].update(changes)
    file.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("size", [{"width": 0, "height": 0}, {"width": None}, {"height": 0}])
def test_a_size_that_is_not_told_is_measured(tmp_path: Path, size: dict[str, Any]) -> None:
    folder = CocoFolder(rewrite(write_folder(tmp_path, [{"segmentation": [SQUARE]}]), **size))
    assert folder[0].masks.shape == (1, 16, 20) and repaired(folder.repairs, "has no size") == 1


def test_swapped_sides_are_mended_where_outlines_fit_the_picture_alone(tmp_path: Path) -> None:
    def swapped(name: str, outlines: list[list[float]]) -> CocoFolder:
        folder = write_folder(tmp_path / name, [{"segmentation": [outline]} for outline in outlines])
        return CocoFolder(rewrite(folder, width=16, height=20))

    folder = swapped("wide", [square(15, 3, 4)])
    assert folder[0].masks[0, 3:7, 15:19].all() and repaired(folder.repairs, "other way round") == 1
    assert len(swapped("empty", [])[0].masks) == 0
    for name, outline in (("high", square(3, 15, 4)), ("neither", square(3, 3, 4))):  # a picture that was turned, perhaps
        with pytest.raises(ArgumentError, match="20x16 pixels, its annotation says 16x20"):
            swapped(name, [outline])


def test_a_size_that_is_not_told_has_to_hold_the_outlines(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [{"segmentation": [square(30, 3, 4)]}])
    with pytest.raises(ArgumentError, match=r"one\.png \(id 7\)"):
        CocoFolder(rewrite(folder, width=0, height=0))


def test_images_that_are_left_out_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    remove(write_many(tmp_path) / "images" / "03.png")
    CocoFolder(tmp_path)
    assert "03.png (id 10) is left out: it is not there." in caplog.text


def test_an_image_listed_twice_is_taken_once(tmp_path: Path) -> None:
    entry = {"id": 7, "file_name": "one.png", "width": 20, "height": 16}
    folder = CocoFolder(write_folder(tmp_path, [{"segmentation": [SQUARE]}], images=[entry, entry]))
    assert len(folder) == 1 and len(folder[0].masks) == 1 and repaired(folder.repairs, "listed twice") == 1


def test_a_file_under_two_ids_gathers_the_annotations_of_both(tmp_path: Path) -> None:
    images = [{"id": identity, "file_name": "one.png", "width": 20, "height": 16} for identity in (7, 8)]
    annotations = [{"segmentation": [SQUARE]}, {"segmentation": [square(9, 9, 5)], "image_id": 8}]
    folder = CocoFolder(write_folder(tmp_path, annotations, images=images))
    assert len(folder) == 1 and len(folder[0].masks) == 2 and repaired(folder.repairs, "two ids") == 1


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": name, "width": 20, "height": 16} for name in ("one.png", "two.png")]
    with pytest.raises(ArgumentError, match=r"two\.png \(id 7\) and one\.png"):
        CocoFolder(write_folder(tmp_path, [], images=images))


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_of_a_data_set_is_opened_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (20, 16)).save(tmp_path / "image", name)
    with open_image(tmp_path / "image") as image:
        assert (image.format, image.size) == (name, (20, 16))


def test_pillow_guesses_no_format_of_a_file_anywhere(project: Path) -> None:
    """Crafted files of rare formats have written out of bounds in Pillow (CVE-2026-25990 with PSD): each call names its own."""
    calls = [
        (f"{path.relative_to(project)}:{node.lineno}", {keyword.arg for keyword in node.keywords})
        for package in ("engine", "training")
        for path in sorted((project / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open")
    ]
    assert calls
    assert [place for place, keywords in calls if "formats" not in keywords] == []
