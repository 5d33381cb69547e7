"""A model file gives back the model that went in, and one that is anything else says what it is."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.errors import CheckpointMismatchError, DeviceError, MaskDinoError, ModelFileError, OutputError
from engine.model.build import build_model
from engine.model.header import DataSource, ModelHeader, TrainingRecord
from engine.model.model_file import (
    MAX_DOCUMENT_BYTES,
    embedded_models,
    find_model_file,
    load_model,
    read_header,
    save_model,
)
from tests.engine.model.small_model import SMALL_CONFIG

HEADER = ModelHeader(
    name="small",
    config=SMALL_CONFIG,
    classes=("building", "greenhouse"),
    gsd=0.3,
    tile_size=256,
    training=TrainingRecord(
        trained_by="a test",
        data=(DataSource(name="none", licence="CC0-1.0"),),
        finished="2026-11-20",
        hours=0.1,
        figures={"AP50": 0.5, "AP": float("nan")},
    ),
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return build_model(SMALL_CONFIG).eval()


@pytest.fixture
def file(model, tmp_path) -> Path:
    return save_model(tmp_path / "small.safetensors", model, HEADER)


def _outputs(model):
    with torch.no_grad():
        outputs = model(torch.linspace(0, 255, 3 * 64 * 96).reshape(1, 3, 64, 96))
    return outputs.class_logits, outputs.boxes, outputs.mask_logits


def _rewritten(file: Path, *, document=None, tensors=None) -> Path:
    """Write the file again with another JSON document or other tensors."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    if document is not None:
        metadata["maskdino"] = document if isinstance(document, str) else json.dumps(document)
    save_file(load_file(file) if tensors is None else tensors, file, metadata=metadata)
    return file


def _document(**changes) -> dict:
    return {**json.loads(HEADER.to_json()), **changes}


def test_a_saved_model_comes_back_bit_for_bit(model, file):
    loaded = load_model(file)
    assert loaded.header == HEADER == read_header(file)
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(_outputs(model), _outputs(loaded), strict=True))


def test_float16_takes_half_the_room_and_loads_as_float32(model, file, tmp_path):
    half = save_model(tmp_path / "half.safetensors", model, HEADER, dtype="float16")
    assert half.stat().st_size < 0.6 * file.stat().st_size
    loaded = load_model(half)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == model.state_dict()[name].dtype
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_saving_a_loaded_model_gives_the_same_file(file, tmp_path):
    loaded = load_model(file)
    again = save_model(tmp_path / "again.safetensors", loaded, loaded.header)
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are a matter of POSIX")
def test_a_model_file_may_be_read_by_whoever_may_read_other_new_files(file):
    file.with_name("other").touch()
    assert file.stat().st_mode == file.with_name("other").stat().st_mode


def test_a_shared_parameter_is_stored_once(tmp_path):
    model = build_model(SMALL_CONFIG)
    model.decoder.layers[1].linear1 = model.decoder.layers[0].linear1
    file = save_model(tmp_path / "shared.safetensors", model, HEADER)
    with safe_open(file, "pt") as opened:
        names = set(opened.keys())
    assert "decoder.layers.0.linear1.weight" in names
    assert "decoder.layers.1.linear1.weight" not in names


def test_a_model_in_training_mode_on_other_memory_formats_is_saved_whole(tmp_path):
    model = build_model(SMALL_CONFIG).train().to(memory_format=torch.channels_last)
    loaded = load_model(save_model(tmp_path / "m.safetensors", model, HEADER))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True))


def test_a_figure_that_is_not_a_number_is_an_unknown_one():
    assert HEADER.training.figures == {"AP50": 0.5, "AP": None}


def test_the_header_is_read_without_torch(file):
    code = (
        f"import sys; from engine.model.model_file import read_header; read_header({str(file)!r}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version"),
        ({"format_version": True}, "format version"),
        ({"colour": "red"}, "colour"),
        ({"config": {**json.loads(SMALL_CONFIG.model_dump_json()), "queries": 5}}, "queries"),
        ({"config": None}, "config"),
        ({"classes": ["building"]}, "1 class names for 2 classes"),
        ({"bands": ["red"]}, "1 bands for 3 pixel means"),
        ({"gsd": -1.0}, "gsd"),
        ({"tile_size": 7}, "tile_size"),
    ],
)
def test_a_header_that_does_not_hold_is_refused_by_name(file, changes, message):
    _rewritten(file, document=_document(**changes))
    for read in (read_header, load_model):
        with pytest.raises(ModelFileError, match=message) as caught:
            read(file)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '"text"', "[" * 100_000, "{}"])
def test_a_document_that_is_not_a_header_is_refused(file, document):
    _rewritten(file, document=document)
    with pytest.raises(ModelFileError):
        read_header(file)


def test_a_document_of_absurd_size_is_refused_unread(file):
    _rewritten(file, document=_document(description="x" * MAX_DOCUMENT_BYTES))
    with pytest.raises(ModelFileError, match="without the header"):
        read_header(file)


@pytest.mark.parametrize("length", [0, 1, 2**40, 2**64 - 1])
def test_an_absurd_header_size_is_refused(file, length):
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])
    for read in (read_header, load_model):
        with pytest.raises(ModelFileError, match="not a safetensors file"):
            read(file)


def test_a_truncated_file_is_refused_wherever_it_ends(file):
    content = file.read_bytes()
    for end in (0, 4, 8, 9, 1000, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:end])
        for read in (read_header, load_model):
            with pytest.raises(ModelFileError):
                read(file)


