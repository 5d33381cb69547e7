"""Parts of other packages work in a model like ours, and no model file can have them imported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from engine import export_official, load_official
from engine.commands.models import command as models_command
from engine.distribution import offered_components
from engine.errors import CheckpointMismatchError, ComponentError, ConfigError, ModelFileError
from engine.model.build import build_model
from engine.model.components import ALLOWED
from engine.model.config import BackboneComponent, FamilyConfig
from engine.model.families.registry import parse_model_config
from engine.model.header import ModelHeader, check_bounds, parse_header
from engine.model.inference import InferenceModel
from engine.model.model_file import load_model, save_model
from engine.model.presets import PRESETS
from tests.engine.model.components.tiny_parts_package import CONFIGS, install
from training.pretrained.start import start_from
from training.run.activation_checkpointing import checkpoint_activations


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The package on the path, as yet imported by nobody."""
    monkeypatch.syspath_prepend(install(tmp_path / "packages"))
    monkeypatch.delenv(ALLOWED, raising=False)
    offered_components.cache_clear()
    yield
    sys.modules.pop("tiny_parts", None)
    offered_components.cache_clear()


@pytest.fixture
def allowed(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "another_package, tiny_parts")


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> FamilyConfig:
    return CONFIGS[request.param]


def built(config: FamilyConfig):
    torch.manual_seed(3)
    return build_model(config)


def header_of(config: FamilyConfig) -> ModelHeader:
    return ModelHeader(name="tiny", config=config, gsd=0.3, tile_size=96)


