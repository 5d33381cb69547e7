"""``maskdino models`` from end to end."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from engine.commands import answer
from engine.commands.models import command
from engine.errors import ArgumentError, CancelledError, MaskDinoError, ModelFileError
from engine.job import Job
from engine.model.build import build_model
from engine.model.checkpoints.catalogue import PUBLISHED
from engine.model.checkpoints.published_state import export_official
from engine.model.model_file import embedded_models, load_model
from engine.model.presets import PRESETS
from tests.engine.model.small_model import SMALL_CONFIG


def _models(*arguments: object, status: int = 0) -> str:
    """Run the command within this process; return what it printed, or the error that the program would print."""
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if status == 1:
        assert isinstance(done.exception, MaskDinoError), done.exception
        message = str(done.exception)
        assert "\n" not in message
        return message
    assert done.exit_code == status, (done.output, done.exception)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(5)
    torch.save({"model": export_official(build_model(SMALL_CONFIG)), "iteration": 1}, folder / "published.pth")
    return folder


def test_list_names_presets_and_published_checkpoints():
    text = _models("list")
    for name in (*PRESETS, *embedded_models(), *(model.file for model in PUBLISHED)):
        assert name in text
    document = json.loads(_models("list", "--json"))
    assert set(document) == {"embedded", "presets", "published"}
    assert len(document["embedded"]) == len(embedded_models())
    assert document["published"][0]["url"].startswith("https://")


def test_a_backbone_of_timm_is_shown_by_its_name_there():
    line = "maskdino_lite: Mask DINO for instance segmentation, 4 levels, 300 queries, tf_efficientnet_lite2 backbone"
    assert line in _models("list")
    text = _models("info", "maskdino_lite")
    assert "model: tf_efficientnet_lite2" in text and "channels: 24, 48, 120, 352" in text


def test_convert_then_info_then_load(folder):
    output = folder / "out.safetensors"
    text = _models("convert", folder / "published.pth", "-o", output, "--classes", "house, shed", "--gsd", 0.3)
    assert "a variant of no preset (Mask DINO for instance segmentation, 4 levels, 300 queries, resnet backbone)" in text
    assert "out.safetensors" in text and "house, shed" in text
    document = json.loads(_models("info", output, "--json"))
    assert document["classes"] == ["house", "shed"]
    assert document["config"]["num_classes"] == 2
    text = _models("info", output)
    for part in ("house", "0.3", "pixel mean", "published.pth", "tile size"):
        assert part in text
    assert load_model(output).header.gsd == 0.3


def test_convert_says_what_was_left_out(folder):
    text = _models("convert", folder / "published.pth", "-o", folder / "f.safetensors", "--drop-classes", "--half")
    assert "class_embed.weight" in text and "untrained" in text


def test_convert_refuses_other_classes_unasked(folder):
    output = folder / "no.safetensors"
    assert "--drop-classes" in _models("convert", folder / "published.pth", "-o", output, "--num-classes", 7, status=1)
    assert not output.exists()


def test_a_file_that_smuggles_code_is_one_line_and_status_1(folder):
    class Attack:
        def __reduce__(self):
            return os.system, (f"echo > '{folder / 'marker'}'",)

    (folder / "evil.pkl").write_bytes(pickle.dumps({"model": {"a": Attack()}}))
    root = Path(__file__).resolve().parents[3]
    for arguments in (("convert", "evil.pkl", "-o", "evil.safetensors"), ("info", "evil.pkl")):
        done = subprocess.run(
            [sys.executable, "-m", "engine", "models", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "system" in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (folder / "marker").exists()
    assert not (folder / "evil.safetensors").exists()


def test_info_tells_presets_checkpoints_and_published_names(folder):
    assert "300" in _models("info", "maskdino_r50")
    document = json.loads(_models("info", folder / "published.pth", "--json"))
    assert document["checkpoint"] == "pth" and document["config"]["num_classes"] == 2
    text = _models("info", PUBLISHED[0].file)
    assert "46.3" in text and PUBLISHED[0].url in text


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"text", "not a safetensors file"), (None, "neither a file nor an embedded model")],
)
def test_info_of_what_is_no_model_is_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.safetensors").write_bytes(content)
    assert message in _models("info", tmp_path / "a.safetensors", status=1)


def test_convert_without_an_output_is_wrong_usage(folder):
    _models("convert", folder / "published.pth", status=2)


# The service ---------------------------------------------------------------------------------------------------------------


def test_the_service_converts_and_says_what_the_checkpoint_was_taken_for(folder, tmp_path):
    steps = []
    given = {
        "published": str(folder / "published.pth"),
        "output": str(tmp_path / "town.safetensors"),
        "classes": ["house", "shed"],
    }
    converted = answer("models convert", given, Job(report=lambda progress: steps.append((progress.done, progress.total))))
    assert converted["taken_for"].startswith("a variant of no preset (Mask DINO for instance segmentation")
    assert converted["classes"] == ["house", "shed"] and converted["left_out"] == []
    assert converted["bytes"] == Path(converted["output"]).stat().st_size
    assert load_model(given["output"]).header.classes == ("house", "shed")
    assert [done for done, _ in steps] == list(range(len(steps))) and {total for _, total in steps} == {len(steps)}


@pytest.mark.parametrize("stop_at", range(4))
def test_a_conversion_that_is_cancelled_writes_nothing(folder, tmp_path, stop_at):
    output = tmp_path / "town.safetensors"
    job = Job(report=lambda progress: job.cancelled.set() if progress.done == stop_at - 1 else None)
    if stop_at == 0:
        job.cancelled.set()
    with pytest.raises(CancelledError):
        answer("models convert", {"published": str(folder / "published.pth"), "output": str(output)}, job)
    assert not list(tmp_path.iterdir())


def test_what_is_no_checkpoint_is_refused_in_one_sentence(folder, tmp_path):
    (tmp_path / "holiday.pth").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    torch.save({"model": {"head.weight": torch.ones(2, 2)}}, tmp_path / "other.pth")
    done = Job(report=lambda progress: None)
    answer("models convert", {"published": str(folder / "published.pth"), "output": str(tmp_path / "ours.safetensors")}, done)
    for name in ("holiday.pth", "other.pth", "ours.safetensors", "gone.pth"):
        output = tmp_path / "out.safetensors"
        with pytest.raises(ModelFileError) as caught:
            answer("models convert", {"published": str(tmp_path / name), "output": str(output)}, done)
        assert name in caught.value.message and "\n" not in caught.value.message
        assert not output.exists()


def test_a_command_of_a_group_that_is_not_there_is_an_error():
    with pytest.raises(ArgumentError, match="'models melt'"):
        answer("models melt", {}, Job(report=lambda progress: None))
