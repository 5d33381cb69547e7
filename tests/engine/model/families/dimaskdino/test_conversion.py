"""From a published checkpoint to a model file and back; it is taken for what it is, and Mask DINO's for what that is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import engine
from engine.errors import CheckpointMismatchError, ModelFileError
from engine.model.checkpoints.catalogue import PUBLISHED, find_published
from engine.model.checkpoints.coco_classes import COCO_CLASSES
from engine.model.checkpoints.conversion import convert_published
from engine.model.config import SwinConfig
from engine.model.families.dimaskdino.published_config import published_config
from engine.model.families.registry import recognised_family
from engine.model.model_file import load_model
from tests.engine.model.families.dimaskdino.small import SMALL_DI
from tests.engine.model.small_model import SMALL_CONFIG
from tests.parity_weights import filled_state_dict
from training.pretrained.start import start_from

FILE = "dimaskdino_r50_4scale_bs16_50ep.pth"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A published state dict."""
    torch.manual_seed(4)
    return engine.export_official(engine.build_model(SMALL_DI))


def test_another_backbone_is_told_by_its_shapes() -> None:
    swin = SwinConfig(embed_dim=24, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), window_size=7)
    with torch.device("meta"):
        tensors = engine.export_official(engine.build_model(SMALL_DI.model_copy(update={"backbone": swin})))
    assert published_config(tensors).backbone == swin
    with pytest.raises(ModelFileError, match="it has a swin backbone, the preset 'dimaskdino_r50' a resnet"):
        published_config(tensors, preset_name="dimaskdino_r50")


def test_a_broken_checkpoint_is_named_as_what_it_is(state: dict[str, Tensor]) -> None:
    tensors = {name: tensor for name, tensor in state.items() if "mask_features" not in name}
    with pytest.raises(ModelFileError, match=r"not those of a DI-MaskDINO \(sem_seg_head\.pixel_decoder\.mask_features"):
        recognised_family(tensors).published_config(tensors)
    with pytest.raises(ModelFileError, match="it is a DI-MaskDINO, the preset 'maskdino_r50' is not"):
        published_config(state, preset_name="maskdino_r50")


def test_shared_tensors_have_one_value(state: dict[str, Tensor]) -> None:
    name = "sem_seg_head.predictor.oldm.class_embed.weight"
    with pytest.raises(CheckpointMismatchError, match="the names that share its tensor hold different values"):
        engine.load_official(engine.build_model(SMALL_DI), state | {name: state[name] + 1})


def test_a_training_starts_from_a_published_checkpoint_and_from_no_other_family(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({"model": state}, tmp_path / "published.pth")
    model = engine.build_model(SMALL_DI, num_classes=1)
    report = start_from(model, tmp_path / "published.pth")
    assert report.kind == "a published DI-MaskDINO checkpoint"
    assert set(report.missing) == {"heads.classify.weight", "heads.classify.bias", "label_embedding.weight"}
    assert torch.equal(model.query_selection.norm.weight, state["sem_seg_head.predictor.oldm_norm.weight"])
    torch.save({"model": engine.export_official(engine.build_model(SMALL_CONFIG))}, tmp_path / "other.pth")
    with pytest.raises(CheckpointMismatchError, match=r"a published Mask DINO checkpoint, and the model .* kind di_mask_dino"):
        start_from(model, tmp_path / "other.pth")


@pytest.mark.slow
def test_the_published_r50_converts_with_nothing_missing_and_nothing_left_over(tmp_path: Path) -> None:
    tensors = filled_state_dict("dimaskdino_r50", "#2")
    torch.save({"model": tensors}, tmp_path / FILE)
    conversion = convert_published(tmp_path / FILE, tmp_path / "r50.safetensors")
    assert (conversion.preset, conversion.left_out) == ("dimaskdino_r50", ())
    assert conversion.header.classes == COCO_CLASSES
    assert conversion.header.training.figures == {"mask AP": 46.7, "box AP": 51.9}
    exported = engine.export_official(load_model(conversion.path))
    assert exported.keys() == tensors.keys() | {"criterion.empty_weight"}
    assert all(torch.equal(exported[name], tensor) for name, tensor in tensors.items())


def test_the_catalogue_says_where_to_get_it() -> None:
    known = find_published(FILE)
    assert known.url.startswith("https://drive.google.com/") and known.url in known.note
    assert [model.figures["box AP"] for model in PUBLISHED if model.preset == "dimaskdino_r50"] == [46.9, 49.6, 51.9]
