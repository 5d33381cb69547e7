"""From the outputs of a model to the instances of each image, for a whole batch at once.

The kept instances of all images stand one after the other, so that a batch takes as many operations on the device as an image.
The host waits for the device twice: for how many instances are kept, on which the sizes of all that follows depend, and for
the instances. They are drawn in parts where their images have different sizes, or their masks would take too much memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model.host_transfer import finish_copies, pack_bits, start_copy, unpack_bits
from engine.model.mask_drawing import STRIDE, EnlargedMasks
from engine.model.outputs import Prediction

Size = tuple[int, int]
"""Height and width in pixels."""

_DRAWN_AT_ONCE = {"cpu": 2**24}  # pixels of masks; larger pieces of memory are costly, as they go back to the system each time
_DRAWN_AT_ONCE_ELSEWHERE = 2**30  # 128 MB of bits
_RESAMPLED_AT_ONCE = 2**24  # pixels; 64 MB of float32


@dataclass
class ImageInstances:
    """The instances of one image, best first, in the host's memory.

    Attributes:
        scores: (N,) class probability times the mean probability inside the mask; 0 for an empty mask.
        labels: (N,) int64.
        boxes: (N, 4) x0, y0, x1, y1 in pixels of the output size, as predicted: neither clipped nor taken from the masks. Of a
            model that predicts none, what bounds the masks.
        masks: (N, H, W) bool.
        certainties: (N,) the mean probability inside the mask; None where scores are class probabilities alone.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    masks: Tensor
    certainties: Tensor | None = None


class ChosenPairs(NamedTuple):
    """The (query, class) pairs of a batch that are kept: image by image, in an image by class probability.

    Attributes:
        probabilities: (N,) of the class.
        images, ranks: (N,) the image of each pair, and its place among those of this image.
        queries, labels: (N,) the pair.
        counts: pairs of each image; the other attributes are on the model's device, this one is not.
    """

    probabilities: Tensor
    images: Tensor
    ranks: Tensor
    queries: Tensor
    labels: Tensor
    counts: list[int]


class _Drawn(NamedTuple):
    """Instances (N, ...) of images of one size, image by image, in each the best first; masks bool or, packed, uint8."""

    scores: Tensor
    labels: Tensor
    boxes: Tensor | None
    masks: Tensor
    certainties: Tensor


class BatchInstances(Sequence[ImageInstances]):
    """The instances of each image of a batch, in the host's memory.

    Masks that came from a GPU are bits until their image is asked for: unpacked, those of 32 images may be 600 MB.
    """

    def __init__(self) -> None:
        self._images: list[tuple[_Drawn, slice, Size]] = []

    def add(self, drawn: _Drawn, counts: Sequence[int], size: Size) -> None:
        """Append the instances of the next images, so many of each, whose masks are at least of this size."""
        for count, end in zip(counts, accumulate(counts), strict=True):
            self._images.append((drawn, slice(end - count, end), size))

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> ImageInstances: ...

    @overload
    def __getitem__(self, index: slice) -> list[ImageInstances]: ...

    def __getitem__(self, index: int | slice) -> ImageInstances | list[ImageInstances]:
        images = range(len(self))[index]
        if isinstance(images, range):
            return [self[image] for image in images]
        drawn, own, (height, width) = self._images[images]
        masks = drawn.masks[own, :height]
        masks = unpack_bits(masks, width) if masks.dtype == torch.uint8 else masks[..., :width]
        boxes = bounding_boxes(masks) if drawn.boxes is None else drawn.boxes[own]
        return ImageInstances(drawn.scores[own], drawn.labels[own], boxes, masks, drawn.certainties[own])


