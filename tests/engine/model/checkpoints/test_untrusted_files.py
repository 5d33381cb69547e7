"""Files that try to run code, or to take more memory than they have bytes: refused, with nothing run.

Each attack, were it run, would create a marker file. Every test first proves that the attack works on an ordinary reader.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import MaskDinoError, ModelFileError, UnsafeFileError
from engine.model.checkpoints.reader import read_published

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def attacks(marker) -> dict[str, object]:
    code = f"open({str(marker)!r}, 'w').close()"
    nested = pickle.dumps(Call(exec, code))
    return {
        "os.system": Call(os.system, f"echo > '{marker}'"),
        "exec": Call(exec, code),
        "eval": Call(eval, f"open({str(marker)!r}, 'w').close()"),
        "open": Call(open, str(marker), "w"),
        "nested pickle": Call(pickle.loads, nested),
        "torch.load of a pickle": Call(_load_from_bytes(), nested),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "inside an array of objects": np.array([Call(exec, code)], dtype=object),
        "numpy.load": Call(np.load, str(marker), None, True),
        "state of an object": _WithState(code),
        "in a key": {("a", Call(exec, code)): 1},
        "in the arguments of an allowed function": Call(np.dtype, Call(exec, code)),
    }


class _WithState:
    def __init__(self, code: str):
        self.code = code

    def __reduce__(self):
        return object.__new__, (object,), Call(exec, self.code)


def _load_from_bytes():
    return torch.storage._load_from_bytes


NAMES = [
    *("os.system", "exec", "eval", "open", "nested pickle", "torch.load of a pickle", "getattr"),
    *("inside an array of objects", "numpy.load", "state of an object", "in a key"),
    "in the arguments of an allowed function",
]


def _documents(attack: object) -> dict[str, object]:
    tensor = np.zeros(2, np.float32)
    return {
        "as the whole file": attack,
        "as a tensor": {"model": {"a": tensor, "b": attack}},
        "beside the tensors": {"model": {"a": tensor}, "optimizer": [attack]},
        "in the settings of the run": {"model": {"a": tensor}, "args": argparse.Namespace(data=attack)},
    }


def _torch_zip(
    path: Path, data: bytes, *, compression: int = zipfile.ZIP_STORED, byteorder: str = "little", **records: bytes
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", byteorder)
        for name, record in records.items():
            archive.writestr(f"archive/data/{name}", record)
    return path


def _torch_legacy(path: Path, data: bytes) -> Path:
    parts = [LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + data + pickle.dumps([], 2))
    return path


def _refused(path: Path, marker: Path, error: type[Exception] = UnsafeFileError) -> str:
    with pytest.raises(error) as caught:
        read_published(path)
    assert not marker.exists(), "the file ran code"
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 600
    return message


def test_the_attacks_work_on_an_ordinary_reader(attacks, marker):
    for name in ("os.system", "exec", "eval", "open", "nested pickle", "in a key"):
        data = pickle.dumps(attacks[name])
        with contextlib.suppress(Exception):  # what the attack leaves behind may be no object at all
            pickle.loads(data)
        assert marker.exists(), name
        marker.unlink()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_that_smuggles_code_is_refused(attacks, marker, tmp_path, name, protocol):
    for place, document in _documents(attacks[name]).items():
        path = tmp_path / f"{place}.pkl"
        path.write_bytes(pickle.dumps(document, protocol))
        _refused(path, marker)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", [_torch_zip, _torch_legacy])
def test_a_checkpoint_that_smuggles_code_is_refused(attacks, marker, tmp_path, write, name):
    for place, document in _documents(attacks[name]).items():
        _refused(write(tmp_path / f"{place}.pth", pickle.dumps(document, 2)), marker)


def test_the_environment_cannot_switch_the_protection_off(attacks, marker, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    _refused(_torch_zip(tmp_path / "a.pth", pickle.dumps({"model": attacks["exec"]}, 2)), marker)


def test_what_others_registered_as_safe_is_not_so_here(attacks, marker, tmp_path):
    path = _torch_zip(tmp_path / "a.pth", pickle.dumps({"model": attacks["exec"]}, 2))
    with torch.serialization.safe_globals([builtins.exec]):
        _refused(path, marker)


def test_extensions_of_a_file_name_do_not_choose_the_reader(attacks, marker, tmp_path):
    data = pickle.dumps({"model": attacks["exec"]}, 2)
    for name in ("a.pth", "a.safetensors", "a.bin", "a"):
        (tmp_path / name).write_bytes(data)
        _refused(tmp_path / name, marker)


def test_the_oldest_format_is_refused_unread(attacks, marker, tmp_path):
    with tarfile.open(tmp_path / "a.pth", "w") as archive:
        for member in ("pickle", "sys_info"):
            data = pickle.dumps(attacks["exec"], 2)
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    assert "tar" in _refused(tmp_path / "a.pth", marker)


def test_a_program_of_torchscript_is_refused(marker, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/constants.pkl", pickle.dumps((), 2))
        archive.writestr("a/code/__torch__.py", "def forward(self): pass")
    assert "TorchScript" in _refused(tmp_path / "a.pt", marker)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("INST", b"(S'echo'\nios\nsystem\n."),
        ("OBJ", b"(cos\nsystem\nS'echo'\no."),
        ("NEWOBJ", b"\x80\x02cbuiltins\nobject\n)\x81."),
        ("EXT1", b"\x80\x02\x82\x01."),
        ("PERSID", b"Pstorage\n."),
        ("BINPERSID", b"\x80\x02K\x01Q."),
        ("attribute of an allowed name", b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93."),
        ("name put together", b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93."),
        ("class called in place of the function", b"\x80\x02cnumpy\nndarray\n(I1\nK\x02tR}b."),
        ("calls what it built", b"\x80\x02}(I1\ntR."),
        ("changes a list", b"\x80\x02]}b."),
        ("inside of a dictionary", b"\x80\x02}}U\x05itemsK\x01sb."),
    ],
)
def test_no_instruction_beyond_plain_data_is_followed(marker, tmp_path, name, code):
    path = tmp_path / "a.pkl"
    path.write_bytes(code)
    _refused(path, marker, ModelFileError)


def _array_pickle(shape: object, kind: str, data: object) -> bytes:
    """A pickle of one array with this state, written without NumPy."""
    state = pickle.dumps((1, shape, None, False, data), 2)[2:-1]
    dtype = b"cnumpy\ndtype\n" + pickle.dumps((kind, False, True), 2)[2:-1] + b"R"
    state = state.replace(b"N", dtype, 1)
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state + b"b"
    return b"\x80\x02}U\x05model}U\x01a" + array + b"ss."


def test_the_handwritten_array_is_one(tmp_path):
    (tmp_path / "a.pkl").write_bytes(_array_pickle((2,), "f4", np.float32([1, 2]).tobytes().decode("latin1")))
    assert read_published(tmp_path / "a.pkl").tensors["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("shape", "kind", "data"),
    [
        ((10**12,), "f4", "abcd"),
        ((2**62, 2**62), "f4", ""),
        ((-1, -1), "f4", "abcd"),
        ((0.5,), "f4", "ab"),
        (7, "f4", "abcd"),
        ((1,) * 40, "f4", "abcd"),
        ((1,), "O", ["abcd"]),
        ((1,), "f4", ["abcd"]),
        ((1,), "V2147483647", "abcd"),
        ((10**12,), "S0", ""),
        ((1,), "i4,i4", "abcdefgh"),
        ((1,), "M8[s]", "abcdefgh"),
    ],
)
def test_an_array_must_be_plain_and_bring_its_bytes(marker, tmp_path, shape, kind, data):
    (tmp_path / "a.pkl").write_bytes(_array_pickle(shape, kind, data))
    _refused(tmp_path / "a.pkl", marker, ModelFileError)


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",  # BINBYTES8 of a terabyte
        b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"x.",  # BYTEARRAY8
        b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"x.",  # BINUNICODE8
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",  # a frame that long
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # a memo with two thousand million places
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",  # LONG4
    ],
)
def test_a_stated_size_takes_no_memory(marker, tmp_path, code):
    (tmp_path / "a.pkl").write_bytes(code)
    _refused(tmp_path / "a.pkl", marker, ModelFileError)


def test_one_text_handed_over_many_times_does_not_unfold(marker, tmp_path):
    body = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"q\x000" + b"c_codecs\nencode\nq\x010"
    call = b"h\x01h\x00U\x06latin1\x86R"
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + body + b"(" + call * 10_000 + b"l.")
    assert "own size" in _refused(tmp_path / "a.pkl", marker, ModelFileError)


def test_one_array_under_many_names_is_taken_once(tmp_path):
    array = np.arange(1000, dtype=np.float32)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": {f"t{index}": array for index in range(5000)}}))
    tensors = read_published(tmp_path / "a.pkl").tensors
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == 1


def _tensor_document(elements: int, shape: tuple, stride: tuple, offset: int = 0) -> bytes:
    """A pickle in PyTorch's way of one float tensor, whatever its sizes."""
    call = b"ctorch._utils\n_rebuild_tensor_v2\n"
    identity = pickle.dumps(("storage", None, "0", "cpu", elements), 2)[2:-1].replace(b"N", b"ctorch\nFloatStorage\n", 1)
    sizes = b"".join(pickle.dumps(value, 2)[2:-1] for value in (offset, shape, stride))
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return b"\x80\x02}U\x05model}U\x01a" + call + b"(" + identity + b"Q" + sizes + hooks + b"tRss."


