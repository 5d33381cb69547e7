"""Files in between go when they are no longer needed; those that cannot are no reason to fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qgis_maskdino.backend.work_folder import work_folder


def test_nothing_is_left_of_it_also_after_an_error():
    with pytest.raises(KeyError), work_folder() as folder:
        Path(folder, "layer.tif").touch()
        raise KeyError
    assert not os.path.exists(folder)


def test_two_at_once_are_two_folders():
    with work_folder() as one, work_folder() as other:
        assert one != other


def test_a_file_that_is_held_open_is_no_reason_to_fail(monkeypatch):
    """As on Windows, where the system refuses to delete it."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError("it is open in another program")

    with work_folder() as folder:
        Path(folder, "layer.tif").touch()
        monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.undo()
    assert os.path.exists(folder)
    Path(folder, "layer.tif").unlink()
    Path(folder).rmdir()
