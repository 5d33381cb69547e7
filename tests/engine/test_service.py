"""The service, as a user interface meets it: a real process, its pipes, and every way to go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from random import Random

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.commands import answer
from engine.errors import RequestError
from engine.job import Job
from engine.service import Service
from tests.engine.detection.repeated_raster import write_repeated
from tests.engine.service_process import ServiceProcess


@pytest.fixture
def service():
    with ServiceProcess() as running:
        yield running


def test_it_says_hello(service):
    hello = service.event()
    assert hello["event"] == "hello"
    assert hello["protocol"] == 1
    assert {"detect", "doctor", "cancel"} <= set(hello["commands"])
    assert hello["pid"] == service.process.pid


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[1, 2]", "JSON object"),
        (b"42", "JSON object"),
        (b'{"id": 3}', "no command None"),
        (b'{"id": 3, "command": "explode"}', "no command 'explode'"),
        (b'{"id": 3, "command": ["detect"]}', "no command"),
        (b'{"id": 3, "command": "detect", "arguments": [1]}', "JSON object"),
        (b'{"id": 3, "command": "detect"}', "needs the argument 'raster'"),
        (b'{"id": 3, "command": "detect", "arguments": {"raster": "a.tif", "output": "b.gpkg", "wobble": 1}}', "wobble"),
        (b'{"id": 3, "command": "detect", "arguments": {"raster": 5, "output": "b.gpkg"}}', "raster is 5"),
        (b"[" * 100_000, "not JSON"),
        (b'{"id": ' + b"1" * 5000 + b"}", "not JSON"),
        (b'{"id": ' + b"1" * 4000 + b"}", "id of a request"),
        (b'{"id": ' + b"[" * 600 + b"]" * 600 + b', "command": "zz"}', "id of a request"),
        (b'{"id": 3, "command": ' + b'{"a":' * 600 + b"1" + b"}" * 601, "no command of the type dict"),
        (b'{"id": 3, "command": "doctor", "arguments": ' + b"[" * 600 + b"]" * 600 + b"}", "JSON object"),
        (b'{"id": true, "command": "doctor"}', "id of a request"),
        (b'{"id": 1e999, "command": "doctor"}', "id of a request"),
        (b'{"id": "' + b"i" * 2000 + b'"}', "id of a request"),
    ],
)
def test_what_it_does_not_understand_is_an_answer(service, line, says):
    service.event()
    service.send(line)
    error = service.until("error")[-1]
    assert error["code"] == "bad_request"
    assert says in error["message"]
    assert error["id"] == (3 if b'"id": 3' in line else None)
    service.send({"id": 4, "command": "nothing"})
    assert service.until("error")[-1]["id"] == 4


WRONG = [1, 1.5, True, None, [], ["x"], {}, {"a": 1}, "x\0", "\udc00\ud800", 10**400, [[[[]]]]]
COMMANDS = {  # what each needs, and one argument more that is a text
    "detect": ("raster", "output", "aoi"),
    "segment": ("raster", "output", "probabilities"),
    "models": ("model",),
    "models convert": ("published", "output", "preset"),
    "doctor": ("device",),
    "evaluate": ("detections", "annotations", "json"),
    "train": ("config", "output", "config"),
    "evaluate-coco": ("images", "annotations", "results"),
    "evaluate-classes": ("prediction", "truth", "aoi"),
    "evaluate-panoptic": ("prediction", "truth", "json"),
    "export-dataset": ("raster", "annotations", "output", "image_format"),
    "audit-dataset": ("train", "report"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_argument_of_the_wrong_type_is_named(command, tmp_path):
    *needed, more = COMMANDS[command]
    sound = {name: str(tmp_path / "none") for name in needed}
    for value in WRONG:
        for name in {*needed, more}:
            if value is None and name not in needed:
                continue
            with pytest.raises(RequestError) as caught:
                answer(command, {**sound, name: value}, Job(report=lambda progress: None))
            assert caught.value.field == name and len(str(caught.value)) < 300
    with pytest.raises(RequestError):
        answer(command, {**sound, "wobble": 1}, Job(report=lambda progress: None))
    for name in needed:
        with pytest.raises(RequestError, match=name):
            answer(
                command, {other: value for other, value in sound.items() if other != name}, Job(report=lambda progress: None)
            )


def test_numbers_are_numbers(tmp_path):
    sound = {"raster": "none", "output": str(tmp_path / "o.gpkg")}
    wrong = {
        "score": WRONG[2:],
        "gsd": ["1", True, [1], 10**400],
        "batch_size": ["1", 1.5, True, 10**400],
        "resume": [0, 1, "yes"],
        "bands": [1, 1.5, {}, [1.5], ["1"], [[1]]],
        "extent": [1, "a", {}, ["a", 1, 1, 1], [None] * 4],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(RequestError) as caught:
                answer("detect", {**sound, name: value}, Job(report=lambda progress: None))
            assert caught.value.field == name


class Answers:
    """Takes the place of an event stream."""

    def __init__(self):
        self.events = []

    def send(self, event, **fields):
        json.dumps({"event": event, **fields}, allow_nan=False)
        self.events.append((event, fields))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
REQUESTS = st.fixed_dictionaries({"command": NESTED | st.just("models")}, optional={"id": NESTED, "arguments": NESTED})


@pytest.mark.slow
@settings(max_examples=500)
@given(
    message=NESTED
    | st.fixed_dictionaries({"command": NESTED | st.just("models")}, optional={"id": NESTED, "arguments": NESTED})
)
def test_any_json_is_a_request_or_one_error(message):
    answers = Answers()
    service = Service(answers)
    service._understand(json.dumps(message).encode())
    while not service._refusals.empty():
        service._refusals.get()()
    taken = service._requests.qsize()
    assert taken + len(answers.events) == 1
    for event, fields in answers.events:
        assert (event, fields["code"]) == ("error", "bad_request")


TOKENS = [b"[", b"{", b'"', b"9", b"\\u", b"1e", b"null", b"\xff", b"\0", b"-", b"NaN", b"true"]


def mutated(line: bytes, random: Random) -> bytes:
    """Spoil a line as a broken program or a stranger might: some bytes changed, left out, repeated or put elsewhere."""
    line = bytearray(line)
    for _ in range(random.randrange(1, 5)):
        place, length = random.randrange(len(line) + 1), random.randrange(1, 12)
        change = random.randrange(5)
        if change == 0:
            line[place : place + length] = random.randbytes(length)
        elif change == 1:
            del line[place : place + length]
        elif change == 2:
            line[place:place] = line[place : place + length] * random.randrange(1, 40)
        elif change == 3:
            line[place:place] = random.choice(
                [b"[", b"{", b'"', b"9", b"\\u", b"1e", b"null", b"\xff", b"\0", b"-", b"NaN", b"true"]
            )
        else:
            line[place:place] = line[random.randrange(len(line) + 1) :][:length]
    return bytes(line).replace(b"\n", b" ")


@pytest.mark.slow
def test_a_hundred_thousand_spoilt_lines_are_a_hundred_thousand_answers(tmp_path):
    """Each by one event, of those that are no cancel; and the process is alive to the last."""
    random = Random(0)
    good = [
        b'{"id": 7, "command": "models", "arguments": {"model": "nowhere"}}',
        b'{"id": "a", "command": "detect", "arguments": {"raster": "no.tif", "output": "no/b.gpkg", "score": 1, "bands": [1]}}',
        b'{"id": 1.5, "command": "evaluate", "arguments": {"detections": "a", "annotations": "b", "json": "none/c"}}',
        b'{"id": null, "command": "audit-dataset", "arguments": {"train": "none", "workers": 2}}',
        b'{"command": "nothing", "arguments": {"deep": [[[[{"a": [1, 2, {"b": null}]}]]]]}}',
    ]
    lines = [mutated(random.choice(good), random) for _ in range(100_000)]
    wanted = sum(bool(line.strip()) and b"cancel" not in line for line in lines)
    with ServiceProcess() as service:
        assert service.event()["event"] == "hello"
        sender = threading.Thread(target=lambda: [service.send(line) for line in lines if b"cancel" not in line])
        sender.start()
        counts = Counter()
        while sum(counts[kind] for kind in ("result", "error", "cancelled")) < wanted:
            event = service.event()
            counts[event["event"]] += 1
            assert event["event"] != "error" or event["code"] != "internal", event
        sender.join()
        service.send({"id": "end", "command": "nothing"})
        assert service.event()["id"] == "end"
        service.process.stdin.close()
        assert service.process.wait(timeout=10) == 0


def test_a_line_beyond_all_measure_is_one_error():
    with ServiceProcess() as service:
        service.event()
        for _ in range(40):
            service.process.stdin.write(b"x" * (1 << 20))
        service.send(b"")
        assert service.until("error")[-1]["code"] == "bad_request"
        service.send({"id": 4, "command": "nothing"})
        assert service.event()["id"] == 4


@pytest.mark.parametrize("how", ["<&-", "</dev/null", "< /", ">&- < /dev/null"])
def test_without_an_input_it_ends(how):
    done = subprocess.run(f"{sys.executable} -m engine.service {how}", shell=True, capture_output=True, timeout=60)
    assert b"Traceback" not in done.stderr


def test_it_ends_though_nobody_reads_its_answers():
    process = subprocess.Popen([sys.executable, "-m", "engine.service"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for _ in range(2000):  # a pipe holds 64 KiB of answers
        process.stdin.write(b"no request\n")
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    process.stdout.close()


def test_the_last_lines_before_the_end_are_answered():
    done = subprocess.run([sys.executable, "-m", "engine.service"], input=b"one\ntwo\nthree", capture_output=True, timeout=60)
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["hello", "error", "error", "error"]


def test_empty_lines_are_nothing(service):
    service.event()
    service.send(b"")
    service.send(b"   ")
    service.send({"id": "last", "command": "nothing"})
    assert service.event()["id"] == "last"


def test_it_ends_when_its_input_closes(service):
    service.event()
    service.process.stdin.close()
    assert service.process.wait(timeout=5) == 0
    assert service.event() is None


def test_a_request_before_its_input_closes_is_cancelled(service, tmp_path):
    service.event()
    service.send({"id": 1, "command": "detect", "arguments": {"raster": "/dev/zero", "output": str(tmp_path / "a.gpkg")}})
    service.process.stdin.close()
    began = time.monotonic()
    assert service.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


def test_a_terminate_ends_it(service):
    service.event()
    service.process.terminate()
    assert service.process.wait(timeout=5) == 0


def test_processes_of_a_job_end_with_it():
    program = (
        "import multiprocessing, sys, time\n"
        "multiprocessing.get_context('spawn').Process(target=time.sleep, args=(60,)).start()\n"
        "print('started', file=sys.stderr)\n"
        "from engine.service import main\n"
        "main()\n"
    )
    with ServiceProcess(program=["-c", program]) as service:
        assert service.event()["event"] == "hello"
        service.process.stdin.close()
        assert service.process.wait(timeout=20) == 0
        # Standard error is at its end when the last process that has it is: only then has all of it been read.
        deadline = time.monotonic() + 20
        while not service.stderr and time.monotonic() < deadline:
            time.sleep(0.1)
        assert service.stderr.split() == [b"started"]


def test_prints_of_libraries_do_not_reach_the_events():
    """Python's print, a C library's write to descriptor 1 and a child process all end up on standard error."""
    program = (
        "import os, sys\n"
        "from engine.json_lines import EventStream\n"
        "events = EventStream.take_stdout()\n"
        "print('from python')\n"
        "os.write(1, b'from C\\n')\n"
        "os.system('echo from a child')\n"
        "events.send('hello', path='\\udcff', number=float('nan'))\n"
    )
    with ServiceProcess(program=["-c", program]) as process:
        assert process.event() == {"event": "hello", "path": "\udcff", "number": None}
        assert process.event() is None
        process.process.wait(timeout=5)
        time.sleep(0.2)
        assert process.stderr.split(os.linesep.encode())[:3] == [b"from python", b"from C", b"from a child"]


class TestDetect:
    @pytest.fixture
    def large(self, scene, tmp_path):
        return write_repeated(tmp_path / "large.vrt", scene, width=6000, height=6000)

    def request(self, raster, tmp_path, tiny_model, **arguments):
        arguments = {"raster": str(raster), "output": str(tmp_path / "out.gpkg"), "model": str(tiny_model), **arguments}
        return {"id": "town", "command": "detect", "arguments": arguments}

    @pytest.mark.slow
    def test_a_detection(self, service, scene, tiny_model, tmp_path):
        service.event()
        service.send(self.request(scene, tmp_path, tiny_model, score=0.0, min_area=0, outline="raw"))
        events = service.until("result", "error")
        result = events[-1]
        assert result["event"] == "result", result
        assert result["id"] == "town"
        assert len(geopandas.read_file(result["output"])) == result["buildings"]
        progress = [event for event in events if event["event"] == "progress"]
        assert progress[-1]["done"] == progress[-1]["total"] == result["tiles"]
        assert {"id", "unit", "seconds_left", "buildings", "device"} <= set(progress[0])
        assert {event["event"] for event in events} <= {"progress", "log", "result"}

    def test_an_error_has_a_code_a_message_and_a_way_out(self, service, tiny_model, tmp_path):
        service.event()
        service.send(self.request("missing.tif", tmp_path, tiny_model))
        error = service.until("error", "result")[-1]
        assert (error["id"], error["code"]) == ("town", "raster")
        assert "missing.tif" in error["message"]
        assert error["hint"]
        service.send(self.request("missing.tif", tmp_path, tiny_model, score=1.5))
        assert service.until("error", "result")[-1]["code"] == "argument"
        service.send(self.request("missing.tif", tmp_path, tiny_model, score="high"))
        error = service.until("error", "result")[-1]
        assert (error["code"], error["field"]) == ("bad_request", "score")

    @pytest.mark.slow
    def test_cancel_in_the_middle(self, service, large, tiny_model, tmp_path):
        service.event()
        service.send(self.request(large, tmp_path, tiny_model))
        while service.until("progress")[-1]["done"] == 0:
            pass
        service.send({"command": "cancel", "id": "another"})  # not this one
        service.until("progress")
        began = time.monotonic()
        service.send({"command": "cancel", "id": "town"})
        cancelled = service.until("cancelled", "result", "error")[-1]
        assert time.monotonic() - began < 2
        assert cancelled["event"] == "cancelled"
        assert len(geopandas.read_file(tmp_path / "out.gpkg")) == cancelled["buildings"]
        service.send({"id": 2, "command": "detect"})  # and it goes on serving
        assert service.until("error")[-1]["id"] == 2

    def test_cancel_while_the_model_is_still_loading(self, service, large, tiny_model, tmp_path):
        service.event()
        service.send(self.request(large, tmp_path, tiny_model))
        began = time.monotonic()
        service.send({"command": "cancel", "id": "town"})
        assert service.until("cancelled", "result", "error")[-1]["event"] == "cancelled"
        assert time.monotonic() - began < 2 + 3  # Python holds on to a few imports that cannot be interrupted
        assert {path.name for path in tmp_path.iterdir()} == {"large.vrt"}

    @pytest.mark.slow
    def test_a_waiting_job_can_be_cancelled(self, service, large, tiny_model, tmp_path):
        service.event()
        service.send(self.request(large, tmp_path, tiny_model))
        service.send({**self.request(large, tmp_path, tiny_model), "id": "second"})
        service.send({"command": "cancel", "id": "second"})
        service.until("progress")
        service.send({"command": "cancel"})
        assert service.until("cancelled")[-1]["id"] == "town"
        assert service.until("cancelled")[-1]["id"] == "second"

    @pytest.mark.slow
    def test_input_closed_in_the_middle(self, service, large, tiny_model, tmp_path):
        service.event()
        service.send(self.request(large, tmp_path, tiny_model))
        while service.until("progress")[-1]["done"] == 0:
            pass
        began = time.monotonic()
        service.process.stdin.close()
        assert service.process.wait(timeout=10) == 0
        assert time.monotonic() - began < 2.5
        geopandas.read_file(tmp_path / "out.gpkg")  # what was found so far
        assert not list(tmp_path.glob("*.part*"))

    @pytest.mark.slow
    def test_killed_in_the_middle(self, service, large, tiny_model, tmp_path):
        service.event()
        service.send(self.request(large, tmp_path, tiny_model))
        while service.until("progress")[-1]["done"] == 0:
            pass
        service.process.kill()
        service.process.wait()
        assert not (tmp_path / "out.gpkg").exists()
        with ServiceProcess() as second:
            second.event()
            extent = [500_000, 4_999_950, 500_050, 5_000_000]
            second.send(self.request(large, tmp_path, tiny_model, extent=extent))
            assert second.until("result", "error")[-1]["event"] == "result"


class TestSegment:
    def request(self, raster, tmp_path, model, **arguments):
        arguments = {"raster": str(raster), "output": str(tmp_path / "out.tif"), "model": str(model), **arguments}
        return {"id": "land", "command": "segment", "arguments": arguments}

    @pytest.mark.slow
    def test_a_segmentation(self, service, scene, semantic_model, tmp_path):
        service.event()
        service.send(self.request(scene, tmp_path, semantic_model))
        events = service.until("result", "error")
        result = events[-1]
        assert result["event"] == "result", result
        assert result["id"] == "land" and result["device"] == "cpu"
        with rasterio.open(result["output"]) as out:
            numbers = np.bincount(out.read(1).ravel(), minlength=256)
        assert [cover["pixels"] for cover in result["classes"].values()] == numbers[:5].tolist()
        assert sum(cover["area_m2"] for cover in result["classes"].values()) == pytest.approx(90 * 90, rel=1e-3)
        progress = [event for event in events if event["event"] == "progress"]
        assert progress[-1]["done"] == progress[-1]["total"] == result["tiles"]
        assert {event["event"] for event in events} <= {"progress", "log", "result"}

    @pytest.mark.slow
    def test_a_cancelled_one_goes_on(self, service, scene, semantic_model, tmp_path):
        raster = write_repeated(tmp_path / "large.vrt", scene, width=300, height=1500)
        service.event()
        service.send(self.request(raster, tmp_path, semantic_model))
        while service.until("progress")[-1]["done"] < 20:  # four rows of tiles
            pass
        began = time.monotonic()
        service.send({"command": "cancel", "id": "land"})
        cancelled = service.until("cancelled", "result", "error")[-1]
        assert time.monotonic() - began < 2
        assert cancelled["event"] == "cancelled" and "--resume goes on" in cancelled["message"]
        assert {path.name for path in tmp_path.iterdir()} == {"large.vrt", "out.tif.progress"}
        service.send(self.request(raster, tmp_path, semantic_model, resume=True))
        result = service.until("cancelled", "result", "error")[-1]
        assert result["event"] == "result" and 0 < result["tiles_seen"] < result["tiles"]

    def test_a_model_that_cannot_is_one_sentence_with_a_way_out(self, service, scene, tiny_model, tmp_path):
        service.event()
        service.send(self.request(scene, tmp_path, tiny_model))
        error = service.until("error", "result")[-1]
        assert error["code"] == "argument" and "finds instances" in error["message"]
        assert "mask2former_dinatl_semantic" in error["hint"]