def image_instances(
    prediction: Prediction,
    index: int,
    *,
    image_size: Size,
    padded_size: Size,
    output_size: Size | None = None,
    count: int,
    threshold: float = 0.0,
) -> ImageInstances:
    """Read the best instances of one image of a batch (Mask2Former, arXiv 2112.01527, appendix; boxes as Mask DINO).

    Args:
        prediction: of the whole batch.
        index: which image.
        image_size: height and width of that image before it was padded.
        padded_size: height and width of the batch.
        output_size: height and width wanted; those of the image by default.
        count: how many (query, class) pairs are kept, by class probability.
        threshold: pairs whose class probability is below it are left out before their masks are enlarged.
    """
    chosen = best_pairs(prediction.class_logits[index, None], count=count, threshold=threshold)
    (found,) = draw_instances(
        chosen,
        boxes=prediction.boxes[index, chosen.queries],
        mask_logits=prediction.mask_logits[index, chosen.queries],
        image_sizes=[image_size],
        padded_size=padded_size,
        output_sizes=[output_size or image_size],
    )
    return found


def best_pairs(class_logits: Tensor, *, count: int, threshold: float) -> ChosenPairs:
    """Choose the ``count`` best pairs of each image's class logits (B, Q, classes), without those below ``threshold``."""
    return most_probable_pairs(class_logits.sigmoid(), count=count, threshold=threshold)


