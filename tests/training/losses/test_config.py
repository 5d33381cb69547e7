from __future__ import annotations

import pytest
from pydantic import ValidationError

from training.losses import LossConfig, TermWeights


def test_the_published_values_are_the_defaults() -> None:
    config = LossConfig()
    assert config.weights == config.costs == TermWeights(classification=4, mask=5, dice=5, box=5, giou=2)
    assert (config.points, config.oversample_ratio, config.importance_sample_ratio) == (12544, 3.0, 0.75)
    assert (config.denoising.mode, config.denoising.number, config.denoising.noise_scale) == ("seg", 100, 0.4)


def test_round_trip() -> None:
    config = LossConfig(points=100, weights=TermWeights(mask=2))
    assert LossConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"point": 100},
        {"points": 0},
        {"weights": {"mask": -1}},
        {"weights": {"masks": 1}},
        {"denoising": {"mode": "full"}},
        {"importance_sample_ratio": 1.5},
        {"oversample_ratio": 0.5},
        {"box_loss": "eiou"},
        {"oversample_ratio": float("inf")},
        {"costs": {"classification": 0, "mask": 0, "dice": 0, "box": 0, "giou": 0}},
    ],
)
def test_unknown_keys_and_impossible_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LossConfig.model_validate(wrong)
