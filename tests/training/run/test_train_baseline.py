"""Other models than Mask DINO's for instances go the whole way, too: trained, saved, started from again, evaluated."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import engine
from engine.cli import app
from engine.model.families.mask_rcnn.config import BifpnConfig, FpnConfig, PanetConfig
from engine.model.families.registry import family_of
from tests.engine.model.families.dimaskdino.small import SMALL_DI
from tests.engine.model.families.mask2former.small import SMALL
from tests.engine.model.families.small_mask_rcnn import SMALL_MASK_RCNN
from tests.engine.model.small_model import SMALL_PANOPTIC, SMALL_SEMANTIC
from tests.training.data.voc_folder import Drawn, write_voc
from tests.training.run.training_run import config_document, write_houses
from training.config.schema import TrainConfig

FEW_QUERIES = {"decoder": SMALL_PANOPTIC.decoder.model_copy(update={"queries": 30})}  # as many as small crops have places
NECKS = (FpnConfig(), PanetConfig(), BifpnConfig(layers=1))
MODELS = {
    **{f"mask_rcnn_{neck.kind}": SMALL_MASK_RCNN.model_copy(update={"neck": neck}) for neck in NECKS},
    "mask2former": SMALL,
    "di_mask_dino": SMALL_DI,
    "mask_dino_semantic": SMALL_SEMANTIC,
    "mask_dino_panoptic": SMALL_PANOPTIC.model_copy(update=FEW_QUERIES),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_model_is_trained_started_from_and_evaluated(tmp_path, model):
    write_houses(tmp_path / "train", images=4)
    write_houses(tmp_path / "val", images=2, seed=1)
    document = config_document(tmp_path, steps=2, validate_every=2, pictures=1, checkpoint_activations=True)
    document["model"] = model.model_dump(mode="json")
    document["losses"]["box_loss"] = "ciou"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(TrainConfig.model_validate(document).model_dump(mode="json")))

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    run("train", config, "-o", tmp_path / "first")
    first = next((tmp_path / "first").glob("*.safetensors"))
    assert engine.load_model(first).config == model.model_copy(update={"num_classes": 1})
    run("train", config, "-o", tmp_path / "second", f"start_from={first}", "model=null")
    second = next((tmp_path / "second").glob("*.safetensors"))
    assert engine.load_model(second).header.training.started_from == first.name

    val, figures = tmp_path / "val", tmp_path / "figures.json"
    if "instances" not in family_of(model).tasks(model):
        run("segment", val / "images" / "000.png", "-o", tmp_path / "classes.tif", "--model", second, "--device", "cpu")
        assert (tmp_path / "classes.tif").is_file()
        return
    run("evaluate-coco", "--images", val / "images", "--annotations", val / "annotation.json", "--model", second,
        "--device", "cpu", "--json", figures)  # fmt: skip
    assert json.loads(figures.read_text())["objects"] == 1
    run("detect", val / "images" / "000.png", "-o", tmp_path / "found.gpkg", "--model", second, "--device", "cpu")
    assert (tmp_path / "found.gpkg").is_file()


@pytest.mark.slow
def test_the_ready_config_for_data_of_ones_own_trains_on_pascal_voc(tmp_path):
    pixels = np.full((96, 96, 3), 60, np.uint8)
    house = np.zeros((96, 96), bool)
    house[20:60, 30:80] = True
    pixels[house] = 210
    folder = write_voc(
        tmp_path / "voc", {"a": (pixels, [Drawn("house", house)]), "b": (pixels[::-1], [Drawn("house", house[::-1])])}
    )
    source = f"[{{kind: voc, folder: {folder}}}]"
    result = CliRunner().invoke(
        app,
        ["train", "maskrcnn_finetune", "-o", str(tmp_path / "run"), f"data.sources={source}", f"data.validation={source}",
         "run.epochs=1", "run.batch=2", "run.device=cpu", "run.workers=0", "run.check_leakage=false",
         "data.size=96", "run.pictures=0"],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    model = engine.load_model(next((tmp_path / "run").glob("*.safetensors")))
    assert model.header.classes == ("house",)
    assert model.config.neck.kind == "panet"
