"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The tests run in small pieces; threads of the numeric libraries would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "2")

# No deadline: a loaded machine is not a bug of the code under test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(project: Path) -> Path:
    """Real imagery beside the checkout, never part of it; the test is skipped where it is not there."""
    folder = project.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real imagery is not here: ../shared/data")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model file with the weights of its initialisation: everything runs, nothing it finds means anything."""
    import torch

    from engine.model.build import build_model
    from engine.model.model_file import save_model
    from engine.model.model_header import ModelHeader

    torch.manual_seed(0)
    model = build_model("maskdino_tiny", num_classes=1)
    header = ModelHeader(name="untrained", config=model.config, gsd=0.3, tile_size=128)
    return save_model(tmp_path_factory.mktemp("model") / "untrained.safetensors", model, header)
