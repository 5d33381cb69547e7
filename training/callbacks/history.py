"""The course of a run as two tables: what was lost at each step, what was reached at each validation."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from torch import Tensor

from engine.files.output_file import OutputFile
from training.callbacks.run_length import RunLength

log = logging.getLogger(__name__)

LOSSES, VALIDATION = "losses.csv", "validation.csv"


class History(lightning.Callback):
    """Append to ``losses.csv`` and ``validation.csv``, over all the parts of a run that was stopped and resumed.

    Args:
        folder: of the run.
        every: steps between two rows of losses.
        length: of the run, which counts the seconds.
    """

    def __init__(self, folder: Path, *, every: int, length: RunLength) -> None:
        self.folder, self.every, self.length = folder, every, length

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            for name in (LOSSES, VALIDATION):
                _forget_after(self.folder / name, trainer.global_step)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.is_global_zero and stepped and trainer.global_step % self.every == 0:
            values = _numbers(trainer.callback_metrics, "train/")
            rate = trainer.optimizers[0].param_groups[-1]["lr"]
            self._append(
                LOSSES, {"step": trainer.global_step, "seconds": round(self.length.seconds, 1), "rate": rate, **values}
            )

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and pl_module.scores is not None:
            values = _numbers(trainer.callback_metrics, "val/")
            log.info("step %d: %s", pl_module.validated, ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
            self._append(VALIDATION, {"step": pl_module.validated, "seconds": round(self.length.seconds, 1), **values})

    def _append(self, name: str, row: dict[str, Any]) -> None:
        path = self.folder / name
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, row)
        if not path.exists():
            writer.writeheader()
        writer.writerow(row)
        with path.open("a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())


def read_history(path: Path) -> list[dict[str, float]]:
    """Read one of the tables; empty where there is none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _forget_after(path: Path, step: int) -> None:
    """Drop the rows of steps that a kill undid, and the line that it cut short; a table without a whole header goes."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(line for line in file if line.endswith("\n")))
    if not rows:
        path.unlink()
        return
    header, *rows = rows
    kept = [row for row in rows if len(row) == len(header) and row[0].isdigit() and int(row[0]) <= step]
    with OutputFile(path) as output:
        with output.part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *kept])
        output.finish()


def _numbers(metrics: dict[str, Tensor], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): round(float(value), 6) for name, value in metrics.items() if name.startswith(prefix)}
