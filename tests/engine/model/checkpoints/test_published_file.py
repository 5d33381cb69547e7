"""Published checkpoints in every container give the same tensors, and their shapes tell which model they are."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import save_file

from engine.errors import ArgumentError, CheckpointMismatchError, ModelFileError
from engine.model.build import build_model
from engine.model.checkpoints.catalogue import PUBLISHED, find_published
from engine.model.checkpoints.conversion import convert_published
from engine.model.checkpoints.published_state import export_official, load_official
from engine.model.checkpoints.reader import read_published
from engine.model.config import SwinConfig
from engine.model.families.maskdino.config import MaskDinoConfig
from engine.model.families.maskdino.published_config import published_config
from engine.model.families.registry import recognised_family
from engine.model.model_file import load_model
from engine.model.presets import PRESETS, preset_of
from tests.engine.model.small_model import SMALL_CONFIG
from tests.goldens.recordings import published_tensors
from tests.parity_weights import filled_state_dict


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A state dict under the published names."""
    torch.manual_seed(3)
    return {name: tensor.detach().clone() for name, tensor in export_official(build_model(SMALL_CONFIG)).items()}


def _arrays(state):
    return {name: tensor.numpy() for name, tensor in state.items()}


def _legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _pickled(content, path):
    path.write_bytes(pickle.dumps(content))


