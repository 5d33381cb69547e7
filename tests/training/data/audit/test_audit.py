"""An audit finds every planted fault and no other, and what it writes has none left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.commands import answer
from engine.errors import ArgumentError, CancelledError, OutputError
from engine.job import Job
from training.data.audit.audit import audit_dataset
from training.data.audit.clean import write_clean
from training.data.audit.report import as_html, as_json, summary_lines
from training.data.coco import stream
from training.data.coco.folder import CocoFolder
from training.data.coco.image_files import look_at_file

SQUARE = [2.0, 3.0, 12.0, 3.0, 12.0, 8.0, 2.0, 8.0]
SOUND = {"segmentation": [SQUARE], "bbox": [2.0, 3.0, 10.0, 5.0], "area": 50.0}
SIDE = 40


def picture(number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    coarse = sum(np.kron(rng.normal(0, 30, (SIDE // s, SIDE // s)), np.ones((s, s))) for s in (1, 2, 5, 10))
    return Image.fromarray(np.clip(coarse + 120, 0, 255).astype(np.uint8)).convert("RGB")


def write_split(folder: Path, pictures: dict[str, Image.Image], annotations: list[Any], **changes: Any) -> Path:
    (folder / "images").mkdir(parents=True)
    for name, image in pictures.items():
        image.save(folder / "images" / name)
    images = [{"id": n, "file_name": name, "width": SIDE, "height": SIDE} for n, name in enumerate(pictures, start=1)]
    filled = [{"id": n, "image_id": 1, "category_id": 100, "iscrowd": 0, **a} if isinstance(a, dict) else a
              for n, a in enumerate(annotations)]  # fmt: skip
    content = {"categories": [{"id": 100, "name": "building"}], "images": images, "annotations": filled, **changes}
    (folder / "annotation.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("annotation", "faults", "left"),
    [
        (SOUND, [], SOUND),
        (None, ["no_image"], None),
        ("square", ["no_image"], None),
        ({**SOUND, "image_id": 9}, ["no_image"], None),
        ({**SOUND, "image_id": [1]}, ["no_image"], None),
        ({**SOUND, "category_id": 5}, ["unknown_category"], None),
        ({**SOUND, "category_id": [1]}, ["unknown_category"], None),
        ({**SOUND, "category_id": {"id": 100}}, ["unknown_category"], None),
        ({**SOUND, "segmentation": []}, ["no_outline"], None),
        ({**SOUND, "segmentation": [[]]}, ["no_outline"], None),
        ({**SOUND, "segmentation": None}, ["no_outline"], None),
        ({**SOUND, "segmentation": "square"}, ["malformed"], None),
        ({**SOUND, "segmentation": [[1.0, 2.0, 3.0, 4.0]]}, ["malformed"], None),
        ({**SOUND, "segmentation": [[1.0, 2.0, float("nan"), 4.0, 5.0, 9.0]]}, ["malformed"], None),
        ({**SOUND, "segmentation": [SQUARE, [1.0]]}, ["malformed_ring"], SOUND),
        ({**SOUND, "segmentation": {"size": [9, 9], "counts": [0, 81]}}, ["malformed"], None),
        ({**SOUND, "segmentation": {"size": [SIDE, SIDE], "counts": [0, 81]}}, ["malformed"], None),
        ({**SOUND, "segmentation": {"size": [SIDE, SIDE], "counts": [SIDE * SIDE]}}, ["no_area"], None),
        ({**SOUND, "segmentation": [[1.0, 1.0, 9.0, 1.0, 5.0, 1.0]]}, ["no_area"], None),
        ({**SOUND, "segmentation": [[51.0, 1.0, 59.0, 1.0, 55.0, 9.0]]}, ["outside"], None),
        ({**SOUND, "bbox": [3.0, 2.0, 5.0, 10.0]}, ["wrong_box"], SOUND),
        ({**SOUND, "bbox": None}, ["wrong_box"], SOUND),
        ({**SOUND, "bbox": [2.0, 3.0, 12.0, 8.0]}, ["wrong_box"], SOUND),
        ({**SOUND, "area": 100.0}, ["wrong_area"], SOUND),
        ({**SOUND, "area": "large"}, ["wrong_area"], SOUND),
        (
            {"segmentation": [[2.0, 2.0, 4.0, 2.0, 4.0, 4.0, 2.0, 4.0]], "bbox": [2, 2, 2, 2], "area": 4},
            ["tiny"],
            {"segmentation": [[2.0, 2.0, 4.0, 2.0, 4.0, 4.0, 2.0, 4.0]], "bbox": [2, 2, 2, 2], "area": 4},
        ),
        (
            {"segmentation": [[30.0, 3.0, 50.0, 3.0, 50.0, 8.0, 30.0, 8.0]], "bbox": [30, 3, 20, 5], "area": 100},
            ["beyond"],
            {"bbox": [30.0, 3.0, 10.0, 5.0], "area": 50.0},
        ),
        (
            {"segmentation": [[0.0, 0.0, 10.0, 10.0, 10.0, 0.0, 0.0, 10.0]], "bbox": [0, 0, 10, 10], "area": 50},
            ["crossing"],
            {"bbox": [0.0, 0.0, 10.0, 10.0], "area": 50.0},
        ),
    ],
)  # fmt: skip
def test_each_fault_is_called_by_its_name(tmp_path, annotation: dict, faults: list[str], left: dict | None) -> None:
    split = write_split(tmp_path / "set", {"a.png": picture(1)}, [annotation])
    audit = audit_dataset(split, workers=1)
    assert found_in(audit) == dict.fromkeys(faults, 1)
    write_clean(audit, tmp_path / "clean")
    written = json.loads((tmp_path / "clean/annotation.json").read_text())["annotations"]
    assert [entry | left for entry in written] == written if left is not None else not written
    assert CocoFolder(tmp_path / "clean").repairs == {}


def found_in(audit: Any) -> dict[str, int]:
    """Return how often each fault was met in the first split."""
    return {name: found.count for name, found in audit.splits[0].faults.items()}


@pytest.mark.parametrize("annotation", [5, "x", [], {}])
def test_what_is_no_annotation_is_a_fault(tmp_path, annotation: Any) -> None:
    split = write_split(tmp_path / "set", {"a.png": picture(1)}, [])
    content = json.loads((split / "annotation.json").read_text())
    (split / "annotation.json").write_text(
        json.dumps({**content, "annotations": [annotation, {**SOUND, "id": 1, "image_id": 1}]})
    )
    audit = audit_dataset(split, workers=1)
    assert found_in(audit) == {"no_image": 1, "unknown_category": 1} and not audit.splits[0].kept.any()


def test_the_same_outline_twice_is_a_repetition_and_the_same_id_is_not(tmp_path) -> None:
    turned = [*SQUARE[2:], *SQUARE[:2]]
    annotations = [{**SOUND, "id": 7}, {**SOUND, "segmentation": [turned]}, {**SOUND, "id": 7, "image_id": 2}]
    audit = audit_dataset(write_split(tmp_path / "s", {"a.png": picture(1), "b.png": picture(2)}, annotations), workers=1)
    assert found_in(audit) == {"repeated": 1, "duplicate_id": 1} and audit.splits[0].kept.tolist() == [True, False, True]


def test_two_halves_of_a_square_are_no_repetition(tmp_path) -> None:
    """They have the same box, area and perimeter."""
    halves = [[5.0, 5.0, 15.0, 5.0, 15.0, 15.0], [5.0, 5.0, 15.0, 15.0, 5.0, 15.0]]
    annotations = [{"segmentation": [half], "bbox": [5, 5, 10, 10], "area": 50} for half in halves]
    assert found_in(audit_dataset(write_split(tmp_path / "s", {"a.png": picture(1)}, annotations), workers=1)) == {}


def test_run_length_masks_are_measured(tmp_path) -> None:
    counts = [43, 5, SIDE * SIDE - 48]  # five pixels down column 1 from row 3
    mask = {"segmentation": {"size": [SIDE, SIDE], "counts": counts}, "bbox": [0, 0, 1, 1], "area": 5}
    audit = audit_dataset(write_split(tmp_path / "set", {"a.png": picture(1)}, [mask]), workers=1)
    assert found_in(audit) == {"tiny": 1, "wrong_box": 1}
    write_clean(audit, tmp_path / "clean")
    (written,) = json.loads((tmp_path / "clean/annotation.json").read_text())["annotations"]
    assert written["bbox"] == [1, 3, 1, 5] and written["segmentation"] == mask["segmentation"]


@pytest.fixture
def faulty(tmp_path) -> tuple[Path, Path]:
    """A data set with one of each fault of its images, and every way to leak."""
    turned = picture(1).transpose(Image.Transpose.ROTATE_270)
    train = write_split(
        tmp_path / "train",
        {"a.png": picture(0), "b.png": picture(1), "again.jpg": picture(0), "c.png": picture(2), "small.png": picture(3)},
        [
            SOUND,
            {**SOUND, "image_id": 3, "bbox": [1, 1, 1, 1]},
            {
                **SOUND,
                "image_id": 3,
                "segmentation": [[20.0, 20.0, 30.0, 20.0, 30.0, 25.0]],
                "bbox": [20, 20, 10, 5],
                "area": 25,
            },
            {**SOUND, "image_id": 2},
            {**SOUND, "image_id": 4},
            {**SOUND, "image_id": 5},
            {**SOUND, "image_id": 77},
        ],
    )
    content = json.loads((train / "annotation.json").read_text())
    content["images"] += [
        {"id": 6, "file_name": "gone.png", "width": SIDE, "height": SIDE},
        {"id": 1, "file_name": "other.png", "width": SIDE, "height": SIDE},
        {"id": 8, "file_name": "c.png", "width": SIDE, "height": SIDE},
        {"id": 9, "file_name": "c.png"},
    ]
    content["images"][4]["width"] = 50
    (train / "annotation.json").write_text(json.dumps(content))
    val = write_split(tmp_path / "val", {"x.png": turned, "y.png": picture(8)}, [SOUND, {**SOUND, "image_id": 2}])
    return train, val


def test_every_planted_fault_is_found(faulty) -> None:
    audit = audit_dataset(*faulty, workers=1)
    train, val = audit.splits
    assert {kind: fault.count for kind, fault in train.faults.items()} == {
        "missing": 1, "two_files": 1, "file_twice": 2, "wrong_size": 1, "no_image": 1, "wrong_box": 1,
    }  # fmt: skip
    assert not val.faults and val.classes == Counter(building=2)
    assert [(pair.first, pair.second) for pair in audit.pairs] == [(0, 2), (1, 6)]
    assert audit.redundant(0) == 1 and audit.redundant(1) == 0
    assert audit.leaked.tolist() == [6] and audit.place(6) == (1, 0)
    assert train.annotation_counts.tolist() == [1, 1, 2, 1, 1, 0]
    assert [split.path(n).name for split in audit.splits for n in np.flatnonzero(~split.drop)] == [
        "again.jpg", "c.png", "x.png", "y.png",
    ]  # fmt: skip


def test_a_clean_copy_is_clean(faulty, tmp_path) -> None:
    written = write_clean(audit_dataset(*faulty, workers=1), tmp_path / "clean")
    assert [(part.images, part.annotations) for part in written] == [(2, 3), (2, 2)]
    audit = audit_dataset(tmp_path / "clean", workers=1)
    assert not audit.pairs and not any(split.faults or split.drop.any() for split in audit.splits)
    samples = list(CocoFolder(tmp_path / "clean" / "train"))
    assert [(sample.name, len(sample.masks)) for sample in samples] == [("again.jpg", 2), ("c.png", 1)]
    assert (tmp_path / "clean/train/images/c.png").read_bytes() == (faulty[0] / "images/c.png").read_bytes()
    with pytest.raises(OutputError, match="there already"):
        write_clean(audit, tmp_path / "clean")


@pytest.mark.parametrize("broken", [[], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, float("inf")], 5, None, "123456"])
def test_a_clean_copy_keeps_ignored_ground_and_objects_drawn_as_one(tmp_path, broken: Any) -> None:
    rings = [[20.0, 20.0, 30.0, 20.0, 30.0, 30.0], [0.0, 30.0, 10.0, 30.0, 10.0, 40.0]]
    images = [entry | {"ignore": [rings[0], broken, rings[1]]} for entry in entries("a.png")] + entries("a.png", "b.png")[1:]
    block = {**SOUND, "image_id": 1, "merged": 1}
    split = write_split(tmp_path / "set", {"a.png": picture(1), "b.png": picture(2)}, [{**SOUND, "image_id": 0}, block],
                        images=images)  # fmt: skip
    with pytest.raises(ArgumentError, match=r"an image has an ignore polygon .*a\.png \(id 0\)"):
        CocoFolder(split)
    audit = audit_dataset(split, workers=1)
    assert {kind: fault.count for kind, fault in audit.splits[0].faults.items()} == {"malformed_ignore": 1}
    assert "a.png (id 0)" in audit.splits[0].faults["malformed_ignore"].examples[0]
    found = as_json(audit)["splits"][0]
    assert (found["merged"], found["images_with_ignored_ground"], found["crowds"]) == (1, 1, 0)
    assert any("1 annotations that are several" in line and "1 images with ground" in line for line in summary_lines(audit))
    assert "malformed_ignore" in as_html(audit)

    write_clean(audit, tmp_path / "clean")
    again = audit_dataset(tmp_path / "clean", workers=1).splits[0]
    assert not again.faults and (again.merged, again.ignored) == (1, 1)
    first, second = CocoFolder(tmp_path / "clean")
    assert first.crowd.tolist() == [False, True] and second.crowd.tolist() == second.merged.tolist() == [True]
    assert json.loads((tmp_path / "clean/annotation.json").read_text())["images"][0]["ignore"] == rings


@pytest.mark.parametrize("ignore", [7, "x", {"a": 1}, True])
def test_ignored_ground_that_is_no_list_is_a_fault(tmp_path, ignore: Any) -> None:
    split = write_split(tmp_path / "set", {"a.png": picture(1)}, [], images=[entries("a.png")[0] | {"ignore": ignore}])
    audit = audit_dataset(split, workers=1)
    assert audit.splits[0].faults["malformed_ignore"].count == 1 and audit.splits[0].ignored == 0
    write_clean(audit, tmp_path / "clean")
    assert CocoFolder(tmp_path / "clean").image(0).ignore == ()


def test_a_file_outside_the_folder_is_copied_into_it(tmp_path) -> None:
    picture(5).save(tmp_path / "a.png")
    names = [
        {"id": n, "file_name": name, "width": SIDE, "height": SIDE}
        for n, name in enumerate(("a.png", "../../a.png", "s/a.png"))
    ]
    split = write_split(tmp_path / "set", {"a.png": picture(6)}, [], images=names)
    (split / "images" / "s").mkdir()
    picture(7).save(split / "images" / "s" / "a.png")
    write_clean(audit_dataset(split, workers=1, outside_images=True), tmp_path / "clean")
    assert sorted(p.name for p in (tmp_path / "clean/images").iterdir()) == ["a-1.png", "a-2.png", "a.png"]
    assert len(CocoFolder(tmp_path / "clean")) == 3


def entries(*names: str) -> list[dict]:
    return [{"id": n, "file_name": name, "width": SIDE, "height": SIDE} for n, name in enumerate(names)]


def test_files_outside_the_folder_are_not_read_unless_asked_for(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for n, name in enumerate(("secret.png", "elsewhere/a.png", "elsewhere/b.png")):
        picture(10 + n).save(tmp_path / name)
    inside = ("a.png", "../images/b.png", str(tmp_path / "set/images/c.png"))
    outside = ("../../secret.png", str(tmp_path / "elsewhere/a.png"), "link.png", "linked/b.png")
    pictures = {"a.png": picture(6), "b.png": picture(7), "c.png": picture(8)}
    split = write_split(tmp_path / "set", pictures, [], images=entries(*inside, *outside, "a\0b.png"))
    (split / "images/link.png").symlink_to(tmp_path / "secret.png")
    (split / "images/linked").symlink_to(tmp_path / "elsewhere")
    audit = audit_dataset(split, workers=1)
    assert {kind: fault.count for kind, fault in audit.splits[0].faults.items()} == {"outside_folder": 4, "unreadable": 1}
    write_clean(audit, tmp_path / "clean")
    assert sorted(p.name for p in (tmp_path / "clean/images").iterdir()) == ["a.png", "b.png", "c.png"]


def test_images_may_be_a_link_as_a_whole(tmp_path) -> None:
    split = write_split(tmp_path / "set", {"a.png": picture(6)}, [])
    (split / "images").rename(tmp_path / "disk")
    (split / "images").symlink_to(tmp_path / "disk")
    assert not audit_dataset(split, workers=1).splits[0].faults


@settings(max_examples=40)
@given(names=st.lists(st.sampled_from(["a.png", "A.png", "a-1.png", "a-2.png", "a-1-2.png", "x.jpg"]), max_size=8))
def test_a_clean_copy_gives_each_image_a_file_of_its_own(tmp_path_factory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    paths = [f"{n}/{name}" for n, name in enumerate(names)]
    (folder / "set/images").mkdir(parents=True)
    for n, path in enumerate(paths):
        (folder / "set/images" / path).parent.mkdir()
        picture(n).save(folder / "set/images" / path, "PNG")
    content = {"images": entries(*paths), "annotations": [], "categories": []}
    (folder / "set/annotation.json").write_text(json.dumps(content))
    write_clean(audit_dataset(folder / "set", workers=1), folder / "clean")
    copied = json.loads((folder / "clean/annotation.json").read_text())["images"]
    assert len({entry["file_name"].casefold() for entry in copied}) == len(names)
    for entry in copied:
        original = folder / "set/images" / paths[entry["id"]]
        assert (folder / "clean/images" / entry["file_name"]).read_bytes() == original.read_bytes()


def test_what_training_does_not_take_is_flagged(tmp_path) -> None:
    deep = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE))
    split = write_split(
        tmp_path / "set", {"deep.png": deep, "a.png": picture(1)}, [], images=entries("deep.png", "a.png", "pipe")
    )
    os.mkfifo(split / "images/pipe")
    audit = audit_dataset(split, workers=1)
    assert audit.splits[0].faults["unreadable"].examples == [
        f"{name} (id {number}) {look_at_file(split / 'images' / name).words}" for number, name in ((0, "deep.png"), (2, "pipe"))
    ]
    assert audit.splits[0].usable.tolist() == [False, True, False]


def test_images_on_the_same_ground_leak_whatever_they_show(tmp_path) -> None:
    def places(*lefts: float) -> dict:
        entries = [(n, f"{n}.png", [left, 0, left + 10, 10]) for n, left in enumerate(lefts)]
        return {"images": [{"id": n, "file_name": name, "width": SIDE, "height": SIDE, "crs": "EPSG:3857", "bounds": box}
                           for n, name, box in entries]}  # fmt: skip

    train = write_split(tmp_path / "t", {"0.png": picture(0), "1.png": picture(1)}, [], **places(0, 30))
    val = write_split(tmp_path / "v", {"0.png": picture(2), "1.png": picture(3)}, [], **places(10, 35))
    audit = audit_dataset(train, val, workers=1)
    assert audit.shared_ground == [(1, 3, 0.5)] and len(audit.leaked) == 0
    assert [split.drop.tolist() for split in audit.splits] == [[False, True], [False, False]]


def test_the_report_stands_alone(faulty) -> None:
    audit = audit_dataset(*faulty, workers=1)
    page = as_html(audit)
    assert page.count("data:image/jpeg;base64,") == 5 and "http" not in page and "<script" not in page
    assert "turned" in page and "gone.png (id 6) is not there" in page
    found = json.loads(json.dumps(as_json(audit)))
    assert found["leakage"] == {"validation_images": 1, "share": 0.5, "files": ["val/x.png"]}
    assert found["pairs"][1]["first"] == "train/b.png" and found["pairs"][1]["orientation"] == "turned right"
    assert found["splits"][0]["faults"]["wrong_size"]["examples"] == [
        "small.png (id 5) is 40x40 pixels, its annotation says 50x40"
    ]
    assert any("1 of 2 validation images (50.0%)" in line for line in summary_lines(audit))


def test_names_of_files_cannot_write_into_the_report(tmp_path) -> None:
    evil = "<img src=x onerror=alert(1)>.png"
    images = [{"id": 1, "file_name": evil, "width": SIDE, "height": SIDE}]
    assert "<img src=x" not in as_html(audit_dataset(write_split(tmp_path / "s", {}, [], images=images), workers=1))


def test_nothing_at_all_is_audited_too(tmp_path) -> None:
    audit = audit_dataset(write_split(tmp_path / "s", {}, []), write_split(tmp_path / "v", {}, []), workers=1)
    assert audit.pairs == [] and "<html lang" in as_html(audit) and len(write_clean(audit, tmp_path / "clean")) == 2


def test_cancel_ends_it(faulty) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        audit_dataset(*faulty, cancel=cancel)


ITEMS = st.integers() | st.text(max_size=9) | st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=3)
VALUES = st.lists(ITEMS, max_size=6) | st.integers() | st.none() | st.text(max_size=9)


@settings(max_examples=60)
@given(
    content=st.dictionaries(st.text(max_size=5), VALUES, max_size=4),
    chunk=st.integers(1, 50),
    indent=st.sampled_from([None, 1]),
)
def test_a_stream_gives_what_the_whole_file_gives(tmp_path_factory, content: dict, chunk: int, indent: int | None) -> None:
    path = tmp_path_factory.mktemp("stream") / "s.json"
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    expected = []
    for key, value in content.items():
        expected += [(key, stream.BEGINNING), *((key, item) for item in value)] if isinstance(value, list) else [(key, value)]
    before, stream._CHUNK = stream._CHUNK, chunk
    try:
        assert list(stream.walk(path, set(content))) == expected
    finally:
        stream._CHUNK = before


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"images": [1, 2', '{"images": [1 2]}', '{"images"}', "nonsense", '{"a": nul}']
)
def test_a_file_that_breaks_off_is_one_clear_error(tmp_path, content: str) -> None:
    (tmp_path / "annotation.json").write_text(content)
    with pytest.raises(ArgumentError, match=r"annotation\.json cannot be read"):
        audit_dataset(tmp_path)


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "9" * 5000])
def test_values_beyond_all_measure_are_one_clear_error(tmp_path, value: str) -> None:
    (tmp_path / "annotation.json").write_text(f'{{"images": [{value}], "annotations": []}}')
    with pytest.raises(ArgumentError, match=r"annotation\.json cannot be read"):
        audit_dataset(tmp_path)


@pytest.mark.parametrize("width", [10**30, -5, 0, 1.5, float("nan"), "40", None, [40]])
def test_numbers_that_no_picture_has_are_no_size(tmp_path, width: Any) -> None:
    images = [{"id": 1, "file_name": "a.png", "width": width, "height": SIDE}]
    audit = audit_dataset(write_split(tmp_path / "s", {"a.png": picture(1)}, [SOUND], images=images), workers=1)
    assert found_in(audit) == {"no_size": 1}
    write_clean(audit, tmp_path / "clean")
    assert CocoFolder(tmp_path / "clean").repairs == {} and CocoFolder(tmp_path / "clean").image(0).width == SIDE


@pytest.mark.parametrize("content", ["{}", '{"images": []}', '{"annotations": []}'])
def test_a_file_that_is_not_coco_is_refused(tmp_path, content: str) -> None:
    (tmp_path / "annotation.json").write_text(content)
    with pytest.raises(ArgumentError, match="no images or no annotations"):
        audit_dataset(tmp_path)


def test_the_command_writes_all_three(faulty, tmp_path) -> None:
    outputs = "--json", tmp_path / "a.json", "--report", tmp_path / "a.html", "--write", tmp_path / "clean"
    done = subprocess.run(
        [sys.executable, "-m", "engine", "audit-dataset", *map(str, (*faulty, *outputs))], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == ""
    assert "leakage: 1 of 2 validation images" in done.stdout and "2 images with 3 annotations" in done.stdout
    assert json.loads((tmp_path / "a.json").read_text())["leakage"]["files"] == ["val/x.png"]
    assert (tmp_path / "a.html").stat().st_size > 5000 and (tmp_path / "clean/val/annotation.json").is_file()


def test_the_service_answers_with_the_figures(faulty) -> None:
    job = Job(report=lambda progress: None)
    found = answer("audit-dataset", {"train": str(faulty[0]), "val": str(faulty[1])}, job)
    assert found["leakage"]["validation_images"] == 1 and "pairs" not in found
    for arguments in ({}, {"train": "a", "wobble": 1}):
        with pytest.raises(ArgumentError):
            answer("audit-dataset", arguments, job)


def test_an_input_is_never_written_over(faulty, tmp_path) -> None:
    train, val = faulty
    picture(20).save(train / "cover.png")
    content = json.loads((train / "annotation.json").read_text())
    content["images"].append({"id": 50, "file_name": "../cover.png", "width": SIDE, "height": SIDE})
    (train / "annotation.json").write_text(json.dumps(content))
    paths = [
        train / "annotation.json",
        val / "annotation.json",
        train / "images/a.png",
        val / "images/x.png",
        train / "cover.png",
    ]
    before = [path.read_bytes() for path in paths]
    for name in ("json", "report"):
        for path in paths:
            with pytest.raises((ArgumentError, OutputError), match=r"would be lost|would replace a file that is no text"):
                answer(
                    "audit-dataset", {"train": str(train), "val": str(val), name: str(path)}, Job(report=lambda progress: None)
                )
    assert [path.read_bytes() for path in paths] == before


def test_places_where_no_copy_can_be(faulty, tmp_path) -> None:
    (tmp_path / "file").touch()
    for write in (tmp_path / "file", tmp_path / ("n" * 300), tmp_path / "file" / "clean", tmp_path):
        with pytest.raises(OutputError):
            answer("audit-dataset", {"train": str(faulty[0]), "write": str(write)}, Job(report=lambda progress: None))
    (tmp_path / "clean").mkdir()
    with pytest.raises(ArgumentError, match="--write"):
        arguments = {"train": str(faulty[0]), "json": str(tmp_path / "clean/a.json"), "write": str(tmp_path / "clean")}
        answer("audit-dataset", arguments, Job(report=lambda progress: None))


def test_two_copies_to_one_folder_do_not_mix(faulty, tmp_path) -> None:
    audit = audit_dataset(*faulty, workers=1)

    def again(progress) -> None:
        with pytest.raises(OutputError, match="Another run"):
            write_clean(audit, tmp_path / "clean")

    write_clean(audit, tmp_path / "clean", progress=again)
    assert not audit_dataset(tmp_path / "clean", workers=1).splits[0].faults
    assert not list(tmp_path.glob("*maskdino*"))


def test_an_output_without_a_folder_is_said_before_the_work(faulty, tmp_path) -> None:
    with pytest.raises(OutputError, match=r"folder of the output .* does not exist"):
        answer(
            "audit-dataset",
            {"train": str(faulty[0]), "json": str(tmp_path / "none" / "a.json")},
            Job(report=lambda progress: None),
        )


def test_mapchallenge_tiles_have_the_faults_that_are_known(shared_data) -> None:
    audit = audit_dataset(shared_data / "mapchallenge", workers=1)
    assert {kind: fault.count for kind, fault in audit.splits[0].faults.items()} == {"crossing": 4, "tiny": 2, "no_area": 1}
    assert not audit.pairs and len(audit.splits[0].reader.annotations) == 188
