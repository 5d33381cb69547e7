"""Masks reach the host's memory as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.model.host_transfer import finish_copies, pack_bits, start_copy, unpack_bits


@pytest.mark.parametrize("shape", [(3, 5, 8), (0, 4, 16), (2, 40)])
def test_bits_are_those_of_numpy_and_come_back(shape: tuple[int, ...]) -> None:
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    bits = pack_bits(masks)
    assert bits.dtype == torch.uint8
    assert np.array_equal(bits.numpy(), np.packbits(masks.numpy(), axis=-1))
    for width in (shape[-1], shape[-1] - 3):
        assert torch.equal(unpack_bits(bits, width), masks[..., :width])


def test_what_is_there_already_is_not_copied() -> None:
    tensor = torch.ones(3)
    copied = start_copy(tensor)
    finish_copies(tensor.device)
    assert copied.data_ptr() == tensor.data_ptr()
