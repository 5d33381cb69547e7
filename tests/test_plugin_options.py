"""The plugin's copy of the engine's options is current."""

from __future__ import annotations

import subprocess
import sys


def test_the_plugin_has_the_options_of_the_engine(project):
    command = [sys.executable, project / "packaging" / "update_options.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_copy_that_is_not_current_is_refused(project):
    """With an option more than the file has."""
    program = (
        "import sys\n"
        "sys.path[:0] = ['packaging', '.']\n"
        "import update_options\n"
        "from engine.detection.request import DetectRequest\n"
        "from engine.request import option\n"
        "from engine.commands import detect\n"
        "class More(DetectRequest):\n"
        "    wobble: bool = option(False, 'Wobble.')\n"
        "detect.serve.request = More\n"
        "sys.argv[1:] = ['--check']\n"
        "update_options.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=project)
    assert done.returncode == 1
    assert "is not current: run python packaging/update_options.py" in done.stderr
