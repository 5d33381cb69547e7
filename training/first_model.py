"""Train the embedded default model: synthetic towns first, then mostly real ground.

``python -m training.first_model --data FOLDER --output runs/tiny --minutes 600``; run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import platform
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import engine
from engine.model.maskdino import MaskDino
from engine.model.model_file import save_model
from engine.model.model_header import DataSource, ModelHeader, TrainingRecord
from engine.model.presets import PRESETS
from training.data.augmentation_config import AugmentationConfig
from training.data.dataset import TrainingCrops, collate
from training.data.sample import Sample
from training.data.scene import SceneWindows
from training.data.sources import SceneSource, SyntheticSource
from training.data.tiny_model_data import Ground, read_ground
from training.evaluation.mask_scores import MaskScores, score_model
from training.fit import Fit, FitSettings
from training.losses import DenoisingConfig, LossConfig, Target
from training.score_calibration import balance_scores

NAME = "maskdino_tiny"
GSD = 0.3  # metres a pixel
CROP = 256  # pixels
EARLY_CROP = 192  # pixels: more, cheaper steps while the model learns what a roof is
TILE = 256  # pixels: what the model is given in use, as in training: it does worse on larger ones
LATE_FROM = 0.35  # share of the training after which real ground and whole crops take over
LOSSES = LossConfig(
    # An eighth of the published points: a crop holds many small buildings, and a CPU spends its time here.
    points=1024,
    oversample_ratio=1.5,
    importance_sample_ratio=0.5,
    denoising=DenoisingConfig(number=50),
)
SOURCES = (
    DataSource(name="synthetic towns", licence="GPL-3.0-or-later", attribution="training/data/synthetic.py"),
    DataSource(
        name="Banepa (hotosm/fAIr-models)",
        licence="imagery CC BY 4.0, labels ODbL",
        attribution="OpenAerialMap contributors, OpenStreetMap contributors",
    ),
    DataSource(
        name="Zanzibar, Kampala, Banepa edge (hotosm/fAIr-utilities)",
        licence="imagery CC BY 4.0, labels ODbL",
        attribution="OpenAerialMap contributors, OpenStreetMap contributors",
    ),
)
LIMITS = (
    "Small, trained from scratch on few places: Banepa (Nepal), Kampala, Zanzibar and synthetic towns, at 0.15 to 0.4 m. "
    "Expect misses and false buildings elsewhere, on oblique or hazy imagery, on large industrial roofs, and beyond 0.5 m. "
    "A starting point for fine-tuning; not for statistics without an evaluation of your own."
)


def validation_samples(ground: Ground) -> list[Sample]:
    """Cut the validation ground into the crops that every figure of the model card is measured on."""
    return list(SceneWindows(ground.scenes, size=CROP, gsd=GSD, smallest=12))


def batches(fit: Fit, real: Ground, *, batch: int, cache: Path) -> Iterator[tuple[Tensor, list[Target]]]:
    """Draw batches without end; what they hold follows from the step and the progress of the training."""
    synthetic = SyntheticSource(150, gsd=GSD, cache=cache)
    banepa, fair = SceneSource(real.banepa, gsd=GSD), SceneSource(real.fair, gsd=GSD)
    changes = {"augmentation": AugmentationConfig(scale=(0.75, 1.3)), "length": 2**31}
    early = TrainingCrops([(synthetic, 0.6), (banepa, 0.25), (fair, 0.15)], size=EARLY_CROP, **changes)
    late = TrainingCrops([(synthetic, 0.3), (banepa, 0.4), (fair, 0.3)], size=CROP, **changes)
    while True:
        crops = early if fit.progress < LATE_FROM else late
        start = fit.step * batch
        yield collate([crops[start + index] for index in range(batch)])


def header(scores: MaskScores, *, f1: float, hours: float, steps: int) -> ModelHeader:
    """Describe the model for its file; ``f1`` is the one that the choice of the threshold did not flatter."""
    figures = {"AP50": round(scores.ap50, 3), "AP": round(scores.ap, 3), "F1": round(f1, 3)}
    return ModelHeader(
        name=NAME,
        description="Mask DINO, small: building footprints at about 0.3 m, for machines without a GPU.",
        licence="GPL-3.0-or-later",
        config=PRESETS[NAME],
        gsd=GSD,
        tile_size=TILE,
        training=TrainingRecord(
            trained_by="the qgis-maskdino project",
            data=SOURCES,
            finished=datetime.date.today().isoformat(),
            hours=round(hours, 2),
            steps=steps,
            device=f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
            figures=figures,
            evaluated_on=f"{scores.images} crops with {scores.buildings} buildings of ground that was never trained on: the "
            f"south of Banepa's labelled area and whole tiles of the other places; F1 at a score of "
            f"{scores.threshold:g}, set on one half of the crops and measured on the other",
        ),
        limits=LIMITS,
    )


def main() -> None:
    """Train, validating as it goes; then balance the scores of the averaged weights and save them as a model file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with banepa/ and fair/")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoint, losses and the model file")
    parser.add_argument("--minutes", type=float, required=True, help="of training, over all runs")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    training, validation = read_ground(arguments.data)
    samples = validation_samples(validation)
    torch.manual_seed(0)
    model = engine.build_model(NAME).to(arguments.device, memory_format=torch.channels_last)
    settings = FitSettings(seconds=60 * arguments.minutes)
    fit = Fit(model, losses=LOSSES, settings=settings, folder=arguments.output)

    def validate(averaged: MaskDino) -> dict[str, float]:
        scores = score_model(averaged, samples)
        return {"AP50": round(scores.ap50, 3), "AP": round(scores.ap, 3)}

    if fit.progress < 1:
        drawn = batches(fit, training, batch=arguments.batch, cache=arguments.output / "towns")
        on_device = ((images.to(arguments.device), [t.to(arguments.device) for t in targets]) for images, targets in drawn)
        fit.run(on_device, validate=validate)
    finished = fit.averaged.module
    f1 = balance_scores(finished, samples)
    save_model(
        arguments.output / f"{NAME}.safetensors",
        finished,
        header(score_model(finished, samples), f1=f1, hours=fit.trained / 3600, steps=fit.step),
        dtype="float16",
    )


if __name__ == "__main__":
    main()
