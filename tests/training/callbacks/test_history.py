"""The tables of a run hold together wherever a kill cut them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import Tensor, tensor

from training.callbacks.history import VALIDATION, History, read_history

STEPS = [8, 12, 120]


def write_rows(history: History, steps: list[int]) -> None:
    for step in steps:
        trainer = SimpleNamespace(is_global_zero=True, callback_metrics=metrics(step))
        history.on_validation_end(trainer, SimpleNamespace(scores=True, validated=step))


def metrics(step: int) -> dict[str, Tensor]:
    return {"val/AP": tensor(step / 1000), "val/AP50": tensor(0.5)}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path, every=1, length=SimpleNamespace(seconds=1.0))


def test_a_table_cut_anywhere_goes_on_with_the_rows_that_are_whole(history: History, tmp_path: Path) -> None:
    table = tmp_path / VALIDATION
    write_rows(history, STEPS)
    whole = table.read_bytes()
    ends = [at for at in range(len(whole) + 1) if whole[:at].endswith(b"\n")]
    for length in range(len(whole) + 1):
        table.write_bytes(whole[:length])
        history.on_train_start(SimpleNamespace(is_global_zero=True, global_step=1000), None)
        write_rows(history, [1001])
        kept = STEPS[: max(0, sum(end <= length for end in ends) - 1)]
        rows = read_history(table)
        assert [row["step"] for row in rows] == [*kept, 1001], length
        assert all(row["AP"] == row["step"] / 1000 for row in rows), length


def test_the_steps_that_a_kill_undid_are_forgotten(history: History, tmp_path: Path) -> None:
    write_rows(history, STEPS)
    history.on_train_start(SimpleNamespace(is_global_zero=True, global_step=12), None)
    assert [row["step"] for row in read_history(tmp_path / VALIDATION)] == [8, 12]
