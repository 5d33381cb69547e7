"""Each kernel is compiled once on a machine, whoever starts at the same time and whatever happens to the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.ops import kernel_cache


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MASKDINO_CACHE", str(tmp_path))
    return tmp_path / "kernels"


def _never() -> bytes:
    raise AssertionError("it was there already")


def test_what_was_compiled_is_not_compiled_again(folder: Path) -> None:
    assert kernel_cache.cached("key", lambda: b"binary") == b"binary"
    assert kernel_cache.cached("key", _never) == b"binary"
    assert kernel_cache.cached("another key", lambda: b"another") == b"another"
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: content[:40] + b"?" * 9])
def test_a_damaged_file_is_compiled_again(damage, folder: Path, caplog) -> None:
    kernel_cache.cached("key", lambda: b"a binary of some length")
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert kernel_cache.cached("key", lambda: b"anew") == b"anew"
    assert "damaged" in caplog.text
    assert kernel_cache.cached("key", _never) == b"anew"


def test_a_folder_that_cannot_be_written_costs_the_compilation_alone(tmp_path: Path, monkeypatch, caplog) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    monkeypatch.setenv("MASKDINO_CACHE", str(occupied))
    caplog.set_level("INFO")
    assert [kernel_cache.cached("key", lambda: b"binary") for _ in range(2)] == [b"binary"] * 2
    assert "not kept" in caplog.text


def test_a_user_without_a_home_compiles_every_time(monkeypatch, caplog) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("MASKDINO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", homeless)
    caplog.set_level("INFO")
    assert kernel_cache.cached("key", lambda: b"binary") == b"binary"
    assert "Could not determine home directory" in caplog.text


def test_a_write_that_breaks_off_leaves_nothing(folder: Path, monkeypatch) -> None:
    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert kernel_cache.cached("key", lambda: b"binary") == b"binary"
    assert list(folder.iterdir()) == []


_PROCESS = """
import sys, time
from pathlib import Path
from engine.ops import kernel_cache
here, start, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
(here / number).touch()
while not start.exists():
    time.sleep(0.001)
def compile():
    time.sleep(0.3)  # long enough for all to begin
    return b"x" * 1_000_000
for key in range(5):
    assert kernel_cache.cached(str(key), compile) == b"x" * 1_000_000
"""


@pytest.mark.slow  # each process imports torch
def test_processes_that_start_at_once(folder: Path, tmp_path: Path, project: Path) -> None:
    ready = tmp_path / "ready"
    ready.mkdir()
    processes = [
        subprocess.Popen([sys.executable, "-c", _PROCESS, ready, tmp_path / "start", str(number)], cwd=project)
        for number in range(2)
    ]
    while len(list(ready.iterdir())) < len(processes):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    (tmp_path / "start").touch()
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    files = list(folder.iterdir())
    assert len(files) == 5 and all(file.suffix == ".bin" for file in files)


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "maskdino/kernels"),
        ("win32", "LOCALAPPDATA", "maskdino/kernels"),
    ],
)
def test_without_a_wish_it_is_the_users_folder_for_such_things(platform, variable, expected, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MASKDINO_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert kernel_cache.folder() == tmp_path / expected
