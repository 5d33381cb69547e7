"""How fast a model the rest of a detection keeps busy: reading, cropping, seams, outlines and writing beside a stand-in.

    python benchmarks/feeding.py [RASTER] [--model NAME_OR_FILE] [--workers N]

The model runs once and its answers are kept. Then a stand-in gives them again, at one rate after another, as a GPU would: one
batch at a time, two threads that bring it work, no core of its own. Printed is the share of the time in which it waited, from
its first batch to its last. Without a raster, the real image beside the checkout is taken where there is one, else a generated
town.
"""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import typer
from detection_stages import raster_or_default

import engine
from engine.detection import Instances, Predictor
from engine.detection.pipeline import model_predictor
from engine.device import share_the_cores

RATES = (25, 50, 100, 200, None)  # tiles per second; None: at once


class Recorder:
    """Keep what a predictor finds, by what a tile looks like."""

    def __init__(self, predictor: Predictor) -> None:
        self.tile_size, self.gsd, self.bands = predictor.tile_size, predictor.gsd, predictor.bands
        self.answers: dict[bytes, Instances] = {}
        self._predictor = predictor

    def predict(self, tiles: np.ndarray) -> list[Instances]:
        found = self._predictor.predict(tiles)
        self.answers.update(zip(map(_look, tiles), found, strict=True))
        return found


class StandIn:
    """Give known answers at a rate of its own."""

    device = "stand-in"
    batch_size = 8
    calls_at_once = 2

    def __init__(self, known: Recorder, rate: float | None) -> None:
        self.tile_size, self.gsd, self.bands = known.tile_size, known.gsd, known.bands
        self.busy = 0.0
        self.first = self.last = 0.0
        self._answers = known.answers
        self._rate = rate
        self._at_work = threading.Lock()

    def predict(self, tiles: np.ndarray) -> list[Instances]:
        with self._at_work:
            begun = time.perf_counter()
            self.first = self.first or begun
            if self._rate is not None:
                time.sleep(len(tiles) / self._rate)
            self.last = time.perf_counter()
            self.busy += self.last - begun
        # a mask is the receiver's own
        found = [self._answers[_look(tile)] for tile in tiles]
        return [Instances(each.scores, each.labels, each.masks.copy()) for each in found]


def _look(tile: np.ndarray) -> bytes:
    return tile[:, ::8, ::8].tobytes()


def main(raster: Path | None = typer.Argument(None), model: str = "maskdino_lite", workers: int | None = None) -> None:
    """Print the table."""
    share_the_cores()
    from measuring import machine  # it imports torch, which has to be told before

    with tempfile.TemporaryDirectory() as folder:
        raster = raster_or_default(raster, Path(folder))
        output = Path(folder, "buildings.gpkg")
        known = Recorder(model_predictor(model))
        summary = engine.detect(raster, output, predictor=known)
        instances = sum(len(found) for found in known.answers.values())
        each = instances / summary.tiles_seen
        print(f"{raster.name}: {summary.tiles_seen} tiles of {known.tile_size} pixels, {each:.0f} instances per tile")
        print(machine())
        print(f"{'tiles per second':>16}{'kept up with':>14}{'waited':>9}{'processor ms per tile':>21}{'of its processes':>18}")
        for rate in RATES:
            stand_in, before = StandIn(known, rate), _processor_seconds()
            engine.detect(raster, output, predictor=stand_in, workers=workers)
            spent = (_processor_seconds() - before) / summary.tiles_seen * 1e3
            lasted = stand_in.last - stand_in.first
            reached, waited = summary.tiles_seen / lasted, 1 - stand_in.busy / lasted
            share = f"{waited:.0%}" if rate else "-"
            print(f"{rate or 'any':>16}{reached:>14.0f}{share:>9}{spent[0]:>21.1f}{spent[1]:>18.1f}")
    print("a real GPU: " + ("benchmarks/detection_stages.py --device cuda" if _has_gpu() else "none here, not measured"))


def _processor_seconds() -> np.ndarray:
    """Of this process, and of those that it has ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([each.ru_utime + each.ru_stime for each in used])


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    typer.run(main)