def test_the_handwritten_tensor_is_one(tmp_path):
    data = _tensor_document(4, (2, 2), (2, 1))
    path = _torch_zip(tmp_path / "a.pth", data, **{"0": np.arange(4, dtype=np.float32).tobytes()})
    assert read_published(path).tensors["a"].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("elements", "shape", "stride", "offset"),
    [
        (2**40, (4,), (1,), 0),
        (4, (2**40,), (1,), 0),
        (4, (2**30, 2**30), (0, 0), 0),
        (4, (2, 2), (2, 2), 0),
        (4, (4,), (1,), 1),
        (4, (4,), (1,), -1),
        (4, (-4,), (1,), 0),
        (4, (4,), (1, 1), 0),
        (4, (1,), (2**47,), 2**47),
    ],
)
@pytest.mark.parametrize("write", [_torch_zip, _torch_legacy])
def test_a_tensor_must_lie_within_the_bytes_of_its_file(marker, tmp_path, write, elements, shape, stride, offset):
    data = _tensor_document(elements, shape, stride, offset)
    records = {"0": np.zeros(4, np.float32).tobytes()} if write is _torch_zip else {}
    _refused(write(tmp_path / "a.pth", data, **records), marker, ModelFileError)


def test_numbers_need_not_lie_at_multiples_of_their_size(tmp_path):
    data = _tensor_document(4, (2, 2), (1, 2))
    for padding in range(4):
        records = {"x" * (1 + padding): b"x", "0": np.arange(4, dtype=np.float32).tobytes()}
        path = _torch_zip(tmp_path / f"{padding}.pth", data, **records)
        assert read_published(path).tensors["a"].tolist() == [[0, 2], [1, 3]]


