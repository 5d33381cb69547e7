"""An output is whole or not there, is nobody else's meanwhile, and is never one of the inputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.commands.doctor import clean_folder
from engine.errors import ArgumentError, OutputError
from engine.files.output_file import OutputFile, refuse_inputs, reserved

# Begins an output and sleeps until it is killed.
BEGIN = """
import sys, time
from engine.files.output_file import OutputFile
output = OutputFile(sys.argv[1])
output.part.write_text("half")
print(output.part.name, flush=True)
time.sleep(60)
"""


def begun_elsewhere(path: Path, project: Path) -> tuple[subprocess.Popen, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(path)], cwd=project, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(project)},
    )  # fmt: skip
    return process, process.stdout.readline().strip()


def killed(path: Path, project: Path) -> str:
    """Leave what a killed process leaves, and return the name of the part."""
    process, part = begun_elsewhere(path, project)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return part


def test_it_appears_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    with OutputFile(path) as output:
        output.part.write_text("half")
        assert path.read_text() == "old"
        assert output.part.parent == tmp_path
        output.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(RuntimeError), OutputFile(path) as output:
        output.part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_files_with_likely_names_are_not_touched(tmp_path: Path) -> None:
    theirs = ["a.part.txt", "a.txt.part", ".a.txt.part", "a.lock", "a.txt.lock", "a.tmp", "a.txt.progress", "a.txt-journal"]
    for name in theirs:
        (tmp_path / name).write_text("mine")
    with OutputFile(tmp_path / "a.txt") as output:
        output.write_text("new")
    assert sorted(os.listdir(tmp_path)) == sorted([*theirs, "a.txt"])
    assert {(tmp_path / name).read_text() for name in theirs} == {"mine"}


def test_one_run_at_a_time_within_a_process_and_across(tmp_path: Path, project: Path) -> None:
    path = tmp_path / "a.txt"
    with OutputFile(path), pytest.raises(OutputError, match="Another run is writing"):
        OutputFile(path)
    (tmp_path / "link.txt").symlink_to(path)
    process, part = begun_elsewhere(path, project)
    try:
        for name in ("a.txt", "link.txt"):
            with pytest.raises(OutputError, match="Another run is writing"):
                OutputFile(tmp_path / name)
        assert (tmp_path / part).read_text() == "half"
        assert clean_folder(tmp_path) == [f"Killed runs have left nothing in {tmp_path}."]
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_run_left_is_named_and_removed_by_the_next(tmp_path: Path, project: Path, caplog) -> None:
    caplog.set_level("INFO", "engine")
    part = killed(tmp_path / "a.txt", project)
    assert (tmp_path / part).exists()
    with OutputFile(tmp_path / "a.txt") as output:
        assert part in caplog.text
        output.write_text("new")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_doctor_names_and_removes_what_killed_runs_left(tmp_path: Path, project: Path) -> None:
    parts = [killed(tmp_path / name, project) for name in ("a.txt", "b.gpkg")]
    (tmp_path / "theirs.maskdino-lock").write_text(json.dumps({"program": "maskdino", "part": "precious.txt"}))
    (tmp_path / "c.maskdino-0123456789abcdef.part.gpkg").write_text("no lock names it")
    (tmp_path / "precious.txt").touch()
    kept = {"theirs.maskdino-lock", "c.maskdino-0123456789abcdef.part.gpkg", "precious.txt"}
    lines = "\n".join(clean_folder(tmp_path))
    assert all(part in lines for part in parts)
    assert set(os.listdir(tmp_path)) == kept
    with pytest.raises(ArgumentError, match="no folder"):
        clean_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["notes", "[]", '{"program": "maskdino", "part": "../a.txt"}', '{"program": "other"}'])
def test_a_file_of_somebody_else_with_the_name_of_the_lock_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt.maskdino-lock").write_text(content)
    with pytest.raises(OutputError, match="belongs to something else"):
        OutputFile(tmp_path / "a.txt")
    assert (tmp_path / "a.txt.maskdino-lock").read_text() == content


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.txt").symlink_to(tmp_path / "disk" / "real.txt")
    for text in ("first", "second"):  # the link points to nothing at first
        with OutputFile(tmp_path / "a.txt") as output:
            output.write_text(text)
        assert (tmp_path / "a.txt").is_symlink()
        assert (tmp_path / "disk" / "real.txt").read_text() == text
    assert os.listdir(tmp_path / "disk") == ["real.txt"]


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for place, why in (
        (tmp_path, "is a folder"), (tmp_path / "no" / "a", "does not exist"), (tmp_path / "file" / "a", "does not exist"),
        (tmp_path / "pipe", "device or a pipe"), (Path("/dev/full"), "device or a pipe"), (tmp_path / ("n" * 300), "too long"),
        (tmp_path / ("n" * 250), "too long"), (tmp_path / "a\0b", "null character"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=why):
            OutputFile(place)
    with OutputFile(tmp_path / ("n" * 240)) as output:
        output.write_text("fits")
    assert sorted(os.listdir(tmp_path)) == ["file", "n" * 240, "pipe"]


def test_a_text_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with OutputFile(tmp_path / "a.txt") as output, pytest.raises(ValueError):
        output.write_text("\ud800")  # half a character
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_output_is_no_input_under_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for name in ("a.gpkg", "roads.shp", "roads.DBF", "data/image.png", "odd|name"):
        Path(name).write_text("input")
    Path("link.gpkg").symlink_to("a.gpkg")
    os.link("a.gpkg", "hard.gpkg")
    inputs = ["a.gpkg|layername=x", "roads.shp", "data", "odd|name", None, "/vsicurl/https://example.org/a.tif"]
    own, belonging = ("a.gpkg", "./data/../a.gpkg", str(tmp_path / "a.gpkg"), "odd|name"), ("roads.DBF", "data/image.png")
    for name in (*own, "link.gpkg", "hard.gpkg", *belonging):
        with pytest.raises(ArgumentError, match="would be lost"):
            refuse_inputs({"json": name}, inputs)
    refuse_inputs({"json": "new.json", "report": "data/new.html", "output": Path("b.gpkg")}, inputs)


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    for first, second in (("a", "a"), ("a", "./a"), ("a", "link"), ("link", "a")):
        outputs = {"json": tmp_path / first, "report": f"{tmp_path}/{second}", "output": None}
        with pytest.raises(ArgumentError, match="json and report are both"), reserved(outputs):
            pass
    with reserved({"json": tmp_path / "a", "report": tmp_path / "b", "output": None}) as files:
        assert set(files) == {"json", "report"}
        files["json"].write_text("{}")
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]


@pytest.mark.parametrize("content", [b"GIF89a\0\0", b"SQLite format 3\0", b"II*\0" + bytes(9000)])
def test_a_report_replaces_a_text_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    picture, old = tmp_path / "roofs.tif", tmp_path / "old.json"
    picture.write_bytes(content)
    old.write_text("{}")
    with pytest.raises(OutputError, match=r"roofs\.tif would replace a file that is no text"), reserved({"json": picture}):
        pass
    assert picture.read_bytes() == content
    with reserved({"json": old}) as files:
        files["json"].write_text("[1]")
    assert old.read_text() == "[1]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.json", "roofs.tif"]


def test_many_runs_at_once_never_share_an_output(tmp_path: Path, project: Path) -> None:
    program = """
import sys
from engine.errors import OutputError
from engine.files.output_file import OutputFile
for turn in range(60):
    try:
        with OutputFile(sys.argv[1]) as output:
            before = output.path.read_text() if output.path.exists() else "0"
            output.write_text(str(int(before) + 1))
            sys.stdout.write(".")
    except OutputError as error:
        assert "Another run" in str(error), error
"""
    started = time.monotonic()
    command = [sys.executable, "-c", program, str(tmp_path / "count")]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(4)]
    written = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4
    # A lock that two of them could hold would lose a step now and then.
    assert int((tmp_path / "count").read_text()) == sum(map(len, written))
    assert os.listdir(tmp_path) == ["count"]
    assert time.monotonic() - started < 60
