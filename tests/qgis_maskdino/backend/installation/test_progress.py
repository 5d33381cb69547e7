"""Progress out of what pip and uv really write."""

from __future__ import annotations

import pytest

from qgis_maskdino.backend.installation.progress import InstallationProgress

UV = """Resolved 3 packages in 806ms
Downloading pillow (6.8MiB)
Downloading torch (0.5GiB)
 Downloaded pillow
 Downloaded torch
Prepared 3 packages in 8.29s
 + pillow==13.0.0"""
PIP = """Looking in indexes: https://download.pytorch.org/whl/cpu
Collecting torch<3,>=2.10
  Downloading https://download.pytorch.org/whl/cpu/torch-2.15.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl (190 MB)
Progress 0 of 190000000
Progress 95000000 of 190000000
Progress 190000000 of 190000000
Collecting numpy
  Downloading numpy-2.4.6-cp311-cp311-linux_x86_64.whl (16 MB)
Progress 16000000 of 16000000
Installing collected packages: numpy, torch"""


@pytest.mark.parametrize(("said", "shown"), [(UV, "Installing: 544 of 544 MB"), (PIP, "Installing: numpy, 16 of 16 MB")])
def test_it_moves_forward_within_its_step_and_names_what_is_fetched(said, shown):
    told = []
    progress = InstallationProgress("Installing", (0.1, 0.5), lambda fraction, text: told.append((fraction, text)))
    worth_a_log = [line for line in said.splitlines() if not progress.read(line)]
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert 0.1 <= fractions[0] < fractions[-1] <= 0.5
    assert told[-1][1] == shown
    assert worth_a_log == [line for line in said.splitlines() if not line.startswith("Progress")]


def test_an_empty_file_is_no_division_by_zero():
    told = []
    assert InstallationProgress("Installing", (0.0, 1.0), lambda *progress: told.append(progress)).read("Progress 0 of 0")
    assert told == []
