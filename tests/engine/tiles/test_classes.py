"""Classes are asked for by name."""

from __future__ import annotations

import pytest

from engine.errors import ArgumentError
from engine.tiles.classes import wanted_classes

VEHICLES = ("Car", "truck", "bus")


def test_names_are_found_whatever_their_case_and_unknown_ones_are_refused_with_the_nearest() -> None:
    assert wanted_classes(VEHICLES, None).tolist() == [True, True, True]
    assert wanted_classes(VEHICLES, ["CAR", "Bus"]).tolist() == [True, False, True]
    with pytest.raises(ArgumentError, match=r"no class 'trucks'.*Did you mean 'truck'\? It has Car, truck, bus\."):
        wanted_classes(VEHICLES, ["car", "trucks"])
    with pytest.raises(ArgumentError, match=r"no class 'xyz'\. It has Car"):
        wanted_classes(VEHICLES, ["xyz"])
