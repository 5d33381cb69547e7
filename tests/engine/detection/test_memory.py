"""Memory is bounded by the tile, not by the raster."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.engine.detection.label_raster import write_label_raster
from tests.engine.detection.label_towns import shapes_town
from tests.engine.detection.repeated_raster import write_repeated

pytest.importorskip("resource", reason="peak memory is asked of the resource module, which Windows lacks")

GIGABYTE = 1e9
SIDE = 20_000

# A process of its own, so that its peak is that of the detection alone. The small run before loads what is loaded once.
PROGRAM = """
import json, resource, sys
import engine
from tests.engine.detection.label_raster import LabelPredictor

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

small, large, output = sys.argv[1:]
arguments = {"outline": "simplified", "min_area": 0}
engine.detect(small, output, predictor=LabelPredictor(512), **arguments)
base = peak()
summary = engine.detect(large, output, predictor=LabelPredictor(512), **arguments)
print(json.dumps({"base": base, "peak": peak(), "buildings": summary.buildings, "seconds": summary.seconds}))
"""


@pytest.mark.slow
def test_a_raster_of_400_megapixels(project, tmp_path):
    labels = np.zeros((1000, 1000), np.int32)  # a margin keeps the buildings of one copy off those of the next
    labels[1:-1, 1:-1] = shapes_town(np.random.default_rng(5), 998, 998)
    small = write_label_raster(tmp_path / "town.tif", labels)
    large = write_repeated(tmp_path / "large.vrt", small, width=SIDE, height=SIDE)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small), str(large), str(tmp_path / "out.gpkg")],
        cwd=project, env={**os.environ, "PYTHONPATH": str(project)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    copies = (SIDE // 1000) ** 2
    assert report["buildings"] == copies * len(np.unique(labels[labels > 0]))
    assert report["peak"] - report["base"] < 1.5 * GIGABYTE, report
