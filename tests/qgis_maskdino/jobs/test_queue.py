"""Jobs run one at a time, in order, in another thread; each ends in one way, and none takes QGIS along."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from qgis.core import QgsApplication

from qgis_maskdino.backend.warm_engine import warm_engine
from qgis_maskdino.jobs import queue as queue_module
from qgis_maskdino.jobs.queue import Job, JobError, JobQueue, JobState
from tests.qgis_maskdino.fake_engine import fake_engine
from tests.qgis_maskdino.gui.panel_window import wait_for
from tests.qgis_maskdino.process_life import alive, gone_within


class Work(Job):
    """A job that does as it is told."""

    def __init__(self, title: str = "work", *, until=None, fails=None, refuses=None, unusable=None) -> None:
        super().__init__(title)
        self.until, self.fails, self.refuses, self.unusable = until, fails, refuses, unusable
        self.threads: list[threading.Thread] = []

    def prepare(self) -> None:
        if self.refuses:
            raise self.refuses

    def work(self, on_event, is_cancelled):
        self.threads.append(threading.current_thread())
        on_event({"event": "progress", "done": 1, "total": 2})
        while self.until is not None and not self.until.is_set() and not is_cancelled():
            time.sleep(0.01)
        if self.fails:
            raise self.fails
        return {"title": self.title}

    def finish(self) -> None:
        if self.unusable:
            raise self.unusable


@pytest.fixture
def queue():
    queue = JobQueue()
    yield queue
    queue.close()


@pytest.fixture
def ended(queue):
    jobs: list[Job] = []
    queue.ended.connect(jobs.append)
    return jobs


def test_a_job_runs_in_another_thread_and_brings_its_results(queue, ended):
    job = Work()
    queue.add(job)
    wait_for(lambda: ended)
    assert job.state is JobState.DONE
    assert job.results == {"title": "work"}
    assert job.threads[0] is not threading.main_thread()
    assert queue.running is None


def test_two_jobs_queue(queue, ended):
    go = threading.Event()
    first, second = Work("first", until=go), Work("second")
    queue.add(first)
    queue.add(second)
    wait_for(lambda: first.threads)
    assert (queue.running, queue.waiting) == (first, [second])
    assert not second.threads
    go.set()
    wait_for(lambda: len(ended) == 2)
    assert ended == [first, second]


def test_events_are_heard_in_the_main_thread(queue):
    go, heard = threading.Event(), []
    queue.event_received.connect(lambda job, event: heard.append((job, event, threading.current_thread())))
    job = Work(until=go)
    queue.add(job)
    wait_for(lambda: heard)
    assert heard == [(job, {"event": "progress", "done": 1, "total": 2}, threading.main_thread())]
    go.set()


def test_a_job_is_no_task_of_qgis_which_would_announce_its_end(queue, ended):
    added = []
    QgsApplication.taskManager().taskAdded.connect(added.append)
    try:
        queue.add(Work())
        wait_for(lambda: ended)
    finally:
        QgsApplication.taskManager().taskAdded.disconnect(added.append)
    assert added == []


def test_a_job_that_runs_and_one_that_waits_can_be_cancelled(queue, ended):
    running, waiting = Work("running", until=threading.Event()), Work("waiting", until=threading.Event())
    queue.add(running)
    queue.add(waiting)
    wait_for(lambda: running.threads)
    queue.cancel(waiting)
    queue.cancel(running)
    wait_for(lambda: len(ended) == 2)
    assert [job.state for job in (running, waiting)] == [JobState.CANCELLED, JobState.CANCELLED]
    assert running.results == {"title": "running"}  # what it brought until then
    assert not waiting.threads


def test_cancelling_what_has_ended_changes_nothing(queue, ended):
    job = Work()
    queue.add(job)
    wait_for(lambda: ended)
    queue.cancel(job)
    assert job.state is JobState.DONE
    assert len(ended) == 1


@pytest.mark.parametrize("where", ["refuses", "fails", "unusable"])
def test_a_job_that_fails_says_why_and_the_next_one_runs(queue, ended, where):
    error = JobError("The disk is full.", hint="Free some space.", details="line 1\nline 2")
    queue.add(Work("bad", **{where: error}))
    queue.add(Work("good"))
    wait_for(lambda: len(ended) == 2)
    assert [job.state for job in ended] == [JobState.FAILED, JobState.DONE]
    assert ended[0].error is error


def test_a_job_with_a_bug_has_failed_and_the_queue_goes_on(queue, ended, monkeypatch):
    # As QGIS does: what nobody caught is logged. Without a hook of one's own, PyQt ends the program.
    unexpected = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: unexpected.append(error))
    queue.add(Work("bug", fails=ZeroDivisionError("a bug")))
    queue.add(Work("good"))
    wait_for(lambda: len(ended) == 2)
    assert [job.state for job in ended] == [JobState.FAILED, JobState.DONE]
    assert "without an answer" in ended[0].error.message
    assert [str(error) for error in unexpected] == ["a bug"]


def test_closing_ends_what_runs_and_nothing_is_heard_of_it(queue, ended):
    running, waiting = Work("running", until=threading.Event()), Work("waiting")
    queue.add(running)
    queue.add(waiting)
    wait_for(lambda: running.threads)
    queue.close()
    assert queue.running is None
    assert not running.threads[0].is_alive()
    assert not waiting.threads
    assert ended == []


class EngineWork(Job):
    """A job that keeps the number of the process that answered it."""

    def __init__(self, sources: str) -> None:
        super().__init__("engine")
        self.sources = sources

    def work(self, on_event, is_cancelled):
        with warm_engine().lend(sys.executable, sources=self.sources) as engine:
            return engine.run("detect", {})


@pytest.fixture
def sources(tmp_path):
    return fake_engine(tmp_path, "for r in requests(): say('result', id=r['id'], pid=os.getpid())")


def test_jobs_share_an_engine_that_ends_with_the_queue(queue, ended, sources):
    assert not queue.engine_is_warm
    for count in (1, 2):
        queue.add(EngineWork(sources))
        wait_for(lambda count=count: len(ended) == count)
    assert queue.engine_is_warm
    pids = [job.results["pid"] for job in ended]
    assert pids[0] == pids[1] and alive(pids[0])
    queue.close()
    assert gone_within(pids[0], seconds=3)


def test_an_engine_does_not_wait_for_ever(queue, ended, sources, monkeypatch):
    monkeypatch.setattr(queue_module, "IDLE_LIMIT", 0.3)
    queue.add(EngineWork(sources))
    wait_for(lambda: ended)
    wait_for(lambda: not queue.engine_is_warm, seconds=5)
    assert gone_within(ended[0].results["pid"], seconds=3)
    queue.add(EngineWork(sources))
    wait_for(lambda: len(ended) == 2)
    assert ended[1].state is JobState.DONE


def test_the_engine_can_be_let_go_of(queue, ended, sources):
    queue.add(EngineWork(sources))
    wait_for(lambda: ended)
    queue.close_engine()
    assert not queue.engine_is_warm and gone_within(ended[0].results["pid"], seconds=3)
    queue.add(EngineWork(sources))
    wait_for(lambda: len(ended) == 2)
    assert ended[1].state is JobState.DONE
