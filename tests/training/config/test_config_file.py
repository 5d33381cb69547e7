"""Training configs: strict, changed from the command line, and clear about what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.errors import ConfigError
from training.config.config_file import known_keys, read_config, ready_configs
from training.config.schema import FittingParts, TrainConfig

MINIMAL = {
    "name": "x",
    "model": "maskdino_tiny",
    "data": {"sources": [{"kind": "coco", "folder": "a"}], "size": 64},
    "run": {"steps": 3},
}


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


@pytest.mark.parametrize("name", sorted(ready_configs()))
def test_ready_configs_hold_and_survive_their_own_json(name: str) -> None:
    config = read_config(name)
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


def test_there_is_a_ready_config_for_each_purpose() -> None:
    assert set(ready_configs()) == {
        "mapchallenge_swinl",
        "mapchallenge_r50",
        "embedded",
        "finetune",
        "maskrcnn_r50",
        "maskrcnn_finetune",
    }


def test_the_published_run_is_the_published_run() -> None:
    """The numbers are those of its log: Swin-L, 320 pixels, 32 images per step, AdamW at 1e-4."""
    config = read_config("mapchallenge_swinl")
    assert (config.model, config.data.size, config.run.batch, config.run.average) == ("maskdino_swinl", 320, 32, None)
    optimizer = config.optimizer
    assert (optimizer.learning_rate, optimizer.backbone_factor, optimizer.weight_decay, optimizer.clip) == (
        1e-4,
        0.1,
        0.05,
        0.01,
    )
    assert config.losses == type(config.losses)()


def test_changes_reach_nested_keys_lists_and_numbers_as_people_write_them(minimal: Path) -> None:
    config = read_config(
        minimal, ["optimizer.learning_rate=5e-5", "data.sources.0.gsd=2", "schedule.milestones=[10, 20]", "run.average=null"]
    )
    assert config.optimizer.learning_rate == 5e-5
    assert config.data.sources[0].gsd == 2
    assert config.schedule.milestones == (10, 20)
    assert config.run.average is None


def test_a_folder_stands_for_a_coco_source(minimal: Path) -> None:
    config = read_config(minimal, ["data.sources=town/train", "data.validation=[a, b]"])
    assert [str(source.folder) for source in config.data.sources] == ["town/train"]
    assert [str(source.folder) for source in config.data.validation] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.learning_rat=1", "optimizer.learning_rat is unknown. Did you mean optimizer.learning_rate?"),
        ("learning_rate=1", "learning_rate is unknown. Did you mean optimizer.learning_rate?"),
        ("data.sources.0.foldr=x", "Did you mean data.sources.folder?"),
        ("losses.denoising.numbr=1", "Did you mean losses.denoising.number?"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate: input should be greater than 0 (it is '-1')"),
        ("run.batch=many", "run.batch: input should be a valid integer"),
        ("run.epochs=2", "give steps, epochs or minutes, one of them"),
        ("data.sources.3.gsd=1", "'3' is none of the 1 entries"),
        ("name", "'name' is not KEY=VALUE"),
        ("name=[", "is not YAML"),
        ("name.first=x", "has no keys"),
        ("version=2", "version: input should be 1"),
        ("name=../escape", "name:"),
    ],
)
def test_what_is_wrong_is_named(minimal: Path, change: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(minimal, [change])
    assert said in str(caught.value)


def test_a_config_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean finetune"):
        read_config("finetun")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_config(broken)
    broken.write_text("- 1")
    with pytest.raises(ConfigError, match="holds no keys"):
        read_config(broken)
    broken.write_text("!!python/object/apply:os.system ['touch /nowhere']")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_config(broken)


def test_a_model_or_something_to_start_from_has_to_be_given(minimal: Path) -> None:
    with pytest.raises(ConfigError, match="model and start_from are both empty"):
        read_config(minimal, ["model=null"])


def test_several_sources_and_parts_of_one_are_spelt_out(minimal: Path) -> None:
    parts = FittingParts(file="m.safetensors", parts="fitting")
    read = {
        "a.pth": ("a.pth",),
        "null": (),
        "{file: m.safetensors, parts: fitting}": (parts,),
        "[a.pth, {file: m.safetensors, parts: fitting}]": ("a.pth", parts),
    }
    for text, starts in read.items():
        assert read_config(minimal, [f"start_from={text}"]).starts == starts
    wrong = {
        "{file: m.safetensors}": r"start_from\.parts\.parts: field required",
        "{file: m.safetensors, parts: all}": r"start_from\.parts\.parts: input should be 'fitting'",
        "[]": "at least 1 item",
        "[1]": r"start_from\.list\.0",
    }
    for text, told in wrong.items():
        with pytest.raises(ConfigError, match=told):
            read_config(minimal, [f"start_from={text}"])
    with pytest.raises(ConfigError, match="name the preset to build"):
        read_config(minimal, ["model=null", "start_from=[a.safetensors]"])


def test_every_key_is_known_by_its_dotted_name() -> None:
    keys = set(known_keys(TrainConfig))
    assert {
        "optimizer.learning_rate",
        "run.steps",
        "losses.denoising.number",
        "data.sources.folder",
        "model.decoder.queries",
    } <= keys
