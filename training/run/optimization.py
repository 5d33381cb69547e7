"""The optimizer and its learning rate, as Mask DINO was trained."""

from __future__ import annotations

import math

import torch
from torch import nn

from training.config.schema import OptimizerConfig, ScheduleConfig

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_POSITIONS = "relative_position_bias_table"


def make_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW over all parameters that want a gradient."""
    return torch.optim.AdamW(parameter_groups(module, config), lr=config.learning_rate, weight_decay=config.weight_decay)


def parameter_groups(module: nn.Module, config: OptimizerConfig) -> list[dict]:
    """Sort parameters by learning rate and weight decay, as the published training does.

    Weights of norms and embeddings and Swin's tables of relative positions do not decay, biases do; whatever lies in a
    module called ``backbone`` learns at ``backbone_factor`` of the rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    seen: set[int] = set()
    for path, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            backbone = "backbone" in path.split(".")
            decays = not isinstance(owner, (*_NORMS, nn.Embedding)) and name != _POSITIONS
            groups.setdefault((backbone, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * (config.backbone_factor if backbone else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (backbone, decays), parameters in groups.items()
    ]


def rate_factor(step: int, *, share: float, config: ScheduleConfig) -> float:
    """Return the share of the learning rate at a step, counted from 0, when a ``share`` of the run, 0 to 1, is done."""
    factor = 1.0
    if step < config.warm_up:
        factor = config.warm_up_factor + (1 - config.warm_up_factor) * step / config.warm_up
    if config.kind == "multistep":
        factor *= config.gamma ** sum(step >= milestone for milestone in config.milestones)
    elif config.kind == "cosine":
        done = min(max(share - config.hold, 0.0) / (1 - config.hold), 1.0)
        factor *= config.final_factor + (1 - config.final_factor) * 0.5 * (1 + math.cos(math.pi * done))
    return factor
