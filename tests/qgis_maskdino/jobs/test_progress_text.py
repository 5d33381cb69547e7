"""What people read while they wait."""

from __future__ import annotations

import pytest

from qgis_maskdino.jobs import progress_text as progress_module
from qgis_maskdino.jobs.progress_text import duration, progress_text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "1 s"), (0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "2 min"), (3570, "1 h 0 min"), (4800, "1 h 20 min")],
)
def test_times_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            {"done": 3, "total": 9, "unit": "tiles", "buildings": 1234, "megapixels_per_second": 0.2213, "seconds_left": 61.0,
             "device": "cuda:0"},
            "1,234 buildings so far · 0.22 MPix/s · 1 min left · graphics card",
        ),
        ({"done": 0, "total": 9, "unit": "tiles", "buildings": 0, "device": "cpu"}, "0 buildings so far · processor"),
        ({"done": 1, "total": 4, "unit": "tiles", "buildings": 5, "device": "cuda:1"}, "5 buildings so far · graphics card 1"),
        ({"done": 40, "total": 100, "unit": "%", "buildings": None}, "40 %"),
        ({"done": 1200, "total": 5000, "unit": "steps", "note": "loss 1.2"}, "1,200 / 5,000 steps · loss 1.2"),
        ({"done": 100, "total": 100, "unit": "%", "seconds_left": 0.0}, "finishing …"),
        (
            {"done": 9, "total": 9, "unit": "tiles", "buildings": 7, "seconds_left": 0.0, "device": "cpu"},
            "7 buildings so far · finishing … · processor",
        ),
        ({"done": 500, "total": 1000, "unit": "", "note": "Downloading"}, "Downloading"),
        ({}, ""),
    ],
)  # fmt: skip
def test_an_event_becomes_a_line(event, said):
    assert progress_text(event) == said


def test_what_is_counted_is_translated(monkeypatch):
    monkeypatch.setattr(progress_module, "tr", lambda text: {"steps": "Schritte"}.get(text, text))
    assert progress_text({"done": 2, "total": 5, "unit": "steps"}) == "2 / 5 Schritte"
