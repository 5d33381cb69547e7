"""Packed layers compute what the layers in whose place they stand compute, for maps of any size."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from engine.model.packed_layers import PackedConvolution, can_pack, pack_convolutions

pytestmark = pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="this processor or this torch packs nothing")

CONVOLUTIONS = {
    "pointwise": lambda: nn.Conv2d(8, 12, 1),
    "with steps": lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
    "depthwise": lambda: nn.Conv2d(8, 8, 5, padding=2, groups=8),
    "dilated": lambda: nn.Conv2d(8, 12, 3, padding=(2, 4), dilation=(2, 4), groups=2),
    "padded as TensorFlow does": lambda: Conv2dSame(8, 12, 3, stride=2),
}


@pytest.mark.parametrize("after", [None, nn.ReLU(), nn.ReLU6()], ids=["alone", "ReLU", "ReLU6"])
@pytest.mark.parametrize("made", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_packed_convolution_computes_the_same_at_every_size(made, after):
    torch.manual_seed(0)
    convolution = made()
    packed = PackedConvolution(convolution, after)
    with torch.no_grad():
        for size in ((1, 8, 16, 16), (3, 8, 17, 9), (1, 8, 5, 6), (1, 8, 16, 16)):
            images = torch.randn(size) * 10
            expected = convolution(images) if after is None else after(convolution(images))
            for given in (images, images.to(memory_format=torch.channels_last)):
                torch.testing.assert_close(packed(given), expected, rtol=1e-4, atol=1e-4)


def test_activations_that_are_packed_are_not_done_twice_and_others_stay():
    block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 1), nn.Hardswish(), nn.Conv2d(4, 4, 1), nn.ReLU())
    first, second, third, fourth, fifth, sixth = block
    pack_convolutions(block, {first: second, third: fourth})
    assert [type(each) for each in block] == [
        PackedConvolution, nn.Identity, PackedConvolution, nn.Hardswish, PackedConvolution, nn.ReLU,
    ]  # fmt: skip
    assert [block[3], block[5]] == [fourth, sixth]
    assert block[4].weight is fifth.weight


def test_what_cannot_be_packed_stays():
    block = nn.Sequential(nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))
    before = list(block)
    pack_convolutions(block, {})
    assert list(block) == before
