"""An engine that answers as a test wants."""

from __future__ import annotations

import sys

import pytest

from qgis_maskdino.backend.environment import EngineEnvironment
from tests.qgis_maskdino.fake_engine import HELLO, fake_engine
from tests.qgis_maskdino.processing.finding_engine import FINDING


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Return a function that puts an engine in the place of the real one."""

    def install(behaviour: str, *, hello: str = HELLO) -> None:
        sources = fake_engine(tmp_path / "fake", FINDING + behaviour, hello=hello)
        monkeypatch.setenv("MASKDINO_PYTHON", sys.executable)
        monkeypatch.setattr(EngineEnvironment, "source_folder", lambda self: sources)

    return install
