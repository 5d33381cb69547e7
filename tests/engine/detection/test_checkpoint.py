"""What is in the checkpoint survives a kill, and comes back exactly; what does not fit is refused by name."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from engine.detection.checkpoint import Checkpoint
from engine.detection.checkpoint import _pack as packed_row
from engine.detection.merging.tile_instances import TileInstance
from engine.errors import ArgumentError, OutputError
from engine.raster.tile_grid import Tile

TILE = Tile(index=7, col=64, row=128, width=64, height=64)
MADE_WITH = {"raster": "town.tif", "score": "0.5"}


def instance(mask, *, col=70, row=130, score=0.75, label=0):
    return TileInstance(tile=TILE, col=col, row=row, mask=np.asarray(mask, bool), score=score, label=label)


def same(a: TileInstance, b: TileInstance) -> bool:
    return (a.tile, a.col, a.row, a.score, a.label) == (b.tile, b.col, b.row, b.score, b.label) and np.array_equal(
        a.mask, b.mask
    )


@settings(max_examples=25)
@given(
    masks=st.lists(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)), max_size=4),
    score=st.floats(0, 1),
    col=st.integers(0, 2**31 - 1),
)
def test_pieces_come_back_exactly(tmp_path_factory, masks, score, col):
    path = tmp_path_factory.mktemp("checkpoint") / "out.gpkg.progress"
    instances = [instance(mask, score=score, col=col, label=index) for index, mask in enumerate(masks)]
    checkpoint = Checkpoint(path, fingerprint=MADE_WITH, resume=False)
    checkpoint.add(TILE, instances)
    checkpoint.close(keep=True)
    checkpoint = Checkpoint(path, fingerprint=MADE_WITH, resume=True)
    loaded = checkpoint.load(TILE)
    checkpoint.close(keep=False)
    assert len(loaded) == len(instances)
    assert all(same(a, b) for a, b in zip(loaded, instances, strict=True))


def test_a_tile_without_pieces_is_done_and_another_is_not(tmp_path):
    checkpoint = Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=False)
    checkpoint.add(TILE, [])
    assert checkpoint.load(TILE) == []
    assert checkpoint.load(Tile(8, 0, 0, 64, 64)) is None
    assert len(checkpoint) == 1
    checkpoint.close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_named(tmp_path):
    Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=False).close(keep=True)
    with pytest.raises(ArgumentError, match=r"score was 0\.5, is 0\.6"):
        Checkpoint(tmp_path / "p", fingerprint={**MADE_WITH, "score": "0.6"}, resume=True)
    Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=True).close(keep=True)  # the refusal has changed nothing


def test_without_resume_an_earlier_run_is_forgotten(tmp_path, caplog):
    caplog.set_level("INFO", "engine")
    checkpoint = Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=False)
    checkpoint.add(TILE, [instance([[1]])])
    checkpoint.close(keep=True)
    checkpoint = Checkpoint(tmp_path / "p", fingerprint={"raster": "other.tif"}, resume=False)
    assert checkpoint.load(TILE) is None
    assert "--resume would have gone on" in caplog.text
    checkpoint.close(keep=False)


def test_resume_with_nothing_there_starts_from_the_beginning(tmp_path):
    checkpoint = Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=True)
    assert len(checkpoint) == 0
    checkpoint.close(keep=False)


def test_a_damaged_file_is_replaced_unless_it_was_to_be_resumed(tmp_path):
    path = tmp_path / "p"
    Checkpoint(path, fingerprint=MADE_WITH, resume=False).close(keep=True)
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)
    with pytest.raises(OutputError, match="without --resume"):
        Checkpoint(path, fingerprint=MADE_WITH, resume=True)
    Checkpoint(path, fingerprint=MADE_WITH, resume=False).close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_the_row_of_a_tile_that_is_damaged_is_as_good_as_none(tmp_path, caplog):
    path = tmp_path / "p"
    whole = instance([[1, 0], [0, 1]])
    blob = packed_row([whole])
    rng = np.random.default_rng(0)
    spoilt = [b"", b"x", blob[:-1], blob[: len(blob) // 2], zlib.compress(b"short")]
    for _ in range(40):
        copy = bytearray(blob)
        copy[rng.integers(len(copy))] ^= 1 << rng.integers(8)
        spoilt.append(bytes(copy))
    checkpoint = Checkpoint(path, fingerprint=MADE_WITH, resume=False)
    checkpoint.add(TILE, [instance([[1]])])
    for each in spoilt:
        checkpoint._connection.execute("update tiles set pieces = ?", [each])
        found = checkpoint.load(TILE)
        assert found is None or same(found[0], whole)  # a few bits at the end of a compressed row mean nothing
    assert "is done again" in caplog.text
    checkpoint.add(TILE, [instance([[1]])])
    assert len(checkpoint.load(TILE)) == 1
    checkpoint.close(keep=False)


def their_notes(path):
    path.write_text("my notes\n")


def their_database(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table mine (a)")
        database.execute("create table tiles (a)")
        database.commit()


def their_log(path):
    path.with_name(f"{path.name}-wal").write_text("a log of something else")


def their_folder(path):
    path.mkdir()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("make", [their_notes, their_database, their_log, their_folder, os.mkfifo])
def test_a_file_of_somebody_else_is_left_alone(tmp_path, make, resume):
    make(tmp_path / "p")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(OutputError, match="of another program"):
        Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=resume)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_file_of_an_earlier_version_is_known_by_its_tables(tmp_path):
    with closing(sqlite3.connect(tmp_path / "p")) as database:
        database.execute("create table run (fingerprint text not null)")
        database.execute("create table tiles (tile integer primary key, pieces blob not null)")
        database.commit()
    Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=True).close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_on_the_same_output_is_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path / "out.gpkg.progress", fingerprint=MADE_WITH, resume=False)
    with pytest.raises(OutputError, match=r"Another run is writing to .*out\.gpkg\. "):
        Checkpoint(tmp_path / "out.gpkg.progress", fingerprint=MADE_WITH, resume=False)
    checkpoint.close(keep=False)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="Progress cannot be kept"):
        Checkpoint(tmp_path / "nowhere" / "p", fingerprint=MADE_WITH, resume=False)


def test_a_kill_loses_no_tile_that_was_added(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from pathlib import Path
from engine.detection.checkpoint import Checkpoint
from engine.detection.checkpoint import _pack as packed_row
from engine.detection.merging.tile_instances import TileInstance
from engine.raster.tile_grid import Tile
checkpoint = Checkpoint(Path(sys.argv[1]), fingerprint={"raster": "town.tif", "score": "0.5"}, resume=False)
for index in range(50):
    tile = Tile(index, 0, 0, 64, 64)
    checkpoint.add(tile, [TileInstance(0, 0, np.ones((30, 30), bool), 0.5, 0, tile)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "p"
    done = subprocess.run([sys.executable, "-c", program, str(path)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    checkpoint = Checkpoint(path, fingerprint=MADE_WITH, resume=True)
    assert len(checkpoint) == 50
    assert checkpoint.load(Tile(49, 0, 0, 64, 64))[0].mask.sum() == 900
    checkpoint.close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_the_disk_fills_up(tmp_path):
    checkpoint = Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=False)
    pages = checkpoint._connection.execute("PRAGMA page_count").fetchone()[0]
    checkpoint._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to meet a full disk
    random = np.random.default_rng(0).random((200, 200)) < 0.5
    with pytest.raises(OutputError, match="full"):
        for index in range(20):
            checkpoint.add(Tile(index, 0, 0, 64, 64), [instance(random)])
    checkpoint.close(keep=False)


def test_what_cannot_be_begun_is_not_left_lying_about(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        for room in (0, 8, 16, 24, 32):  # KiB: each statement in turn finds the disk full
            (tmp_path / "full").write_bytes(bytes((64 - room) * 1024 - 4096 * (room > 0)))
            try:
                Checkpoint(tmp_path / "p", fingerprint=MADE_WITH, resume=False).close(keep=False)
            except OutputError as error:
                assert "full" in str(error)
            assert os.listdir(tmp_path) == ["full"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