def most_probable_pairs(
    probabilities: Tensor, *, count: int, threshold: float, labels: Collection[int] | None = None
) -> ChosenPairs:
    """Choose the most probable pairs of a query and a class.

    Args:
        probabilities: (B, Q, classes).
        count: pairs per image.
        threshold: probability below which a pair is left out.
        labels: classes that may stay among the ``count`` best; all by default.
    """
    classes = probabilities.shape[-1]
    # What is not a number is no probability either: it comes last and reaches no threshold.
    probabilities = probabilities.flatten(1).nan_to_num(nan=-1.0)
    values, pairs = probabilities.topk(min(count, probabilities.shape[1]))
    if labels is not None:
        wanted = torch.tensor(sorted(labels), dtype=pairs.dtype, device=pairs.device)
        values, order = values.masked_fill(~torch.isin(pairs % classes, wanted), -1.0).sort(descending=True, stable=True)
        pairs = pairs.gather(1, order)
    kept = (values >= threshold).sum(1)  # the first so many
    copied = start_copy(kept)
    finish_copies(kept.device)
    counts = copied.tolist()

    images = torch.repeat_interleave(kept, output_size=sum(counts))
    ranks = torch.arange(len(images), device=kept.device) - (kept.cumsum(0) - kept)[images]
    pairs = pairs[images, ranks]
    return ChosenPairs(values[images, ranks], images, ranks, pairs // classes, pairs % classes, counts)


def draw_instances(
    chosen: ChosenPairs,
    *,
    boxes: Tensor | None,
    mask_logits: Tensor,
    image_sizes: Sequence[Size],
    padded_size: Size,
    output_sizes: Sequence[Size],
) -> BatchInstances:
    """Bring the chosen pairs' boxes (N, 4) and mask logits (N, h, w) to the sizes wanted, score and sort them.

    Args:
        chosen: pairs of a batch.
        boxes: (N, 4) cxcywh in 0..1 of the padded image; None takes what bounds the masks.
        mask_logits: (N, h, w) over the padded image.
        image_sizes: of each image of the batch before it was padded.
        padded_size: of the batch.
        output_sizes: wanted for each image.
    """
    sizes = list(zip(image_sizes, output_sizes, strict=True))
    at_once = _DRAWN_AT_ONCE.get(mask_logits.device.type, _DRAWN_AT_ONCE_ELSEWHERE)
    pixels = [count * height * width for count, (height, width) in zip(chosen.counts, output_sizes, strict=True)]
    parts = list(_parts(sizes, pixels, at_once))
    tensors = chosen.probabilities, chosen.labels, chosen.images, boxes, mask_logits
    drawn, start = [], 0
    for images in parts:
        image_size, output_size = sizes[images.start]
        own = slice(start, start := start + sum(chosen.counts[images]))
        selected = [None if tensor is None else tensor[own] for tensor in tensors]
        drawn.append(_drawn(*selected, image_size=image_size, padded_size=padded_size, output_size=output_size))

    copies = [_Drawn(*(None if tensor is None else start_copy(tensor) for tensor in each)) for each in drawn]
    finish_copies(mask_logits.device)
    found = BatchInstances()
    for images, copied in zip(parts, copies, strict=True):
        found.add(copied, chosen.counts[images], output_sizes[images.start])
    return found


def _parts(sizes: Sequence[tuple[Size, Size]], pixels: Sequence[int], at_once: int) -> Iterator[slice]:
    """Cut a batch into runs of images of the same sizes whose masks have at most so many pixels at once, or of one image."""
    start, total = 0, 0
    for image, more in enumerate(pixels):
        if image > start and (sizes[image] != sizes[start] or total + more > at_once):
            yield slice(start, image)
            start, total = image, 0
        total += more
    yield slice(start, len(pixels))


def _drawn(
    probabilities: Tensor,
    labels: Tensor,
    images: Tensor,
    boxes: Tensor | None,
    mask_logits: Tensor,
    *,
    image_size: Size,
    padded_size: Size,
    output_size: Size,
) -> _Drawn:
    on_cpu = mask_logits.device.type == "cpu"
    if output_size == image_size and padded_size == tuple(STRIDE * side for side in mask_logits.shape[1:]):
        enlarged = EnlargedMasks(mask_logits, image_size, skip_empty=on_cpu, packed=not on_cpu)
        certainty, masks_in = enlarged.certainty, enlarged.masks
    else:
        masks, certainty = _resampled(mask_logits, padded_size, image_size, output_size, packed=not on_cpu)
        masks_in = masks.__getitem__

    scores = probabilities * certainty
    by_score = scores.argsort(descending=True, stable=True)
    order = by_score[images[by_score].argsort(stable=True)]
    if boxes is not None:  # they are relative to the padded image
        (height, width), (rows, columns) = output_size, image_size
        boxes = _corners(boxes[order], across=width * padded_size[1] / columns, down=height * padded_size[0] / rows)
    return _Drawn(scores[order], labels[order], boxes, masks_in(order), certainty[order])


def _corners(boxes: Tensor, *, across: float, down: float) -> Tensor:
    x, y, breadth, depth = boxes.unbind(-1)
    return torch.stack(
        [(x - breadth / 2) * across, (y - depth / 2) * down, (x + breadth / 2) * across, (y + depth / 2) * down], dim=-1
    )


def bounding_boxes(masks: Tensor) -> Tensor:
    """Bound masks (N, H, W) bool by boxes (N, 4) x0, y0, x1, y1 in pixels, all zero where a mask is empty."""
    first, last = [], []
    for line in (masks.any(1), masks.any(2)):  # columns, rows
        some = line.any(1)
        first.append(line.int().argmax(1) * some)
        last.append((line.shape[1] - line.flip(1).int().argmax(1)) * some)
    return torch.stack([*first, *last], dim=-1).float()


def _resampled(
    logits: Tensor, padded_size: Size, image_size: Size, output_size: Size, *, packed: bool
) -> tuple[Tensor, Tensor]:
    """Enlarge to the padded image, cut the image out of it, bring that to the size wanted: the published order.

    Returns:
        Masks (N, H, W) bool, or with ``packed`` bits (N, H, ceil(W / 8)) uint8, and the mean probability inside each (N,), 0
        where it is empty.
    """
    height, width = output_size
    at_once = max(1, _RESAMPLED_AT_ONCE // max(height * width, padded_size[0] * padded_size[1]))
    masks, certainties = [], []
    for some in logits.split(at_once):
        some = F.interpolate(some[:, None].float(), size=padded_size, mode="bilinear", align_corners=False)
        some = some[..., : image_size[0], : image_size[1]]
        some = F.interpolate(some, size=output_size, mode="bilinear", align_corners=False)[:, 0]
        inside = some > 0
        certainties.append((some.sigmoid() * inside).flatten(1).sum(1) / (inside.flatten(1).sum(1) + 1e-6))
        masks.append(pack_bits(F.pad(inside, (0, -width % 8))) if packed else inside)
    return torch.cat(masks), torch.cat(certainties)
