"""What a training run is made of: one strict, versioned document, stored in every checkpoint that the run makes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Discriminator, Field, Tag, model_validator

from engine.model.config import StrictModel
from engine.model.families.registry import TAGGED_CONFIGS, model_kind
from training.data.augmentation_config import AugmentationConfig
from training.data.config import DataConfig
from training.losses import LossConfig

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _name_or_kind(model: Any) -> Any:
    return "name" if isinstance(model, str) else model_kind(model)


# A preset by its name, or a whole architecture; the tag lets an error speak of what was meant alone.
Architecture = Annotated[
    Union[(Annotated[str, Tag("name")], *TAGGED_CONFIGS)],
    Discriminator(_name_or_kind),
]


class OptimizerConfig(StrictModel):
    """AdamW (arXiv 1711.05101), by default as Mask DINO was trained.

    backbone_factor: the backbone's learning rate as a share of ``learning_rate``.
    weight_decay: of all weights but those of norms, embeddings and Swin's relative positions, as published.
    clip: largest norm of the gradient of all weights together; None does not clip.
    """

    learning_rate: Positive = 1e-4
    backbone_factor: NonNegative = 0.1
    weight_decay: NonNegative = 0.05
    clip: Positive | None = 0.01


class ScheduleConfig(StrictModel):
    """How the learning rate changes from step to step.

    kind: ``constant``; ``multistep`` multiplies by ``gamma`` at each milestone; ``cosine`` falls to ``final_factor`` of the
        rate along half a cosine (arXiv 1608.03983) that begins at ``hold`` of the run.
    warm_up: steps in which the rate rises in a straight line from ``warm_up_factor`` of it.
    milestones: steps.
    """

    kind: Literal["constant", "multistep", "cosine"] = "constant"
    warm_up: Annotated[int, Field(ge=0)] = 10
    warm_up_factor: Annotated[float, Field(ge=0, le=1)] = 1.0
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    hold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.0


class RunConfig(StrictModel):
    """How long to train, and on what.

    steps, epochs, minutes: of the optimizer, passes through the data, or time, validation included: one of the three. With
        minutes the learning rate follows the clock.
    batch: images of one optimizer step, over all devices and accumulated ones: what the learning rate goes with.
    accumulate: parts in which each device computes its share of a batch, one after the other, to save memory.
    validate_every: steps between two validations and between two checkpoints; None is once an epoch, or four times in a run
        that is measured in minutes, and once in one of less than four.
    average: decay of the exponential moving average of the weights, lower in the first steps; the average is what is validated
        and kept beside the raw ones. None keeps the raw ones alone.
    device: as in detection, ``auto`` being all GPUs that there are, or the CPU.
    devices: processes on one machine, a device each; None is all GPUs, or one process on a CPU.
    nodes: machines.
    precision: ``auto`` is bfloat16 on GPUs that compute in it, float32 elsewhere.
    sync_batch_norm: batch norms see the batch of all devices.
    checkpoint_activations: compute layers anew in the backward pass rather than keep what they gave: less memory, slower.
    workers: processes that prepare images, on each device.
    calibrate: move the class logits so that a score of 0.5 balances precision and recall on the validation images.
    pictures: validation images that pictures of predictions are drawn of.
    check_leakage: look for validation images in the training set before the start.
    """

    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Positive | None = None
    minutes: Positive | None = None
    batch: Annotated[int, Field(ge=1)] = 32
    accumulate: Annotated[int, Field(ge=1)] = 1
    validate_every: Annotated[int, Field(ge=1)] | None = None
    average: Annotated[float, Field(gt=0, lt=1)] | None = 0.999
    device: str = "auto"
    devices: Annotated[int, Field(ge=1)] | None = None
    nodes: Annotated[int, Field(ge=1)] = 1
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    sync_batch_norm: bool = True
    checkpoint_activations: bool = False
    workers: Annotated[int, Field(ge=0)] = 4
    seed: Annotated[int, Field(ge=0)] = 0
    calibrate: bool = False
    pictures: Annotated[int, Field(ge=0)] = 8
    check_leakage: bool = True

    @model_validator(mode="after")
    def _one_length(self) -> RunConfig:
        if [self.steps, self.epochs, self.minutes].count(None) != 2:
            raise ValueError("give steps, epochs or minutes, one of them")
        return self


class CardConfig(StrictModel):
    """What the model file shall say of itself that a program cannot know."""

    description: str = ""
    trained_by: str = "unknown"
    licence: str | None = None
    limits: str = ""


class FittingParts(StrictModel):
    """A model file of another architecture, of which those tensors are taken that the model has by the same name and shape.

    Its backbone is taken where it is the model's own, or not at all.
    """

    file: str
    parts: Literal["fitting"]


def _form(source: Any) -> Any:
    return "name" if isinstance(source, str) else "list" if isinstance(source, (list, tuple)) else "parts"


# The tags let an error speak of what was meant alone.
StartSource = Annotated[Annotated[str, Tag("name")] | Annotated[FittingParts, Tag("parts")], Discriminator(_form)]
StartSources = Annotated[tuple[StartSource, ...], Field(min_length=1)]
StartFrom = Annotated[
    Annotated[str, Tag("name")] | Annotated[FittingParts, Tag("parts")] | Annotated[StartSources, Tag("list")],
    Discriminator(_form),
]


class TrainConfig(StrictModel):
    """A whole training run.

    Attributes:
        name: of the model and its file.
        model: a preset, or a whole architecture; None takes that of the model file or embedded model in ``start_from``. Its
            number of classes is that of the data.
        start_from: a published checkpoint of Mask DINO or DINO, a model file, an embedded model, a backbone trained on ImageNet
            as a file or an installed package; or several of these, the later over the earlier; None starts from nothing.
        tile_size: side of the tiles that the model will be given in detection; None is the side of the training crops.
        store: how the model file keeps the weights; half the size costs about three decimal digits.
        auxiliary_loss: weight of the dense loss that helps a model that starts from nothing, see
            ``training.losses.dense_auxiliary_loss``.
    """

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[\w][\w.\- ]*$")]
    model: Architecture | None = None
    start_from: StartFrom | None = None
    data: DataConfig
    augmentation: AugmentationConfig = AugmentationConfig()
    losses: LossConfig = LossConfig()
    auxiliary_loss: NonNegative = 0.0
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    run: RunConfig
    tile_size: Annotated[int, Field(ge=32, le=8192)] | None = None
    store: Literal["float32", "float16"] = "float32"
    card: CardConfig = CardConfig()

    @property
    def starts(self) -> tuple[str | FittingParts, ...]:
        """List what the training starts from, in the order in which it is taken."""
        if self.start_from is None:
            return ()
        return self.start_from if isinstance(self.start_from, tuple) else (self.start_from,)

    @model_validator(mode="after")
    def _some_architecture(self) -> TrainConfig:
        if self.model is None and not isinstance(self.start_from, str):
            several = self.start_from is not None
            raise ValueError(
                "model is empty and start_from names several sources or parts of one; name the preset to build" if several
                else "model and start_from are both empty; name a preset, a model to start from, or both"
            )  # fmt: skip
        return self