def test_a_storage_of_two_types_is_refused(marker, tmp_path):
    one = _tensor_document(4, (4,), (1,))
    other = one.replace(b"FloatStorage", b"IntStorage")
    both = one[:-3] + other[other.index(b"U\x01a") :].replace(b"U\x01a", b"sU\x01b", 1)
    path = _torch_zip(tmp_path / "a.pth", both, **{"0": bytes(16)})
    assert "two sizes or types" in _refused(path, marker, ModelFileError)


def test_numbers_of_another_byte_order_are_refused(marker, tmp_path):
    path = _torch_zip(tmp_path / "a.pth", _tensor_document(4, (4,), (1,)), byteorder="big", **{"0": bytes(16)})
    assert "byte order" in _refused(path, marker, ModelFileError)
    torch.save({"a": torch.zeros(2)}, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "b.pth").read_bytes()
    flag = content.index(b"little_endian") + len(b"little_endian")
    turned = content[:flag] + content[flag:].replace(b"\x88", b"\x89", 1)
    (tmp_path / "b.pth").write_bytes(turned)
    assert "byte order" in _refused(tmp_path / "b.pth", marker, ModelFileError)


def test_marks_that_change_what_the_numbers_mean_are_refused(marker, tmp_path):
    torch.save({"a": torch._neg_view(torch.ones(3))}, tmp_path / "a.pth")
    _refused(tmp_path / "a.pth", marker, ModelFileError)


