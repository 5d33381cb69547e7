"""The service, as a user interface meets it: a real process, its pipes, and every way to go wrong."""

from __future__ import annotations

import os
import time

import geopandas
import pytest
from service_process import ServiceProcess

from tests.detection.repeated_raster import write_repeated


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
    ],
)
def test_what_it_does_not_understand_is_an_answer(service, line, says):
    service.event()
    service.send(line)
    error = service.until("error")[-1]
    assert says in error["message"]
    assert error["id"] == (3 if b'"id": 3' in line else None)
    service.send({"id": 4, "command": "nothing"})
    assert service.until("error")[-1]["id"] == 4


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
        service.send(self.request("missing.tif", tmp_path, tiny_model, score="high"))
        assert service.until("error", "result")[-1]["code"] == "argument"

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

    def test_a_waiting_job_can_be_cancelled(self, service, large, tiny_model, tmp_path):
        service.event()
        service.send(self.request(large, tmp_path, tiny_model))
        service.send({**self.request(large, tmp_path, tiny_model), "id": "second"})
        service.send({"command": "cancel", "id": "second"})
        service.until("progress")
        service.send({"command": "cancel"})
        assert service.until("cancelled")[-1]["id"] == "town"
        assert service.until("cancelled")[-1]["id"] == "second"

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
