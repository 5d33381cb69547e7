"""The feed-forward part of a transformer layer, with the residual connection and the norm that follow it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_TOKENS = 512  # a thread's share of a piece: with 2048 hidden channels 4 MB, which stays in its cache


def piece_size() -> int:
    """How many tokens go through a feed-forward network at once on a CPU."""
    return _TOKENS * torch.get_num_threads()


def feed_forward(x: Tensor, linear1: nn.Linear, linear2: nn.Linear, norm: nn.LayerNorm) -> Tensor:
    """Return norm(x + linear2(relu(linear1(x)))) of tokens (B, S, C).

    Without gradients on a CPU it goes piece by piece: the hidden layer of a whole map, 45 MB for an R50 at 512 x 512, would
    travel to memory and back four times.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling():
        return norm(x + linear2(linear1(x).relu()))
    pieces = x.flatten(0, 1).split(piece_size())
    return torch.cat([norm(piece + linear2(linear1(piece).relu_())) for piece in pieces]).view_as(x)
