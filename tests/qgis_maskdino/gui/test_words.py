"""Panel and toolbox call the same thing by the same name."""

from __future__ import annotations

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtWidgets import QCheckBox, QLabel

from qgis_maskdino.words import title

pytestmark = pytest.mark.usefixtures("provider")

SETTINGS = {
    ("detect_page", "detectbuildings"): {
        "INPUT": "raster", "MODEL": "model", "SCORE": "score", "OUTLINE": "outline", "MIN_AREA": "min_area", "GSD": "gsd",
        "BANDS": "bands", "DEVICE": "device",
    },
    ("evaluate_page", "evaluatedetections"): {
        "DETECTIONS": "detections", "ANNOTATIONS": "annotations", "AOI": "compare_inside",
    },
    ("export_page", "exporttrainingdata"): {
        "INPUT": "raster", "ANNOTATIONS": "annotations", "AOI": "complete_inside", "TILE_SIZE": "tile_size",
        "TRAINING_SHARE": "training_share", "OUTPUT": "dataset_folder",
    },
    ("train_page", "trainmodel"): {
        "DATASET": "dataset", "MODEL": "start_model", "EPOCHS": "epochs", "NAME": "name", "DEVICE": "device",
        "RESUME": "resume", "OUTPUT": "run_folder",
    },
}  # fmt: skip


@pytest.mark.parametrize("pair", SETTINGS, ids=lambda pair: pair[1])
def test_a_setting_has_one_name(dock, pair):
    page, algorithm = getattr(dock, pair[0]), QgsApplication.processingRegistry().algorithmById(f"maskdino:{pair[1]}")
    shown = [widget.text() for kind in (QLabel, QCheckBox) for widget in page.findChildren(kind)]
    in_panel = [text.replace("&", "") for text in shown]
    for parameter, name in SETTINGS[pair].items():
        in_toolbox = algorithm.parameterDefinition(parameter).description().partition(" [")[0]
        assert in_toolbox == title(name)
        assert title(name) in in_panel
    letters = [text[text.index("&") + 1].lower() for text in shown if "&" in text and text.index("&") + 1 < len(text)]
    assert len(set(letters)) == len(letters)  # each is reached with Alt by itself