WRITERS = {
    "detectron2's .pth": lambda state, path: torch.save(
        {"model": OrderedDict(state), "optimizer": {"state": {0: torch.ones(3)}}, "iteration": 9, "best": np.float64(5)},
        path,
    ),
    "a bare .pth": lambda state, path: torch.save(state, path),
    "a module's state dict": lambda state, path: torch.save({"state_dict": state, "epoch": 1}, path),
    "parameters": lambda state, path: torch.save(
        {
            "model": {
                name: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()
            }
        },
        path,
    ),
    "from distributed training": lambda state, path: torch.save(
        {"model": {f"module.{name}": tensor for name, tensor in state.items()}}, path
    ),
    "before PyTorch 1.6": lambda state, path: _legacy({"model": state}, path),
    "arrays in a .pth": lambda state, path: torch.save({"model": _arrays(state)}, path),
    "detectron2's .pkl": lambda state, path: _pickled(
        {"model": _arrays(state), "__author__": "someone", "matching_heuristics": True}, path
    ),
    "a bare .pkl": lambda state, path: _pickled(_arrays(state), path),
    "safetensors": lambda state, path: save_file({name: tensor.clone() for name, tensor in state.items()}, path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_container_gives_the_same_tensors(state, tmp_path, kind, monkeypatch):
    path = tmp_path / "checkpoint"
    WRITERS[kind](state, path)
    monkeypatch.setattr(torch, "load", None)  # not for the files of strangers
    tensors = read_published(path).tensors
    assert list(tensors) == (sorted(state) if kind == "safetensors" else list(state))
    for name, tensor in state.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor), name


def test_what_else_is_in_the_file_is_named_and_left_out(state, tmp_path):
    WRITERS["detectron2's .pth"](state, tmp_path / "a.pth")
    checkpoint = read_published(tmp_path / "a.pth")
    assert checkpoint.container == "pth"
    assert checkpoint.other_entries == ("best", "iteration", "optimizer")


def test_real_modules_of_pytorch_with_their_notes_are_read(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).to(torch.float16)
    torch.save({"model": module.state_dict()}, tmp_path / "a.pth")
    tensors = read_published(tmp_path / "a.pth").tensors
    assert all(torch.equal(tensors[name], tensor) for name, tensor in module.state_dict().items())


def test_tensors_that_are_views_come_as_they_are(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    views = {"rows": base[1:3], "turned": base.T, "shared": base, "one": base[2, 3], "none": base[:0]}
    for writer in (torch.save, _legacy):
        writer({"model": views}, tmp_path / "a.pth")
        tensors = read_published(tmp_path / "a.pth").tensors
        assert all(torch.equal(tensors[name], view) for name, view in views.items())


_DTYPES = st.one_of(hnp.floating_dtypes(endianness="?"), hnp.integer_dtypes(endianness="?"), st.just(np.dtype(bool)))


@given(
    array=_DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
    order=st.sampled_from("CFK"),
    step=st.sampled_from([1, 2, -1]),
)
def test_any_array_of_numbers_in_any_protocol_comes_back(tmp_path_factory, array, protocol, order, step):
    array = array[..., ::step] if array.ndim else array
    array = array if order == "K" else np.array(array, order=order)
    path = tmp_path_factory.getbasetemp() / "array.pkl"
    path.write_bytes(pickle.dumps({"a": array, "again": array}, protocol))
    tensors = read_published(path).tensors
    for name in ("a", "again"):
        np.testing.assert_array_equal(tensors[name].numpy(), array)
        assert tensors[name].numpy().dtype == array.dtype.newbyteorder("=")


def test_a_pickle_of_python_2_and_the_first_numpys_is_read(tmp_path):
    # As Python 2 wrote {"model": {"a": np.float32([1.5])}} with protocol 2: bytes as text, and flags as integers.
    state = b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    data = b"U\x04" + np.float32(1.5).tobytes() + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state + data
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}U\x05model}U\x01a" + array + b"ss.")
    assert read_published(tmp_path / "a.pkl").tensors["a"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a pickle"),
        (b"no checkpoint at all", "not a pickle"),
        (b"<!DOCTYPE html><html>Not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"model": {}}), "no tensors"),
        (pickle.dumps({"model": {"a": 1}}), "'a' is not a tensor"),
        (pickle.dumps({3: 4}), "not a tensor"),
    ],
)
def test_what_is_no_checkpoint_says_what_it_is(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_published(tmp_path / "a.pth")


def test_a_model_file_is_not_converted_again(state, tmp_path):
    torch.save(state, tmp_path / "a.pth")
    convert_published(tmp_path / "a.pth", tmp_path / "a.safetensors")
    with pytest.raises(ModelFileError, match="a model file already"):
        convert_published(tmp_path / "a.safetensors", tmp_path / "b.safetensors")


def test_files_that_are_not_there_or_folders_are_named(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        read_published(tmp_path / "missing.pth")
    with pytest.raises(ModelFileError, match="folder"):
        read_published(tmp_path)


# Which model it is -----------------------------------------------------------------------------------------------------


def test_shapes_tell_the_config(state):
    assert published_config(state, preset_name="maskdino_r50") == SMALL_CONFIG


@pytest.mark.parametrize(
    "name",
    [
        "maskdino_r50",
        "maskdino_r50_hid1024",
        "maskdino_r50_panoptic",
        "maskdino_r50_semantic",
        "maskdino_swinl",
        "maskdino_swinl_panoptic",
        "dimaskdino_r50",
        "mask2former_dinatl",
        "mask2former_dinatl_panoptic",
        "mask2former_dinatl_semantic",
    ],
)
def test_presets_are_told_by_the_shapes_of_their_tensors(name):
    with torch.device("meta"):
        tensors = export_official(build_model(name))
    config = recognised_family(tensors).published_config(tensors)
    assert config == PRESETS[name]
    assert preset_of(config) == name


@pytest.mark.parametrize(
    ("file", "preset"),
    [
        ("maskdino_r50", "maskdino_r50"),
        ("maskdino_swinl_map", "maskdino_swinl"),
        ("maskdino_r50_coco_pan", "maskdino_r50_panoptic"),
        ("maskdino_r50_ade_sem", "maskdino_r50_semantic"),
        ("dimaskdino_r50", "dimaskdino_r50"),
        ("mask2former_dinatl", "mask2former_dinatl"),
    ],
)
def test_published_names_and_shapes_are_told(file, preset):
    tensors = {name: torch.empty(entry["shape"], device="meta") for name, entry in published_tensors(file).items()}
    assert preset_of(recognised_family(tensors).published_config(tensors)) == preset


@pytest.mark.parametrize(
    "known", [model for model in PUBLISHED if model.makers == "IDEA-Research"], ids=lambda model: model.file
)
def test_a_published_file_is_told_by_its_name_where_shapes_say_too_little(known):
    """Such as where boxes start, which differs between two published models of the same shapes."""
    with torch.device("meta"):
        tensors = export_official(build_model(known.preset, num_classes=known.classes))
    config = published_config(tensors, known=known)
    assert config == PRESETS[known.preset].model_copy(update={"num_classes": known.classes})
    like_it = "maskdino_swinl" if "swinl" in known.preset else "maskdino_r50"
    assert published_config(tensors, known=known, preset_name=like_it) == config  # the makers know better
    other = PRESETS["maskdino_tiny"]  # a file that only bears the name
    with torch.device("meta"):
        tensors = export_official(build_model(other))
    assert published_config(tensors, known=known).backbone.widths == other.backbone.widths


def test_what_classes_stand_for_is_told_by_a_preset_that_is_named():
    with torch.device("meta"):
        stuff_and_things = export_official(build_model("maskdino_r50", num_classes=133))
        own = export_official(build_model("maskdino_r50_panoptic", num_classes=5))
        cityscapes = export_official(build_model("maskdino_r50_semantic", num_classes=19))
    assert published_config(stuff_and_things).task == "panoptic"
    assert published_config(stuff_and_things, preset_name="maskdino_r50").task == "instance"
    assert published_config(own).task == "instance"
    assert published_config(own, preset_name="maskdino_r50_panoptic").task == "panoptic"
    # Only semantic models compare their classes with no object.
    assert published_config(cityscapes, preset_name="maskdino_r50").task == "semantic"
    assert preset_of(published_config(cityscapes)) == "maskdino_r50_semantic"


def test_norms_that_were_trained_are_told_from_frozen_ones():
    """As in the Cityscapes model: they count their batches."""
    with torch.device("meta"):
        tensors = export_official(build_model("maskdino_r50_semantic", num_classes=19))
    counted = tensors | {"backbone.stem.conv1.norm.num_batches_tracked": torch.tensor(7)}
    assert published_config(tensors).backbone.norm == "frozen"
    assert published_config(counted).backbone.norm == "batch"


def test_levels_may_come_coarsest_first():
    features = ("res5", "res4", "res3")
    changes = {"features": features, "levels": 3}
    config = SMALL_CONFIG.model_copy(update={"pixel_decoder": SMALL_CONFIG.pixel_decoder.model_copy(update=changes)})
    with torch.device("meta"):
        assert published_config(export_official(build_model(config)), preset_name="maskdino_r50") == config


def test_a_small_swin_is_told():
    backbone = SwinConfig(embed_dim=24, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), window_size=7)
    base = PRESETS["maskdino_swinl"]
    config = MaskDinoConfig(
        num_classes=4, backbone=backbone, pixel_decoder=base.pixel_decoder, decoder=base.decoder, detections_per_image=300
    )
    with torch.device("meta"):
        assert published_config(export_official(build_model(config))) == config


def test_a_backbone_alone_is_not_a_model():
    with pytest.raises(ModelFileError, match="at most a backbone"):
        recognised_family({"stem.conv1.weight": torch.zeros(64, 3, 7, 7)})


# Conversion -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(state, tmp_path) -> Path:
    WRITERS["detectron2's .pth"](state, tmp_path / "published.pth")
    return tmp_path / "published.pth"


def _outputs(model):
    with torch.no_grad():
        return model(torch.linspace(0, 255, 3 * 64 * 96).reshape(1, 3, 64, 96))


def test_a_converted_checkpoint_is_the_model_it_was(state, published, tmp_path):
    conversion = convert_published(published, tmp_path / "out.safetensors", preset="maskdino_r50")
    assert conversion.left_out == ()
    loaded = load_model(conversion.path)
    assert loaded.header == conversion.header
    original = build_model(SMALL_CONFIG).eval()
    load_official(original, state)
    for ours, theirs in zip(_outputs(loaded).__dict__.values(), _outputs(original).__dict__.values(), strict=True):
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs)
    exported = export_official(loaded)
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in state.items())


