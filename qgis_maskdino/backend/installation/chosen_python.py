"""Judge an interpreter that the user named: whether it is a Python that has the engine's packages."""

from __future__ import annotations

import os
import re
import time

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.installation.base_python import OLDEST
from qgis_maskdino.backend.program import run_program
from qgis_maskdino.backend.variables import engine_variables
from qgis_maskdino.translation import tr

PACKAGES = ("torch", "typer")  # without these no engine starts; whether all the others fit, the check says
_ANSWERS_WITHIN = 20.0  # seconds; a cold disk on a laptop needs some
_BELIEVED_FOR = 5.0  # seconds that a "no" holds; what is missing may be installed meanwhile
# Nothing is imported: a package is found in milliseconds, and torch takes seconds to import.
_QUESTION = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
missing = [name for name in sys.argv[2:] if importlib.util.find_spec(name) is None]
print("maskdino", *sys.version_info[:2], *missing)
"""
_answers: dict[tuple[str, float, str], tuple[str, float]] = {}


def why_not_usable(python: str, sources: str) -> str:
    """Return why an engine cannot run in an interpreter; empty where it can.

    The interpreter is asked once, which takes about a tenth of a second; an answer is believed until the file changes.

    Args:
        python: the file.
        sources: the folder with the engine's own code, which an engine finds before what is installed.
    """
    key = (python, os.path.getmtime(python), sources)
    reason, asked_at = _answers.get(key, (None, 0.0))
    if reason is None or (reason and time.monotonic() - asked_at > _BELIEVED_FOR):
        reason = _ask(python, sources)
        _answers[key] = (reason, time.monotonic())
    return reason


def _ask(python: str, sources: str) -> str:
    question = ["-I", "-c", _QUESTION, sources, *PACKAGES]
    try:
        answer = run_program(python, question, variables=engine_variables(), seconds=_ANSWERS_WITHIN)
    except EngineError as error:
        return error.message
    said = re.search(r"^maskdino (\d+) (\d+)((?: \w+)*)$", answer.output, re.MULTILINE)
    if said is None:
        return tr("{} does not answer as a Python does.").format(python)
    if (int(said[1]), int(said[2])) < OLDEST:
        return tr("{} is Python {}.{}; the engine needs 3.10 or later.").format(python, said[1], said[2])
    missing = said[3].split()
    return tr("{} lacks packages that the engine needs: {}.").format(python, ", ".join(missing)) if missing else ""