def test_a_checkpoint_of_the_time_before_zip_holds_what_it_names(marker, tmp_path):
    torch.save({"a": torch.arange(5.0)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    for name, damaged in {
        "shorter": content[:-1],
        "another count": content[:-28] + struct.pack("<Q", 4) + content[-20:],
        "another key": content[:-28].rpartition(b"(")[0] + content[-28:],
    }.items():
        (tmp_path / name).write_bytes(damaged)
        _refused(tmp_path / name, marker, ModelFileError)


def test_a_zip_bomb_is_refused_packed(marker, tmp_path):
    data = _tensor_document(2**24, (2**24,), (1,))
    path = _torch_zip(tmp_path / "a.pth", data, compression=zipfile.ZIP_DEFLATED, **{"0": bytes(2**26)})
    assert path.stat().st_size < 2**18
    assert "compressed" in _refused(path, marker, ModelFileError)


def test_entries_over_one_another_are_refused(marker, tmp_path):
    path = _torch_zip(tmp_path / "a.pth", _tensor_document(4, (4,), (1,)), **{"0": bytes(16)})
    content = path.read_bytes()
    # The central directory says that the record has all bytes of the file, and more.
    start = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: start + 20] + struct.pack("<II", 10**6, 10**6) + content[start + 28 :])
    _refused(path, marker, ModelFileError)


def test_two_pickles_in_one_archive_are_refused(marker, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for folder in ("a", "b"):
            archive.writestr(f"{folder}/data.pkl", pickle.dumps({}, 2))
    _refused(tmp_path / "a.pth", marker, ModelFileError)


def test_hooks_and_classes_around_tensors_are_refused(marker, tmp_path):
    torch.save({"model": {"a": torch.nn.Linear(2, 2)}}, tmp_path / "module.pth")
    _refused(tmp_path / "module.pth", marker)
    torch.save({"model": {"a": torch.zeros(2).to_sparse()}}, tmp_path / "sparse.pth")
    _refused(tmp_path / "sparse.pth", marker)
    hooked = b"\x80\x02}U\x05model}ccollections\nOrderedDict\n)R}U\x05items"
    (tmp_path / "hooked.pkl").write_bytes(hooked + b"cbuiltins\nexec\nsbs.")
    _refused(tmp_path / "hooked.pkl", marker)


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("honest")
    state = OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.zeros(3, dtype=torch.int64))
    torch.save({"model": state, "iteration": 5}, folder / "zip")
    torch.save({"model": state}, folder / "legacy", _use_new_zipfile_serialization=False)
    (folder / "pkl").write_bytes(pickle.dumps({"model": {name: tensor.numpy() for name, tensor in state.items()}}))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(
    kind=st.sampled_from(["zip", "legacy", "pkl"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
    cut=st.floats(0.5, 1),
)
def test_damage_never_escapes_the_hierarchy(honest, tmp_path_factory, kind, flips, cut):
    content = bytearray(honest[kind])
    for position, value in flips:
        content[int(position * len(content))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: round(cut * len(content))])
    try:
        read_published(path)
    except MaskDinoError as error:
        assert len(str(error)) < 1000