def test_other_classes_are_taken_only_when_asked_to(published, tmp_path):
    output = tmp_path / "out.safetensors"
    with pytest.raises(ArgumentError, match=r"trained on 2 classes, and 1 are asked for.*--drop-classes"):
        convert_published(published, output, classes=("building",))
    assert not output.exists()
    conversion = convert_published(published, output, drop_classes=True)
    assert set(conversion.left_out) == {
        "sem_seg_head.predictor.class_embed.weight",
        "sem_seg_head.predictor.class_embed.bias",
        "sem_seg_head.predictor.label_enc.weight",
        "criterion.empty_weight",
    }
    assert conversion.header.classes == ("building",)
    assert "untrained" in conversion.header.limits
    assert load_model(output).config.num_classes == 1
    again = convert_published(published, tmp_path / "again.safetensors", drop_classes=True)
    for a, b in zip(load_model(output).parameters(), load_model(again.path).parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_is_said_about_the_model_stands_in_its_header(published, tmp_path):
    conversion = convert_published(
        published, tmp_path / "out.safetensors", classes=("house", "shed"), gsd=0.25, tile_size=320, half=True
    )
    header = conversion.header
    assert (header.name, header.classes, header.gsd, header.tile_size) == ("out", ("house", "shed"), 0.25, 320)
    assert header.training.started_from == "published.pth"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gsd": -1.0}, "--gsd -1.0"),
        ({"tile_size": 3}, "--tile-size 3"),
        ({"classes": ("a", "b"), "num_classes": 3}, "2 class names"),
        ({"preset": "maskdino_r51"}, "maskdino_r51"),
        ({"preset": "maskdino_swinl"}, "resnet backbone"),
    ],
)
def test_arguments_that_cannot_be_are_named(published, tmp_path, arguments, message):
    with pytest.raises((ArgumentError, ModelFileError), match=message):
        convert_published(published, tmp_path / "out.safetensors", **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["published.pth"]


def test_the_output_must_be_called_a_model_file(published, tmp_path):
    with pytest.raises(ArgumentError, match=r"\.safetensors"):
        convert_published(published, tmp_path / "out.pth")


def test_a_tensor_that_is_missing_is_named(state, tmp_path):
    broken = {name: tensor for name, tensor in state.items() if name != "sem_seg_head.predictor.enc_output.bias"}
    torch.save({"model": broken}, tmp_path / "published.pth")
    with pytest.raises(CheckpointMismatchError, match=r"published\.pth.*missing sem_seg_head\.predictor\.enc_output\.bias"):
        convert_published(tmp_path / "published.pth", tmp_path / "out.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tensors", "figures"),
    [
        ("maskdino_r50", {"mask AP": 46.3, "box AP": 51.7}),
        ("maskdino_r50_coco_pan", {"PQ": 53.0, "mask AP": 48.8, "box AP": 44.3, "mIoU": 60.6}),
        ("maskdino_r50_ade_sem", {"mIoU": 48.7}),
    ],
)
def test_the_published_r50_converts_with_nothing_missing_and_nothing_left_over(tmp_path, tensors, figures):
    known = next(model for model in PUBLISHED if model.figures == figures)
    tensors = filled_state_dict(tensors)
    torch.save({"model": tensors}, tmp_path / known.file)
    conversion = convert_published(tmp_path / known.file, tmp_path / "r50.safetensors")
    assert conversion.preset == known.preset
    assert conversion.left_out == ()
    assert conversion.header.training.figures == figures
    assert len(conversion.header.classes) == known.classes
    exported = export_official(load_model(conversion.path))
    assert all(torch.equal(exported[name], tensor) for name, tensor in tensors.items())


# The catalogue --------------------------------------------------------------------------------------------------------


def test_the_catalogue_is_consistent():
    assert len({model.file for model in PUBLISHED}) == len(PUBLISHED)
    for model in PUBLISHED:
        assert model.preset in PRESETS and getattr(PRESETS[model.preset], "task", "instance") == model.task
        assert model.url.startswith("https://") and (model.url.endswith(".pth") or model.page)
        assert find_published(model.file) is model
        for figure in model.figures.values():
            assert 0 < figure < 100
        # These makers write their figures into the name.
        if model.task == "instance" and model.makers == "IDEA-Research":
            assert f"mask{model.figures['mask AP']}ap_box{model.figures['box AP']}ap" in model.file
