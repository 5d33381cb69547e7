"""The engine as a child process: heard, cancelled, explained when it dies, and never left behind."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time

import pytest

from qgis_maskdino.backend import process as engine_process
from qgis_maskdino.backend.process import EngineError, EngineProcess
from qgis_maskdino.backend.variables import engine_variables
from tests.qgis_maskdino.fake_engine import HELLO, fake_engine
from tests.qgis_maskdino.process_life import alive, gone_within


@pytest.fixture
def engine(tmp_path):
    """Start fake engines; they are closed after the test."""
    running = []

    def start(behaviour: str = "", *, hello: str = HELLO, **arguments) -> EngineProcess:
        sources = fake_engine(tmp_path, behaviour, hello=hello)
        running.append(EngineProcess(sys.executable, sources=sources, **arguments))
        return running[-1]

    yield start
    for process in running:
        process.close(at_once=True)


class TestAnswers:
    def test_the_fields_of_the_result_come_back(self, engine):
        process = engine("for r in requests(): say('result', id=r['id'], got=r['arguments'], command=r['command'])")
        arguments = {"raster": "/tmp/Grüße aus Łódź/東京.tif", "score": 0.5, "extent": [1, 2, 3, 4], "aoi": None}
        assert process.run("detect", arguments) == {"got": arguments, "command": "detect"}
        assert process.run("doctor", {})["command"] == "doctor"

    def test_progress_and_log_arrive_in_order_and_before_the_result(self, engine):
        process = engine("""
            for r in requests():
                for done in range(50):
                    say("progress", id=r["id"], done=done, total=50)
                say("log", level="info", message="half of it")
                say("result", id=r["id"], buildings=7)
        """)
        events = []
        assert process.run("detect", {}, on_event=events.append) == {"buildings": 7}
        assert [event["done"] for event in events[:-1]] == list(range(50))
        assert events[-1]["message"] == "half of it"

    def test_events_that_arrive_in_pieces_are_put_together(self, engine):
        """Byte by byte, letters of several bytes among them, and two events in one piece."""
        process = engine("""
            for r in requests():
                text = json.dumps({"event": "log", "id": r["id"], "message": "Häuser ⌂ 家"}, ensure_ascii=False)
                for byte in (text + "\\n").encode():
                    os.write(1, bytes([byte])); time.sleep(0.002)
                one = json.dumps({"event": "log", "id": r["id"], "message": "one"})
                os.write(1, (one + "\\n" + json.dumps({"event": "result", "id": r["id"]}) + "\\n").encode())
        """)
        events = []
        assert process.run("detect", {}, on_event=events.append) == {}
        assert [event["message"] for event in events] == ["Häuser ⌂ 家", "one"]

    def test_what_is_no_event_is_passed_over(self, engine):
        process = engine("""
            for r in requests():
                os.write(1, b'a library prints\\n\\xff\\xfe\\n[1, 2]\\n42\\n{"no": "event"}\\n\\n' + b'[' * 100000 + b'\\n')
                say("result", id=r["id"], buildings=1)
        """)
        assert process.run("detect", {}) == {"buildings": 1}
        assert "a library prints" in process.details

    def test_what_is_left_over_from_a_job_before_is_not_this_ones(self, engine):
        process = engine("""
            for r in requests():
                say("result", id=r["id"] - 1, buildings=99)
                say("result", id=r["id"], buildings=1)
        """)
        assert process.run("detect", {}) == {"buildings": 1}
        assert process.run("detect", {}) == {"buildings": 1}

    def test_a_very_long_event(self, engine):
        process = engine("for r in requests(): say('result', id=r['id'], text='x' * 5_000_000)")
        assert len(process.run("doctor", {})["text"]) == 5_000_000

    def test_much_on_standard_error_does_not_stop_it_and_its_end_is_kept(self, engine):
        lines = []
        process = engine(
            """
            for r in requests():
                for number in range(20_000):
                    print("warning", number, file=sys.stderr)
                sys.stderr.flush()
                say("result", id=r["id"])
            """,
            on_log=lines.append,
        )
        process.run("doctor", {})
        process.close()
        assert len(process.details.splitlines()) <= engine_process.STDERR_LINES
        assert lines[:2] == ["warning 0", "warning 1"]

    def test_an_error_has_code_message_hint_and_details(self, engine):
        process = engine("""
            for r in requests():
                print("what the library said", file=sys.stderr, flush=True); time.sleep(0.2)
                say("error", id=r["id"], code="raster", message="There is no file town.tif.", hint="Look for it.")
        """)
        with pytest.raises(EngineError, match=r"There is no file town\.tif\. Look for it\.") as caught:
            process.run("detect", {})
        assert (caught.value.code, caught.value.hint) == ("raster", "Look for it.")
        assert "what the library said" in caught.value.details

    def test_it_answers_after_an_error(self, engine):
        process = engine("""
            for r in requests():
                say("error" if r["id"] == 1 else "result", id=r["id"], code="raster", message="No.", hint=None)
        """)
        with pytest.raises(EngineError):
            process.run("detect", {})
        assert process.run("detect", {})["message"] == "No."


class TestHandshake:
    def test_another_protocol_is_refused_in_a_sentence(self, engine):
        process = engine("time.sleep(60)", hello='say("hello", protocol=2, version="3.1.4")\n')
        pid = process.pid
        with pytest.raises(EngineError, match=r"version 3\.1\.4\) speaks protocol 2, this plugin speaks 1") as caught:
            process.run("detect", {})
        assert caught.value.code == "protocol"
        assert gone_within(pid, 5)

    def test_a_program_that_never_says_hello(self, engine, monkeypatch):
        monkeypatch.setattr(engine_process, "HELLO_WITHIN", 0.6)
        with pytest.raises(EngineError, match="did not answer") as caught:
            engine("time.sleep(60)", hello="").run("detect", {})
        assert caught.value.code == "protocol"

    def test_an_interpreter_that_is_not_there(self, tmp_path):
        with pytest.raises(EngineError, match="python of the moon") as caught:
            EngineProcess(str(tmp_path / "python of the moon"))
        assert caught.value.code == "start"

    def test_an_interpreter_without_an_engine(self):
        with pytest.raises(EngineError, match="has no Mask DINO engine") as caught:
            EngineProcess("/usr/bin/python3").run("detect", {})
        assert caught.value.code == "interpreter"

    def test_a_program_that_is_no_python(self):
        with pytest.raises(EngineError) as caught:
            EngineProcess("/bin/ls").run("detect", {})
        assert caught.value.code == "died"

    def test_nothing_is_imported_from_the_folder_qgis_was_started_in(self, engine, tmp_path, monkeypatch):
        stray = tmp_path / "downloads" / "engine"
        stray.mkdir(parents=True)
        (stray / "__init__.py").write_text("raise SystemExit('a stray package')")
        monkeypatch.chdir(stray.parent)
        assert engine("for r in requests(): say('result', id=r['id'], fine=True)").run("detect", {}) == {"fine": True}


class TestDeath:
    @pytest.mark.parametrize(
        ("last_words", "code", "says"),
        [
            ("os.kill(os.getpid(), signal.SIGKILL)", "memory", "killed by the system"),
            ("os._exit(137)", "memory", "killed by the system"),
            ("os.kill(os.getpid(), signal.SIGTERM)", "died", "ended by another program"),
            ("os.kill(os.getpid(), signal.SIGSEGV)", "died", r"crashed \(signal or status 11\)"),
            ("raise MemoryError('Unable to allocate 7 GiB')", "memory", "ran out of memory"),
            ("print('std::bad_alloc', file=sys.stderr, flush=True); os.abort()", "memory", "ran out of memory"),
            ("import torch_that_is_not_there", "library", "lacks the package 'torch_that_is_not_there'"),
            (
                "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')",
                "library",
                "lacks a library of the system: libGL.so.1",
            ),
            ("sys.exit('the last straw')", "died", "ended with status 1: the last straw"),
            ("sys.exit(0)", "died", "ended by another program"),
        ],
    )
    def test_it_is_explained(self, engine, last_words, code, says):
        process = engine(f"for r in requests():\n    {last_words}")
        with pytest.raises(EngineError, match=says) as caught:
            process.run("detect", {})
        assert caught.value.code == code
        assert caught.value.hint

    def test_the_traceback_is_in_the_details(self, engine):
        with pytest.raises(EngineError) as caught:
            engine("for r in requests(): nonsense").run("detect", {})
        assert "NameError" in caught.value.details
        assert "Traceback" in caught.value.details

    def test_killed_by_somebody_in_the_middle(self, engine):
        process = engine("for r in requests():\n    say('progress', id=r['id'], done=1, total=2)\n    time.sleep(60)")
        with pytest.raises(EngineError, match="killed"):
            process.run("detect", {}, on_event=lambda event: os.kill(process.pid, signal.SIGKILL))

    def test_a_dead_engine_does_not_answer_again(self, engine):
        process = engine("for r in requests(): sys.exit(3)")
        for _ in range(2):
            with pytest.raises(EngineError, match="status 3"):
                process.run("detect", {})

    def test_one_that_closes_its_output_and_lives_on_can_be_cancelled(self, engine):
        process = engine("for r in requests():\n    os.close(1)\n    time.sleep(60)")
        began = time.monotonic()
        busy = time.process_time()
        assert process.run("detect", {}, is_cancelled=lambda: time.monotonic() - began > 1) == {"cancelled": True}
        assert time.process_time() - busy < 1  # three seconds of waiting are no three seconds of work


class TestCancel:
    def test_the_engine_is_asked_to_and_says_what_it_found(self, engine):
        process = engine("""
            for r in requests():
                if r["command"] == "cancel":
                    say("cancelled", id=r["id"], buildings=12)
                else:
                    say("progress", id=r["id"], done=0, total=9)
        """)
        seen = []
        result = process.run("detect", {}, on_event=seen.append, is_cancelled=lambda: bool(seen))
        assert result == {"buildings": 12, "cancelled": True}
        assert process.pid > 0  # and it goes on serving

    def test_one_that_does_not_listen_is_killed_within_two_seconds(self, engine):
        process = engine("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)")
        pid = process.pid
        began = time.monotonic()
        calm = began + 0.5
        assert process.run("detect", {}, is_cancelled=lambda: time.monotonic() > calm) == {"cancelled": True}
        assert time.monotonic() - calm < 3  # two, and what a busy machine takes
        assert gone_within(pid, 1)

    def test_a_job_that_keeps_its_state_may_be_given_longer(self, engine):
        process = engine("""
            for r in requests():
                if r["command"] == "cancel":
                    time.sleep(2.5)
                    say("cancelled", id=r["id"], checkpoint="last.ckpt")
                else:
                    say("progress", id=r["id"], done=1, total=9)
        """)
        steps = []
        result = process.run("train", {}, on_event=steps.append, is_cancelled=lambda: bool(steps), cancel_within=10)
        assert result == {"checkpoint": "last.ckpt", "cancelled": True}

    def test_before_it_said_hello(self, engine):
        process = engine("", hello="time.sleep(60)\n")
        began = time.monotonic()
        assert process.run("detect", {}, is_cancelled=lambda: True) == {"cancelled": True}
        assert time.monotonic() - began < 2

    def test_it_is_asked_several_times_a_second(self, engine):
        process = engine("for r in requests():\n    time.sleep(1)\n    say('result', id=r['id'])")
        asked = []
        process.run("detect", {}, is_cancelled=lambda: asked.append(time.monotonic()) or False)
        assert max(later - sooner for sooner, later in itertools.pairwise(asked)) < 0.5


class TestVariables:
    def test_those_of_qgis_do_not_reach_it(self, engine, monkeypatch):
        for name in (
            "PYTHONHOME_",
            "PROJ_LIB",
            "PROJ_DATA",
            "GDAL_DATA",
            "GDAL_DRIVER_PATH",
            "QT_PLUGIN_PATH",
            "QGIS_PREFIX_PATH",
        ):
            monkeypatch.setenv(name, "/somewhere/of/qgis")
        monkeypatch.setenv("PYTHONHOME", "/somewhere/of/qgis")
        monkeypatch.setenv("PYTHONPATH", "/somewhere/of/qgis")
        monkeypatch.setenv("GDAL_HTTP_PROXY", "proxy:8080")
        monkeypatch.setenv("MY_OWN", "stays")
        process = engine("for r in requests(): say('result', id=r['id'], variables=dict(os.environ), path=sys.path)")
        answer = process.run("doctor", {})
        variables = answer["variables"]
        assert {name for name, value in variables.items() if "of/qgis" in value} == {"PYTHONHOME_"}
        assert "/somewhere/of/qgis" not in answer["path"]
        assert (variables["GDAL_HTTP_PROXY"], variables["MY_OWN"]) == ("proxy:8080", "stays")
        assert (variables["PYTHONNOUSERSITE"], variables["PYTHONUTF8"]) == ("1", "1")

    def test_libraries_of_a_qgis_bundle_are_not_searched_and_an_administrators_are(self, monkeypatch, tmp_path):
        bundle, module = tmp_path / "QGIS" / "lib", tmp_path / "modules" / "cuda"
        monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "QGIS"))
        monkeypatch.setenv("LD_LIBRARY_PATH", f"{bundle}{os.pathsep}{module}")
        assert engine_variables().value("LD_LIBRARY_PATH") == str(module)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(bundle))
        assert not engine_variables().contains("LD_LIBRARY_PATH")
        monkeypatch.setattr(sys, "base_prefix", "/usr")  # where QGIS is part of the system, nothing is its own
        monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/lib64")
        assert engine_variables().value("LD_LIBRARY_PATH") == "/usr/local/cuda/lib64"


class TestEnd:
    def test_closing_ends_it(self, engine):
        process = engine("for r in requests(): pass")
        pid = process.pid
        assert alive(pid)
        process.close()
        assert not alive(pid)
        process.close()  # twice is fine

    def test_one_that_does_not_end_by_itself_is_killed(self, engine):
        process = engine("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)")
        pid = process.pid
        began = time.monotonic()
        process.close()
        assert not alive(pid)
        assert time.monotonic() - began < 5

    def test_it_ends_with_the_block(self, tmp_path):
        with (
            pytest.raises(RuntimeError, match="by the way"),
            EngineProcess(sys.executable, sources=fake_engine(tmp_path, "for r in requests(): pass")) as process,
        ):
            pid = process.pid
            raise RuntimeError("by the way")
        assert not alive(pid)
