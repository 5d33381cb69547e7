"""Every family of models does what the rest of the program asks of it, and model files written before stay readable."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys

import pytest
import torch

from engine import export_official, load_official
from engine.errors import CheckpointMismatchError, ConfigError, ModelFileError
from engine.model.build import build_model
from engine.model.checkpoints.conversion import convert_published
from engine.model.config import FamilyConfig
from engine.model.families.registry import FAMILIES, family_of, parse_model_config, recognised_family
from engine.model.header import ModelHeader, parse_header
from engine.model.model_file import embedded_models, load_model, read_header
from engine.model.presets import PRESETS
from tests.engine.model.families.dimaskdino.small import SMALL_DI
from tests.engine.model.families.mask2former.small import NARROW
from tests.engine.model.families.small_mask_rcnn import SMALL_MASK_RCNN
from tests.engine.model.small_model import SMALL_CONFIG, SMALL_PANOPTIC, SMALL_SEMANTIC
from training.objectives import objective_of

# Small configs of each family; a new family adds its own.
SMALL: dict[str, FamilyConfig] = {
    "mask_dino": SMALL_CONFIG,
    "mask_dino_panoptic": SMALL_PANOPTIC,
    "mask_dino_semantic": SMALL_SEMANTIC,
    "di_mask_dino": SMALL_DI,
    "mask2former": NARROW,
    "mask_rcnn": SMALL_MASK_RCNN,
}

# The config of a header as the program wrote it when there was one family: it names no kind.
CONFIG_WITHOUT_KIND = {
    "num_classes": 1,
    "backbone": {"kind": "swin", "embed_dim": 192, "depths": [2, 2, 18, 2], "heads": [6, 12, 24, 48], "window_size": 12,
                 "mlp_ratio": 4.0, "drop_path": 0.3},
    "hidden_dim": 256,
    "pixel_decoder": {"features": ["res2", "res3", "res4", "res5"], "levels": 5, "layers": 6, "feedforward": 2048, "heads": 8,
                      "points": 4, "mask_dim": 256},
    "decoder": {"queries": 300, "layers": 9, "feedforward": 2048, "heads": 8, "points": 4, "box_initialisation": "bitmask"},
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
    "size_divisibility": 32,
    "detections_per_image": 300,
}  # fmt: skip


def built(config: FamilyConfig, *, seed: int):
    torch.manual_seed(seed)
    return build_model(config)


@pytest.fixture(params=SMALL)
def config(request: pytest.FixtureRequest) -> FamilyConfig:
    return SMALL[request.param]


def test_every_family_is_tested():
    assert {config.kind for config in SMALL.values()} == set(FAMILIES)


def test_a_family_builds_what_its_config_says(config):
    family = family_of(config)
    model = build_model(config)
    assert (family.kind, family.config) == (config.kind, type(config))
    assert model.config == config and model.header is None
    assert objective_of(config) is not None
    assert family.tasks(config) and family.summary(config).startswith(family.title)


def test_parameters_that_a_family_names_are_there(config):
    family, model = family_of(config), build_model(config)
    other = build_model(config, num_classes=config.num_classes + 3)
    shapes = {name: tensor.shape for name, tensor in other.state_dict().items()}
    differ = {name for name, tensor in model.state_dict().items() if tensor.shape != shapes[name]}
    heads = {name for name in shapes if re.fullmatch(family.class_heads, name)}
    assert differ and differ <= heads, "all that depends on the number of classes is in a class head"
    bias = family.score_bias(config)
    if bias is not None:
        assert model.get_parameter(bias).shape == (config.num_classes,)


def test_parts_for_inference_and_training_are_parts_of_the_model(config):
    model = build_model(config)
    modules = set(model.modules())
    repeated = list(model.repeated_parts())
    assert repeated and set(repeated) <= modules
    parts = family_of(config).inference_parts(model)
    if parts is not None:
        assert {*parts.half, *parts.packed} <= modules
        assert callable(getattr(model, parts.compiled))


def test_published_names_lead_there_and_back(config):
    model, other = built(config, seed=1), built(config, seed=2)
    state = export_official(model)
    assert load_official(other, state).skipped == ()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in other.state_dict().items())
    assert export_official(other).keys() == state.keys()


def test_a_published_checkpoint_is_recognised_by_its_own_family_alone(config):
    state = export_official(build_model(config))
    family = recognised_family(state)
    assert family is family_of(config)
    assert [each.kind for each in FAMILIES.values() if each.recognises(state)] == [family.kind]
    told = family.published_config(state).model_dump()
    for name, value in config.model_dump().items():
        for key in value if isinstance(value, dict) else [None]:
            dotted = name if key is None else f"{name}.{key}"
            # Heads and points of attention are told by no shape, and neither are the constants of normalisation.
            if dotted not in family.tensorless and not dotted.endswith((".heads", ".points")) and "pixel_" not in name:
                assert (told[name] if key is None else told[name][key]) == (value if key is None else value[key]), dotted


def test_a_published_checkpoint_is_converted(config, tmp_path):
    model = built(config, seed=1)
    torch.save({"model": export_official(model)}, tmp_path / "published.pth")
    conversion = convert_published(tmp_path / "published.pth", tmp_path / "m.safetensors")
    assert conversion.header.config.kind == config.kind and conversion.left_out == ()
    loaded = load_model(tmp_path / "m.safetensors").state_dict()
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())
    other = next(name for name, preset in PRESETS.items() if preset.kind != config.kind)
    with pytest.raises(ModelFileError, match=f"it is a {family_of(config).title}, the preset '{other}' is not"):
        convert_published(tmp_path / "published.pth", tmp_path / "n.safetensors", preset=other)


def test_other_classes_are_left_out_when_asked_to(config):
    state = export_official(built(config.model_copy(update={"num_classes": 7}), seed=1))
    model = built(config, seed=2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointMismatchError, match="shape"):
        load_official(model, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    report = load_official(model, state, skip_class_heads=True)
    assert report.skipped and set(report.skipped) <= state.keys()


def test_values_that_are_not_finite_are_refused(config):
    state = dict(export_official(build_model(config)))
    name = next(name for name, tensor in state.items() if tensor.ndim == 4)
    state[name] = torch.full_like(state[name], float("nan"))
    with pytest.raises(CheckpointMismatchError, match=f"{name} holds values that are not finite"):
        load_official(build_model(config), state)


def test_names_of_no_family_say_so():
    with pytest.raises(ModelFileError, match=r"at most a backbone \(it has 1 tensors: stem.weight"):
        recognised_family({"stem.weight": None})


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_survives_its_document(name):
    config = PRESETS[name]
    assert parse_model_config(json.loads(config.model_dump_json())) == config
    header = ModelHeader(name=name, config=config, classes=tuple(map(str, range(config.num_classes))))
    assert parse_header(json.loads(header.to_json())) == header


def test_a_kind_that_no_family_has_is_named():
    for kind in ("mask_scnn", 3, ["mask_dino"], None):
        with pytest.raises(ConfigError, match="of kind"):
            parse_model_config({"kind": kind})


# Files written before --------------------------------------------------------------------------------------------------


def test_a_config_that_names_no_kind_is_a_mask_dino():
    assert parse_model_config(CONFIG_WITHOUT_KIND) == PRESETS["maskdino_swinl"]
    document = {"format_version": 1, "name": "old", "config": CONFIG_WITHOUT_KIND, "gsd": 0.3}
    assert parse_header(document).config == PRESETS["maskdino_swinl"]
    with pytest.raises(ModelFileError, match="decoder"):
        parse_header({**document, "config": {**CONFIG_WITHOUT_KIND, "decoder": {"queries": 0}}})


@pytest.mark.parametrize("name", embedded_models())
def test_embedded_models_are_read(name):
    assert read_header(name).config == PRESETS["maskdino_lite"]
    model = load_model(name)
    assert model.header == read_header(name)
    assert family_of(model.config).kind == "mask_dino"


def test_what_families_there_are_is_known_without_torch(project):
    code = (
        "import sys; from engine.model.families.registry import FAMILIES; from engine.model.presets import PRESETS; "
        "[FAMILIES[config.kind].summary(config) for config in PRESETS.values()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project)
