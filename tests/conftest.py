"""What every test may use."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, settings
from rasterio.transform import from_origin

# The plugin's tests run in QGIS's own Python (`make test`), which this is not.
collect_ignore = [] if find_spec("qgis") else ["qgis_maskdino"]

# The tests run small models: threads of the numeric libraries would only wait for one another, on a busy machine for very long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: a loaded machine is not a bug of the code under test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Where a change is judged, the same examples every time; new ones are drawn wherever somebody can look at what they find.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


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
    """A small model with the weights of its initialisation: everything runs, and what it finds means nothing."""
    import torch

    from engine.model.build import build_model
    from engine.model.header import ModelHeader
    from engine.model.model_file import save_model
    from tests.engine.model.small_model import SMALL_CONFIG

    torch.manual_seed(0)
    model = build_model(SMALL_CONFIG.model_copy(update={"num_classes": 1, "detections_per_image": 5}))
    header = ModelHeader(name="untrained", config=model.config, gsd=0.3, tile_size=128)
    return save_model(tmp_path_factory.mktemp("model") / "untrained.safetensors", model, header)


@pytest.fixture(scope="session")
def semantic_model(tmp_path_factory) -> Path:
    """A small model that gives each pixel a class, filled by the rule of the published figures: what it finds means nothing."""
    from engine.model.header import ModelHeader
    from engine.model.model_file import save_model
    from tests.engine.model.families.mask2former.small import SMALL_SEMANTIC, filled

    classes = ("road", "building", "tree", "water", "grass")
    header = ModelHeader(name="filled", config=SMALL_SEMANTIC, classes=classes, gsd=0.3, tile_size=96)
    return save_model(tmp_path_factory.mktemp("model") / "semantic.safetensors", filled(SMALL_SEMANTIC, ""), header)


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Path:
    """A small georeferenced image with bright roofs."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    image = np.random.default_rng(0).normal(90, 10, (3, 300, 300)).clip(0, 255).astype(np.uint8)
    for row in range(20, 260, 60):
        image[:, row : row + 30, 40:90] = np.array([200, 120, 90])[:, None, None]
    with rasterio.open(
        path, "w", driver="GTiff", width=300, height=300, count=3, dtype="uint8", crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 0.3, 0.3), photometric="RGB",
    ) as raster:  # fmt: skip
        raster.write(image)
    return path


@pytest.fixture
def small_disk(tmp_path):
    """Mount file systems of a given size; where that is not allowed, skip."""
    mounted = []

    def mount(size: int):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)
