"""Programs run to their end: heard, ended in time, never waited for in vain."""

from __future__ import annotations

import sys

from qgis.PyQt.QtCore import QProcessEnvironment

from qgis_maskdino.backend.program import run_program


def test_lines_arrive_and_the_end_is_kept():
    lines = []
    code = "import sys\nfor i in range(500): print('line', i)\nprint('häßlich', file=sys.stderr); sys.exit(3)"
    result = run_program(sys.executable, ["-X", "utf8", "-c", code], variables=_variables(), on_line=lines.append)
    assert result.status == 3
    assert {"line 0", "line 499", "häßlich"} <= set(lines)
    assert len(result.output.splitlines()) == 60


def test_it_is_killed_when_it_takes_too_long():
    result = run_program(sys.executable, ["-c", "import time; time.sleep(60)"], variables=_variables(), seconds=0.5)
    assert (result.status, result.cancelled) == (None, False)


def test_a_question_gets_no_answer():
    result = run_program(sys.executable, ["-c", "input('Really? ')"], variables=_variables(), seconds=20)
    assert result.status == 1
    assert "EOFError" in result.output


def _variables() -> QProcessEnvironment:
    return QProcessEnvironment.systemEnvironment()
