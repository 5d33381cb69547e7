"""Which weights decay, how fast each learns, and how the rate changes: as the published training does it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.model.build import build_model
from engine.model.config import PixelDecoderConfig, SwinConfig
from engine.model.families.maskdino.config import DecoderConfig, MaskDinoConfig
from training.config.schema import OptimizerConfig, ScheduleConfig
from training.run.optimization import make_optimizer, parameter_groups, rate_factor


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build_model(
        MaskDinoConfig(
            num_classes=1,
            backbone=SwinConfig(embed_dim=16, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), window_size=4),
            hidden_dim=32,
            pixel_decoder=PixelDecoderConfig(layers=1, feedforward=48, mask_dim=32),
            decoder=DecoderConfig(layers=1, feedforward=40, queries=10),
        )
    )


def settings(model: nn.Module) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) of each parameter by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, OptimizerConfig(learning_rate=1e-3, backbone_factor=0.1, weight_decay=0.05))
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_every_parameter_stands_in_one_group(model: nn.Module) -> None:
    assert settings(model).keys() == dict(model.named_parameters()).keys()
    make_optimizer(model, OptimizerConfig())  # torch refuses a parameter that stands in two


def test_the_published_exceptions_do_not_decay_and_nothing_else(model: nn.Module) -> None:
    kept = {name for name, (_, decay) in settings(model).items() if decay == 0}
    assert "label_embedding.weight" in kept
    assert any("relative_position_bias_table" in name for name in kept)
    norms = {
        f"{path}.{name}"
        for path, owner in model.named_modules()
        if isinstance(owner, (nn.LayerNorm, nn.GroupNorm))
        for name, _ in owner.named_parameters(recurse=False)
    }
    embeddings = {name for name in kept if "embedding.weight" in name or name.endswith("relative_position_bias_table")}
    assert kept == norms | embeddings
    assert settings(model)["heads.classify.bias"][1] == 0.05


def test_the_backbone_learns_at_its_share_of_the_rate(model: nn.Module) -> None:
    for name, (rate, _) in settings(model).items():
        assert rate == pytest.approx(1e-4 if name.startswith("backbone.") else 1e-3), name


def test_frozen_parameters_are_left_alone(model: nn.Module) -> None:
    bias = model.heads.classify.bias
    bias.requires_grad_(False)
    try:
        assert "heads.classify.bias" not in settings(model)
    finally:
        bias.requires_grad_(True)


def rates(config: ScheduleConfig, steps: int) -> list[float]:
    return [rate_factor(step, share=step / steps, config=config) for step in range(steps)]


def test_schedules() -> None:
    warm = rates(ScheduleConfig(warm_up=4, warm_up_factor=0.2), 8)
    assert warm == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
    stepped = rates(ScheduleConfig(kind="multistep", warm_up=0, milestones=(2, 4), gamma=0.1), 6)
    assert stepped == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = rates(ScheduleConfig(kind="cosine", warm_up=0, hold=0.5, final_factor=0.1), 101)
    assert cosine[:51] == pytest.approx([1.0] * 51)
    assert cosine == sorted(cosine, reverse=True)
    assert rate_factor(101, share=1.0, config=ScheduleConfig(kind="cosine", hold=0.5, final_factor=0.1)) == pytest.approx(0.1)


def test_a_published_milestone_beyond_the_run_never_comes() -> None:
    assert set(rates(ScheduleConfig(kind="multistep", warm_up=10, warm_up_factor=1.0, milestones=(30000,)), 50)) == {1.0}


def test_the_rate_of_each_group_follows_the_schedule() -> None:
    layer = nn.Linear(2, 2)
    optimizer = make_optimizer(layer, OptimizerConfig(learning_rate=0.5))
    config = ScheduleConfig(kind="multistep", warm_up=0, milestones=(1,))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, share=step / 4, config=config))
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05])
