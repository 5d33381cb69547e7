"""A norm becomes part of a convolution only where it sees what that convolution gave, and nothing else sees it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.model.folded_norms import fold_norms


class _Block(nn.Module):
    """Convolutions and norms of one width, put together by each test in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1, bias=False)
        self.norm, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)
        for norm in (self.norm, self.second):
            nn.init.normal_(norm.weight, 1.0, 0.2)
            nn.init.normal_(norm.running_mean)


class _InTurn(_Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.other(self.act(self.norm(self.one(x)))))


class _OfASum(_Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.one(x) + self.other(x))


class _AfterActivation(_Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.act(self.other(x)))


class _OneConvolutionTwice(_Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.one(x)) + self.second(self.one(x * 2))


class _TwoNormsOfOneMap(_Block):
    def forward(self, x: Tensor) -> Tensor:
        features = self.one(x)
        return self.norm(features) * self.second(features)


@pytest.mark.parametrize(
    ("block", "left"),
    [(_InTurn, 0), (_OfASum, 2), (_AfterActivation, 2), (_OneConvolutionTwice, 2), (_TwoNormsOfOneMap, 2)],
)
def test_what_is_folded_computes_the_same(block, left):
    torch.manual_seed(0)
    module, images = block().eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = module(images)
        fold_norms(module, lambda: module(images))
        torch.testing.assert_close(module(images), expected, rtol=1e-5, atol=1e-5)
    assert sum(isinstance(each, nn.BatchNorm2d) for each in module.modules()) == left


def test_without_norms_there_is_no_trial():
    fold_norms(nn.Conv2d(3, 3, 1), pytest.fail)