@pytest.fixture
def file(allowed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file that names components, in a program that has not imported them and may not."""
    config = CONFIGS["mask_dino"]
    path = save_model(tmp_path / "tiny.safetensors", built(config), header_of(config))
    monkeypatch.delenv(ALLOWED)
    del sys.modules["tiny_parts"]
    return path


def picture() -> torch.Tensor:
    return torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0)) * 255


def test_a_model_comes_back_from_its_file_with_the_components_it_was_built_of(allowed, config, tmp_path) -> None:
    model = built(config).eval()
    assert {type(part).__module__ for part in model.children()} >= {"tiny_parts"}
    loaded = load_model(save_model(tmp_path / "tiny.safetensors", model, header_of(config)))
    assert loaded.config == config
    assert [type(part).__name__ for part in loaded.children()] == [type(part).__name__ for part in model.children()]
    assert loaded.backbone.stem.out_channels == 24
    (ours,), (theirs,) = model.instances([picture()], threshold=0.0), loaded.instances([picture()], threshold=0.0)
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.boxes, theirs.boxes)


@pytest.mark.parametrize("kind", ["mask_dino", "mask2former", "di_mask_dino"])
def test_a_component_is_given_what_its_config_says_of_it(allowed, kind) -> None:
    config = CONFIGS[kind]
    config = config.model_copy(
        update={"pixel_decoder": config.pixel_decoder.model_copy(update={"features": ("res4", "res5"), "levels": 3})}
    )
    model, size = built(config).eval(), picture().shape[-2:]
    pixels, levels = model.pixel_decoder(model.backbone(model.prepare([picture()])))
    assert pixels.shape == (1, config.pixel_decoder.mask_dim, *(side // 4 for side in size))
    assert [each.shape for each in levels] == [(1, 32, *(-(-side // stride) for side in size)) for stride in (16, 32, 64)]
    assert model([picture()], intermediate=False).mask_logits.shape == (1, config.decoder.queries, *pixels.shape[-2:])


def test_without_the_user_s_word_a_file_imports_nothing_and_says_how_to_allow_it(file) -> None:
    with pytest.raises(ModelFileError, match=r"^The model file .*'tiny_parts\.pooling' .* MASKDINO_COMPONENTS=tiny_parts\.$"):
        load_model(file)
    assert "tiny_parts" not in sys.modules


@pytest.mark.parametrize("word", ["", "*", "tiny", "tiny_parts.pooling", "another_package"])
def test_only_the_whole_name_of_the_package_allows_it(file, monkeypatch, word) -> None:
    monkeypatch.setenv(ALLOWED, word)
    with pytest.raises(ModelFileError, match="MASKDINO_COMPONENTS"):
        load_model(file)
    assert "tiny_parts" not in sys.modules


def test_a_package_that_is_not_installed_is_named(file, monkeypatch) -> None:
    monkeypatch.setenv(ALLOWED, "tiny_parts")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not folder.endswith("packages")])
    offered_components.cache_clear()
    with pytest.raises(
        ModelFileError, match=r"'tiny_parts\.pooling' .*no installed package offers.* Install .*'tiny_parts'\.$"
    ):
        load_model(file)


def test_a_package_lends_its_name_to_its_own_entry_points_alone(installed, tmp_path, monkeypatch) -> None:
    """Who allows ``tiny_parts`` has not allowed a distribution that offers a part under that name."""
    about = tmp_path / "packages/pretender-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pretender\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[maskdino.backbones]\nother = pretender:Other\ntiny_parts.other = pretender:Other\n"
    )
    offered_components.cache_clear()
    offered = offered_components("maskdino.backbones")
    assert {"pretender.other", "pretender.tiny_parts.other"} <= offered.keys()
    monkeypatch.setenv(ALLOWED, "tiny_parts")
    with pytest.raises(ComponentError, match="no installed package offers"):
        build_model(PRESETS["maskdino_r50"].model_copy(update={"backbone": BackboneComponent(name="tiny_parts.other")}))


def test_a_file_is_described_without_importing_anything(file) -> None:
    told = CliRunner().invoke(models_command, ["info", str(file)], catch_exceptions=False).output
    assert "name: tiny_parts.pooling" in told
    assert "name: tiny_parts.refiner" in told
    document = json.loads(CliRunner().invoke(models_command, ["info", str(file), "--json"], catch_exceptions=False).output)
    assert document["config"]["backbone"] == {"kind": "component", "name": "tiny_parts.pooling", "options": {"width": 24}}
    assert "tiny_parts" not in sys.modules


@pytest.mark.parametrize(
    ("options", "fault"), [({"width": 0}, "width: .*greater than"), ({"widht": 8}, "widht: Extra"), ({"width": "a"}, "width")]
)
def test_options_are_those_of_the_component(allowed, options, fault) -> None:
    backbone = BackboneComponent(name="tiny_parts.pooling", options=options)
    with pytest.raises(ConfigError, match=rf"'tiny_parts\.pooling' does not take these options: {fault}"):
        build_model(CONFIGS["mask_dino"].model_copy(update={"backbone": backbone}))


def test_what_is_no_component_is_refused(allowed, tmp_path) -> None:
    entries = tmp_path / "packages/tiny_parts-1.0.dist-info/entry_points.txt"
    entries.write_text(entries.read_text().replace("tiny_parts:Pooling", "tiny_parts:StrictModel"))
    offered_components.cache_clear()
    with pytest.raises(ComponentError, match=r"'tiny_parts\.pooling' is no subclass"):
        build_model(CONFIGS["mask_dino"])
    entries.write_text(entries.read_text().replace("tiny_parts:StrictModel", "tiny_parts:Missing"))
    offered_components.cache_clear()
    with pytest.raises(ComponentError, match=r"'tiny_parts\.pooling' cannot be imported from tiny_parts:Missing"):
        build_model(CONFIGS["mask_dino"])


@pytest.mark.parametrize(
    "backbone",
    [
        {"name": "tiny_parts"},
        {"name": "tiny_parts.pooling.more"},
        {"name": "../tiny_parts.pooling"},
        {"name": "tiny_parts.pooling", "module": "os"},
        {"name": "tiny_parts.pooling", "options": {"width": {"nested": 1}}},
        {"name": "tiny_parts.pooling", "options": {"width": [[1]]}},
        {"name": "tiny_parts.pooling", "options": {"width": 10**400}},
        {"name": "tiny_parts.pooling", "options": {"Width; DROP": 1}},
        {"name": "tiny_parts.pooling", "options": {"width": float("nan")}},
        {"name": "tiny_parts.pooling", "options": {"width": "8" * 201}},
        {"options": {}},
    ],
)
def test_a_header_names_a_component_strictly(backbone) -> None:
    with pytest.raises(ConfigError, match="backbone"):
        parse_model_config({"backbone": {"kind": "component", **backbone}})


def test_an_option_keeps_its_type_in_a_file() -> None:
    options = {"flag": True, "count": 1, "share": 1.0, "name": "one", "nothing": None, "sizes": [1, 2.5, False]}
    config = CONFIGS["mask_dino"].model_copy(update={"backbone": BackboneComponent(name="tiny_parts.pooling", options=options)})
    read = parse_header(json.loads(header_of(config).to_json())).config.backbone.options
    assert {name: repr(value) for name, value in read.items()} == {
        name: repr(tuple(value) if isinstance(value, list) else value) for name, value in options.items()
    }


def test_numbers_of_options_are_bounded_by_the_file_s_size() -> None:
    config = CONFIGS["mask_dino"]
    check_bounds(header_of(config), 1_000_000)
    for options in ({"width": 2_000_000}, {"layers": 1000}, {"sizes": [3, 2_000_000]}):
        backbone = BackboneComponent(name="tiny_parts.pooling", options=options)
        with pytest.raises(ModelFileError, match=rf"backbone\.options\.{next(iter(options))}"):
            check_bounds(header_of(config.model_copy(update={"backbone": backbone})), 1_000_000)


def test_a_config_survives_its_json_and_built_in_parts_name_no_kind(config) -> None:
    assert parse_header(json.loads(header_of(config).to_json())).config == config
    document = PRESETS["maskdino_r50"].model_dump()
    assert "kind" not in document["pixel_decoder"] | document["decoder"]


def test_there_are_no_published_names_of_components(allowed, tmp_path) -> None:
    model = built(CONFIGS["mask_dino"])
    with pytest.raises(CheckpointMismatchError, match=r"No published checkpoint .*'tiny_parts\.pyramid'"):
        export_official(model)
    published = export_official(built(PRESETS["maskdino_tiny"]))
    with pytest.raises(CheckpointMismatchError, match=r"No published checkpoint .*'tiny_parts\.pyramid'"):
        load_official(model, published)
    torch.save(published, tmp_path / "published.pth")
    with pytest.raises(CheckpointMismatchError, match=r"published\.pth.*No published checkpoint .*'tiny_parts\.pyramid'"):
        start_from(model, tmp_path / "published.pth")


def test_gradients_reach_every_component_and_can_be_computed_anew(allowed) -> None:
    model, other = built(CONFIGS["mask_dino"]).train(), built(CONFIGS["mask_dino"]).train()
    assert set(model.repeated_parts()) == set(model.decoder.layers)
    checkpoint_activations(other)
    for each in (model, other):
        outputs = each([picture()])
        (outputs.class_logits.sum() + outputs.boxes.sum() + outputs.mask_logits.mean()).backward()
    for part in (model.backbone, model.pixel_decoder, model.decoder):
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_components_compute_in_float32_in_a_model_that_detects_in_bfloat16(allowed, precision) -> None:
    config = CONFIGS["mask_dino"]
    ours = PRESETS["maskdino_tiny"].model_copy(
        update={"hidden_dim": 32, "pixel_decoder": config.pixel_decoder, "decoder": config.decoder}
    )
    model = built(ours).eval()
    given: set[torch.dtype] = set()
    faster = InferenceModel(model, precision=precision)
    assert {parameter.dtype for parameter in faster.model.decoder.parameters()} == {torch.float32}
    faster.model.pixel_decoder.register_forward_pre_hook(
        lambda _, inputs: given.update(features.dtype for features in inputs[0].values())
    )
    (expected,), (found,) = model.instances([picture()], threshold=0.0), faster.instances([picture()], threshold=0.0)
    assert given == {torch.float32}
    tolerance = 1e-4 if precision == "float32" else 0.02
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=tolerance)
