"""An engine that stays between jobs: one for all of them, replaced when it can be used no more, and never left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.warm_engine import WarmEngine, engine_kept_warm, warm_engine
from tests.qgis_maskdino.fake_engine import fake_engine
from tests.qgis_maskdino.process_life import alive, gone_within

ECHO = """
for r in requests():
    if r["command"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("working on", r["id"], file=sys.stderr, flush=True)
    if r["command"] == "fail":
        say("error", id=r["id"], code="raster", message="Torn.", hint=None)
    elif r["command"] != "cancel":
        say("result", id=r["id"], pid=os.getpid())
"""


@pytest.fixture
def sources(tmp_path):
    return fake_engine(tmp_path, ECHO)


@pytest.fixture
def warm():
    warm = WarmEngine()
    yield warm
    warm.close()


def ask(warm: WarmEngine, sources: str, command: str = "detect", **arguments) -> int:
    with warm.lend(sys.executable, sources=sources, **arguments) as engine:
        return engine.run(command, {})["pid"]


def test_two_jobs_have_one_engine(warm, sources):
    assert not warm.is_there
    first = ask(warm, sources)
    assert ask(warm, sources) == first and alive(first)
    warm.close()
    assert gone_within(first, seconds=3) and not warm.is_there


def test_an_error_is_an_answer_and_the_engine_stays(warm, sources):
    first = ask(warm, sources)
    with pytest.raises(EngineError, match="Torn"):
        ask(warm, sources, "fail")
    assert ask(warm, sources) == first


def test_one_that_died_at_work_or_while_it_waited_is_replaced(warm, sources):
    first = ask(warm, sources)
    with pytest.raises(EngineError):
        ask(warm, sources, "die")
    second = ask(warm, sources)
    os.kill(second, signal.SIGKILL)
    third = ask(warm, sources)
    assert len({first, second, third}) == 3


def test_one_that_was_left_in_the_middle_is_replaced(warm, sources):
    first = ask(warm, sources)
    with warm.lend(sys.executable, sources=sources) as engine:
        engine._send({"id": 7, "command": "detect"})
        engine._is_asked = True  # as where what was reported was too much for a listener
    assert gone_within(first, seconds=3)
    assert ask(warm, sources) != first


def test_another_way_to_start_or_other_code_is_another_engine(warm, sources, tmp_path, monkeypatch):
    pids = [ask(warm, sources)]
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    pids.append(ask(warm, sources))
    time.sleep(0.01)
    fake_engine(tmp_path, ECHO)
    pids.append(ask(warm, sources))
    assert len(set(pids)) == 3
    assert not any(alive(pid) for pid in pids[:2])


def test_each_job_has_its_own_log(warm, sources):
    lines: list[list[str]] = [[], []]
    for job in lines:
        ask(warm, sources, on_log=job.append)
        with warm.lend(sys.executable, sources=sources) as engine:
            assert engine.details == ""
    assert [len(job) <= 1 for job in lines] == [True, True] and lines[0] != lines[1]


def test_it_is_the_thread_that_keeps_one(sources):
    pids = []

    def work() -> None:
        with engine_kept_warm():
            pids.extend(ask(warm_engine(), sources) for _ in range(2))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert pids[0] == pids[1] and gone_within(pids[0], seconds=3)
    assert warm_engine() is None
