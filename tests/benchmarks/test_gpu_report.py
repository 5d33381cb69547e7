"""The report of a GPU machine: its steps fail, hang and run out of time each by itself."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path

import pytest

from benchmarks import gpu_report
from benchmarks.gpu_report import Step, full_steps, run, small_steps

NOTES = "import measuring; measuring.note(answer={answer})"
HANGS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


def results(folder: Path) -> list[dict]:
    return json.loads((folder / "report.json").read_text())["steps"]


@pytest.mark.slow
def test_a_step_that_fails_leaves_the_others(tmp_path: Path) -> None:
    steps = [
        Step("first", 60, ["-c", NOTES.format(answer=1)]),
        Step("breaks", 60, ["-c", NOTES.format(answer=2) + "; raise SystemExit(3)"]),
        Step("last", 60, ["-c", "print('at the end')"]),
    ]
    assert not run(steps, tmp_path, tmp_path / "none", seconds=200)
    assert [result["ended"] for result in results(tmp_path)] == ["done", "failed with status 3", "done"]
    assert [result["figures"] for result in results(tmp_path)] == [[{"answer": 1}], [{"answer": 2}], []]
    assert "at the end" in (tmp_path / "report.log").read_text()


@pytest.mark.slow
def test_a_step_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    assert not run([Step("hangs", 8, ["-c", HANGS])], tmp_path, tmp_path / "none", seconds=200)
    assert results(tmp_path)[0]["ended"] == "ended after its limit of 8 s"
    child = next(line.split()[1] for line in (tmp_path / "report.log").read_text().splitlines() if line.startswith("child"))
    ends = time.monotonic() + 30
    while _runs(child) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not _runs(child)


def _runs(process: str) -> bool:
    try:
        return "(zombie)" not in Path("/proc", process, "status").read_text()
    except OSError:
        return False


def test_what_no_time_is_left_for_is_left_out(tmp_path: Path) -> None:
    steps = [Step("long", 60, ["-c", "import time; time.sleep(600)"]), Step("next", 60, ["-c", "pass"])]
    assert not run(steps, tmp_path, tmp_path / "none", seconds=1)
    assert [result["ended"] for result in results(tmp_path)] == [
        "ended after its limit of 1 s",
        "left out: no time was left",
    ]


def test_packages_are_unpacked_where_one_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "only_in_the_bundle.py"
    module.write_text("ANSWER = 42")
    bundle = tmp_path / "packages.tar.xz"
    with tarfile.open(bundle, "w:xz") as archive:
        archive.add(module, module.name)
    module.unlink()
    step = Step("imports", 60, ["-c", "import only_in_the_bundle; print(only_in_the_bundle.ANSWER)"])
    monkeypatch.setattr(gpu_report, "_PACKED", ("only_in_the_bundle",))
    assert run([step], tmp_path, bundle, seconds=60)
    monkeypatch.setattr(gpu_report, "_PACKED", ("json",))
    assert not run([step], tmp_path, bundle, seconds=60)


def test_both_forms_have_the_same_steps() -> None:
    full = [step.name for step in full_steps([])]
    small = [step.name for step in small_steps()]
    assert small == [name for name in full if name != "compiled"]  # which takes a compiler and a minute
    assert len(set(full_steps(["--official", "x"])[-1].arguments) & {"--official", "x"}) == 2


@pytest.mark.slow
def test_a_detection_is_part_of_it(tmp_path: Path) -> None:
    steps = [step for step in small_steps() if step.name == "detection"]
    assert run(steps, tmp_path, tmp_path / "none", seconds=400), (tmp_path / "report.log").read_text()
    figures, waiting = results(tmp_path)[0]["figures"]
    assert figures["tiles"] == 4 and figures["buildings"] > 0
    assert waiting == {"size": 300, "waited": None}  # no GPU


def test_without_a_gpu_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(gpu_report, "_has_gpu", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu_report.py", "--output", str(tmp_path / "report")])
    gpu_report.main()
    assert "nothing measured" in capsys.readouterr().out
    assert not (tmp_path / "report").exists()
