"""What the rest of the program asks of a family of models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from engine.model.config import FamilyConfig, SegmentationConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.model.checkpoints.catalogue import PublishedModel
    from engine.model.families.family_model import FamilyModel

Task = Literal["instances", "semantic", "panoptic"]
Config = TypeVar("Config", bound=FamilyConfig)
COMMON_TENSORLESS = frozenset(
    {"num_classes", "detections_per_image", "size_divisibility", "backbone.norm", "backbone.drop_path"}
)
"""Settings that shape no tensor in any family; those of the class heads, which depend on the classes, start fresh."""


def segmentation_tasks(config: SegmentationConfig) -> frozenset[Task]:
    """Return what a model whose queries have masks can be asked for; a panoptic one for everything."""
    if config.task == "panoptic":
        return frozenset({"instances", "semantic", "panoptic"})
    return frozenset({"semantic" if config.task == "semantic" else "instances"})


@dataclass(frozen=True)
class InferenceParts:
    """The modules of a model that can be made faster where it does nothing but predict, see `engine.model.inference`.

    Attributes:
        half: whose products are computed in bfloat16 where the device is fast at that; what they pass on stays float32.
        packed: whose linear layers are laid out anew for the CPU.
        compiled: name of the method that torch.compile makes one program of. It takes images, and the last two of its results
            are boxes and class logits of the queries.
    """

    half: tuple[nn.Module, ...]
    packed: tuple[nn.Module, ...]
    compiled: str


class Family(ABC, Generic[Config]):
    """A family of models: all that the other modules know of it.

    Model files are listed and their headers read without torch, so a family holds names and configs; its methods import what
    they need.

    Attributes:
        kind: names the family in configs and model files.
        title: names it in texts.
        config: class of its configs.
        class_heads: matches the names, ours, of the tensors and published constants that depend on the classes: what starts
            fresh for other classes.
        tensorless: settings of its configs, dotted, that shape no tensor: training can adapt a model to other values.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    config: ClassVar[type[FamilyConfig]]
    class_heads: ClassVar[str]
    tensorless: ClassVar[frozenset[str]] = COMMON_TENSORLESS

    def tasks(self, config: Config) -> frozenset[Task]:
        """Return what a model can be asked for."""
        return frozenset({"instances"})

    def score_bias(self, config: Config) -> str | None:
        """Name the parameter that all class logits rise and fall with, so that scores can be calibrated.

        None where there is none, because the scores compare the classes with one another.
        """
        return None

    @abstractmethod
    def summary(self, config: Config) -> str:
        """Describe a model in a few words, without its backbone and classes."""

    @abstractmethod
    def build(self, config: Config) -> FamilyModel:
        """Build a model with fresh weights."""

    @abstractmethod
    def recognises(self, names: Collection[str]) -> bool:
        """Return whether these are the names of a published checkpoint of this family."""

    @abstractmethod
    def published_config(
        self, tensors: Mapping[str, Tensor], *, preset_name: str | None = None, known: PublishedModel | None = None
    ) -> Config:
        """Work out the config of a published checkpoint.

        Args:
            tensors: by published name; the family recognises them.
            preset_name: which preset of this family to take what the shapes do not tell from; by default the one that agrees
                with most.
            known: what the catalogue says of the file.

        Raises:
            ModelFileError: no config of this family has these tensors.
            ArgumentError: there is no such preset.
        """

    @abstractmethod
    def published_names(self, name: str, config: Config) -> list[str]:
        """List all the names that a published state dict gives the tensor that has this name here, the chief one first."""

    def published_constants(self, model: Any) -> dict[str, Tensor]:
        """Return what a published state dict holds that a model computes itself, by published name."""
        return {}

    def inference_parts(self, model: Any) -> InferenceParts | None:
        """Return what can be made faster; None for a family that computes in float32 alone and is not compiled."""
        return None
