"""``maskdino evaluate-coco`` from outside, with a model and with detections from a file."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import engine
from engine.commands import answer
from engine.errors import ArgumentError, CancelledError
from engine.job import Job
from training.evaluation.coco.predictions import category_ids, predict_images
from training.evaluation.coco.truth import read_truth


@pytest.fixture
def folder(tmp_path):
    """Three small images, one without objects."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 100, "name": "building"}]}
    for number in range(3):
        pixels = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 96})
        if number:
            ring = [10, 10, 50, 10, 50, 50, 10, 50]
            content["annotations"].append({
                "id": number, "image_id": number, "category_id": 100, "segmentation": [ring], "area": 1600, "iscrowd": 0,
                "bbox": [10, 10, 40, 40],
            })  # fmt: skip
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    return tmp_path


def maskdino(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "engine", *map(str, arguments)], capture_output=True, text=True)


def ask(folder, *, cancelled=False, **more) -> dict:
    job = Job(report=lambda progress: None, cancelled=threading.Event())
    if cancelled:
        job.cancelled.set()
    return answer(
        "evaluate-coco", {"images": str(folder / "images"), "annotations": str(folder / "annotation.json"), **more}, job
    )


@pytest.mark.slow
def test_it_prints_the_tables_and_what_they_rest_on(folder, tiny_model, tmp_path):
    outputs = tmp_path / "e.json", tmp_path / "r.json"
    done = maskdino("evaluate-coco", "--images", folder / "images", "--annotations", folder / "annotation.json",
                    "--model", tiny_model, "--device", "cpu", "--json", outputs[0], "--save-results", outputs[1])  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 images with 2 annotated objects" in done.stdout
    assert "where every detection counts as wrong: 1\n" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[-3:]] == ["box", "mask", "boundary"]
    document = json.loads(outputs[0].read_text())
    assert (document["images"], document["images_without_objects"], document["objects"]) == (3, 1, 2)
    again = ask(folder, results=str(outputs[1]))
    assert again["figures"] == document["figures"]
    assert again["detections"] == document["detections"] == len(json.loads(outputs[1].read_text()))


def test_what_a_resized_image_shows_comes_back_in_its_own_pixels(folder, tiny_model):
    truth = read_truth(folder / "annotation.json", folder / "images")
    model = engine.load_model(tiny_model)
    for resize in (None, 128, 160):
        results = predict_images(model, truth, resize=resize, max_detections=3)
        assert 0 < len(results) <= 9
        assert {tuple(result["segmentation"]["size"]) for result in results} == {(96, 96)}


def test_an_input_is_never_written_over(folder, tmp_path):
    results = tmp_path / "results.json"
    results.write_text("[]")
    inputs = [folder / "annotation.json", folder / "images" / "0.png", results]
    before = [path.read_bytes() for path in inputs]
    for name in ("json", "save_results"):
        for path in inputs:
            with pytest.raises(ArgumentError, match="would be lost"):
                ask(folder, results=str(results), **{name: str(path)})
    with pytest.raises(ArgumentError, match="are both"):
        ask(folder, results=str(results), json=str(tmp_path / "a"), save_results=str(tmp_path / "a"))
    assert [path.read_bytes() for path in inputs] == before


def test_batches_find_the_same(folder, tiny_model):
    truth = read_truth(folder / "annotation.json", folder / "images")
    model = engine.load_model(tiny_model)
    one, three = (predict_images(model, truth, batch_size=size) for size in (1, 3))
    assert [result["image_id"] for result in one] == [result["image_id"] for result in three]
    assert [result["score"] for result in one] == pytest.approx([result["score"] for result in three], rel=1e-4)


def test_classes_become_categories_by_name_or_by_count():
    pair = [{"id": 7, "name": "Shed"}, {"id": 100, "name": "Building"}]
    assert category_ids(["building"], pair) == [100]
    assert category_ids(["anything"], pair[:1]) == [7]
    assert category_ids(["a", "b"], pair[::-1]) == [7, 100]
    with pytest.raises(ArgumentError, match="The model knows roof"):
        category_ids(["roof"], pair)


def test_an_image_of_another_size_or_none_is_refused_by_name(folder, tiny_model):
    Image.new("RGB", (50, 60)).save(folder / "images" / "1.png")
    with pytest.raises(ArgumentError, match=r"1\.png \(id 1\): it is 50x60 pixels"):
        ask(folder, model=str(tiny_model), device="cpu")
    (folder / "images" / "1.png").write_text("no image")
    with pytest.raises(ArgumentError, match=r"1\.png \(id 1\): it is no picture"):
        ask(folder, model=str(tiny_model), device="cpu")


def test_it_needs_a_model_or_results_and_knows_its_arguments(folder, tiny_model):
    for arguments, named in [
        ({}, "'model' or 'results'"), ({"model": "a", "results": "b"}, "one of them"), ({"wobble": 1}, "no argument 'wobble'"),
        ({"model": str(tiny_model), "max_detections": 0}, "max_detections is 0"),
    ]:  # fmt: skip
        with pytest.raises(ArgumentError, match=named):
            ask(folder, **arguments)
    done = maskdino("evaluate-coco", "--images", folder, "--annotations", folder / "annotation.json")
    assert done.returncode == 2


def test_a_cancel_writes_nothing(folder, tiny_model, tmp_path):
    with pytest.raises(CancelledError):
        ask(folder, cancelled=True, model=str(tiny_model), device="cpu", json=str(tmp_path / "e.json"))
    assert not (tmp_path / "e.json").exists()
