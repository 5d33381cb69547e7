"""Batch norms made part of the convolutions before them: the same function, in one pass over a map instead of two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_norms(module: nn.Module, trial: Callable[[], Any]) -> dict[nn.Module, nn.Module]:
    """Multiply each batch norm, frozen or not, into the convolution that it follows; only ``eval()`` stays the same.

    Which one it follows cannot be told from where the two stand: RepViT's norms come after a convolution and normalise the sum
    of two.

    Args:
        module: in ``eval()``; changed in place. A norm stays where what it is given is not what a convolution gave.
        trial: runs the module once, on an image without structure.

    Returns:
        What a folded norm leaves to do after a convolution: timm's norms can carry an activation.
    """
    if not any(_is_norm(each) for each in module.modules()):
        return {}
    followed, activations = _followed(module, trial), {}
    for parent in list(module.modules()):
        for name, norm in list(parent.named_children()):
            convolution = followed.get(norm)
            if convolution is not None:
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                activations[convolution] = norm.act if hasattr(norm, "act") else nn.Identity()
                setattr(parent, name, activations[convolution])
    return activations


def _is_norm(module: nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None


def _followed(module: nn.Module, trial: Callable[[], Any]) -> dict[nn.Module, nn.Conv2d]:
    """Find the convolution before each norm in a trial run, where both run once and nothing changes the map between them."""
    calls: Counter[nn.Module] = Counter()
    given: dict[int, tuple[nn.Conv2d, Tensor, Tensor]] = {}
    followed: dict[nn.Module, nn.Conv2d] = {}

    def after_convolution(convolution: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[convolution] += 1
        given[id(output)] = convolution, output, output.clone()

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        convolution, _, copy = given.get(id(inputs[0]), (None, None, None))
        if convolution is not None and torch.equal(inputs[0], copy):  # an activation that works in place gives the same tensor
            followed[norm] = convolution

    modules = list(module.modules())
    # Not of a class that makes something else of its weight.
    plain = [each for each in modules if type(each) in (nn.Conv2d, Conv2dSame)]
    hooks = [each.register_forward_hook(after_convolution) for each in plain]
    hooks += [each.register_forward_pre_hook(before_norm) for each in modules if _is_norm(each)]
    try:
        with torch.no_grad():
            trial()
    finally:
        for hook in hooks:
            hook.remove()
    uses = Counter(followed.values())
    return {
        norm: convolution
        for norm, convolution in followed.items()
        if calls[norm] == calls[convolution] == uses[convolution] == 1
    }