def test_bytes_after_the_end_are_refused(file):
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ModelFileError, match="bytes"):
        load_model(file)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_headers_never_escape_the_hierarchy(model, tmp_path_factory, flips):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    if not path.exists():
        save_model(path.with_name("whole.safetensors"), model, HEADER)
    content = bytearray(path.with_name("whole.safetensors").read_bytes())
    for position, value in flips:
        content[position] = value
    path.write_bytes(content)
    with contextlib.suppress(MaskDinoError):
        load_model(path)


def test_missing_left_over_and_misshapen_tensors_are_named(file):
    tensors = load_file(file)
    tensors["extra"] = torch.zeros(2)
    del tensors["heads.norm.weight"]
    tensors["heads.norm.bias"] = torch.zeros(5)
    _rewritten(file, tensors=tensors)
    with pytest.raises(CheckpointMismatchError) as caught:
        load_model(file)
    for text in ("missing heads.norm.weight", "left over extra", "heads.norm.bias has shape (5,)"):
        assert text in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite_are_refused(file, value):
    tensors = load_file(file)
    tensors["heads.norm.weight"][3] = value
    with pytest.raises(ModelFileError, match=r"heads\.norm\.weight"):
        load_model(_rewritten(file, tensors=tensors))


@pytest.mark.parametrize(
    "part",
    [
        {"hidden_dim": 10**6},
        {"decoder": {"layers": 10**9}},
        {"pixel_decoder": {"levels": 10**9}},
        {"decoder": {"heads": 0}},
        {"hidden_dim": -32},
        {"hidden_dim": 2**62},
    ],
)
def test_a_config_beyond_its_tensors_is_refused_before_memory_is_taken(file, part):
    document = _document()
    for key, value in part.items():
        document["config"][key] = {**document["config"][key], **value} if isinstance(value, dict) else value
    with pytest.raises(ModelFileError):
        load_model(_rewritten(file, document=document))


def test_a_safetensors_file_of_others_is_told_from_a_model_file(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="without the header of a model"):
        load_model(tmp_path / "other.safetensors")


def test_a_published_checkpoint_is_sent_to_the_converter(tmp_path):
    torch.save({"model": {"a": torch.zeros(2)}}, tmp_path / "published.pth")
    with pytest.raises(ModelFileError, match=r"maskdino models convert published\.pth"):
        load_model(tmp_path / "published.pth")


def test_names_and_paths_that_lead_nowhere_say_where_to_go(tmp_path):
    with pytest.raises(ModelFileError, match="neither a file nor an embedded model"):
        load_model("no_such_model")
    with pytest.raises(ModelFileError, match="folder"):
        load_model(tmp_path)
    missing = sorted({"maskdino_r50", "maskdino_swinl"} - set(embedded_models()))
    with pytest.raises(ModelFileError, match="models convert"):
        load_model(missing[0])


def test_every_embedded_model_is_found_by_its_name_and_loads():
    for name, path in embedded_models().items():
        assert find_model_file(name) == path
        assert load_model(name).header == read_header(name)


def test_a_device_that_is_not_there_is_named(file):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="cuda"):
        load_model(file, device="cuda")


def test_header_and_model_must_be_of_one_config(model, tmp_path):
    other = HEADER.model_copy(update={"config": SMALL_CONFIG.model_copy(update={"detections_per_image": 7})})
    with pytest.raises(ModelFileError, match="another model"):
        save_model(tmp_path / "m.safetensors", model, other)
    assert list(tmp_path.iterdir()) == []


def test_what_float16_cannot_hold_is_refused_and_leaves_nothing(tmp_path):
    model = build_model(SMALL_CONFIG)
    with torch.no_grad():
        model.heads.norm.weight[0] = 70000.0
    with pytest.raises(ModelFileError, match=r"heads\.norm\.weight"):
        save_model(tmp_path / "m.safetensors", model, HEADER, dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_output_error(model, tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        save_model(tmp_path / "nowhere" / "m.safetensors", model, HEADER)


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are a matter of POSIX")
def test_a_full_disk_leaves_the_old_model_and_no_part_of_the_new(model, file):
    import resource

    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"small\.safetensors"):
            save_model(file, model, HEADER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("size_divisibility", value) for value in (0, -32, 257, 4096, 16384, 10**9)),
        *(("pixel_std", value) for value in ([0, 1, 1], [1, -1, 1])),
        ("detections_per_image", 10**9),
        *((f"decoder.{key}", 10**9) for key in ("queries", "layers", "points", "heads", "feedforward")),
        *((f"pixel_decoder.{key}", 10**9) for key in ("levels", "layers", "points", "heads", "mask_dim", "feedforward")),
        ("hidden_dim", 10**12),
    ],
)
def test_numbers_that_the_size_of_the_file_does_not_justify_are_refused(file, name, value):
    document = _document()
    place = document["config"]
    *parents, last = name.split(".")
    for parent in parents:
        place = place[parent]
    place[last] = value
    with pytest.raises(ModelFileError, match=last):
        read_header(_rewritten(file, document=document))


def test_whole_numbers_are_no_weights(file):
    tensors = load_file(file)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = torch.ones(tensors[name].shape, dtype=torch.int32)
    with pytest.raises(ModelFileError, match=f"{name} holds torch.int32"):
        load_model(_rewritten(file, tensors=tensors))
