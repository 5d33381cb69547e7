"""The parts of a model's config that families share: strict, immutable and stored whole in every model file.

Each family adds its own config in its folder under `engine.model.families`; `engine.model.families.registry` reads any of them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

FeatureName = Literal["res2", "res3", "res4", "res5"]
SegmentationTask = Literal["instance", "panoptic", "semantic"]
Classification = Literal["sigmoid", "softmax"]
"""What the class logits of a query are: one for each class by itself, or one for each and a last one for no object."""

# A map is padded to a window, whatever the file's size: 32 is twice the largest published dilation.
Dilations = tuple[Annotated[int, Field(ge=1, le=32)], ...]


class StrictModel(BaseModel):
    """A configuration that refuses unknown keys and cannot be changed after it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_LARGEST_NUMBER = 2**53  # up to which a float is as exact as an integer
_LONGEST_TEXT = 200


def _plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT
    if isinstance(value, (int, float)):
        return abs(value) <= _LARGEST_NUMBER  # which no NaN is
    return value is None


def _flat_option(value: Any) -> Any:
    """Return the value of an option, a list as a tuple."""
    if all(map(_plain, value if isinstance(value, (list, tuple)) else [value])):
        return tuple(value) if isinstance(value, list) else value
    raise ValueError(
        f"an option is a number up to 2**53, a text of up to {_LONGEST_TEXT} characters, true, false, or a list of these"
    )


OptionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=50)]
Option = Annotated[Any, AfterValidator(_flat_option)]


class ComponentConfig(StrictModel):
    """A part of a model whose class comes from another package, see `engine.model.components`.

    Attributes:
        group: of the entry points under which packages offer such parts.
        name: ``PACKAGE.NAME``: the package to import, and the entry point's name.
        options: what the class makes of its own, flat; read without the package, and checked by the class when it is built.
    """

    group: ClassVar[str]

    kind: Literal["component"] = "component"
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z0-9_-]+$", max_length=100)
    options: dict[OptionName, Option] = {}

    @property
    def package(self) -> str:
        """The package that would be imported."""
        return self.name.partition(".")[0]

    @property
    def layers(self) -> int:
        """Count no layers: how many a component has, nobody knows before it is built."""
        return 0


def built_in_or(component: type[ComponentConfig], built_in: type[StrictModel]) -> BeforeValidator:
    """Read a document as a component where it says that it is one, otherwise as the part that is here.

    Not by a tag of pydantic's, which would stand between the keys that an error names; and the part that is here names no kind.
    """

    def read(part: Any) -> StrictModel:
        kind = part.get("kind") if isinstance(part, dict) else getattr(part, "kind", None)
        return (component if kind == "component" else built_in).model_validate(part)

    return BeforeValidator(read)


class ResNetConfig(StrictModel):
    """A ResNet (arXiv 1512.03385) with its strides in the 3x3 convolutions.

    ``norm``: "frozen" keeps the statistics of a published checkpoint; "batch" learns them, for training from scratch.
    """

    kind: Literal["resnet"] = "resnet"
    block: Literal["basic", "bottleneck"] = "bottleneck"
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    norm: Literal["frozen", "batch"] = "frozen"
    stem: Literal["basic", "deep"] = "basic"

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return sum(self.depths)


class SwinConfig(StrictModel):
    """A Swin Transformer (arXiv 2103.14030)."""

    kind: Literal["swin"] = "swin"
    embed_dim: int = 192
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    heads: tuple[int, int, int, int] = (6, 12, 24, 48)
    window_size: int = 12
    mlp_ratio: float = 4.0
    drop_path: float = 0.3

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return sum(self.depths)


class DinatConfig(StrictModel):
    """A Dilated Neighbourhood Attention Transformer (arXiv 2209.15001); by default the large one of the published Mask2Former.

    ``kernel``: side of an attention window in positions; ``dilations``: the distance of these, of each block of each stage.
    """

    kind: Literal["dinat"] = "dinat"
    embed_dim: PositiveInt = 192
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 18, 5)
    heads: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (6, 12, 24, 48)
    kernel: Literal[3, 5, 7, 9, 11, 13] = 11
    dilations: tuple[Dilations, Dilations, Dilations, Dilations] = (
        (1, 14, 1),
        (1, 4, 1, 7),
        (1, 2, 1, 3, 1, 2, 1, 3, 1, 2, 1, 3, 1, 2, 1, 3, 1, 3),
        (1, 1, 1, 1, 1),
    )
    mlp_ratio: float = Field(2.0, gt=0)
    drop_path: float = Field(0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _each_block_has_a_dilation(self) -> DinatConfig:
        if tuple(map(len, self.dilations)) != self.depths:
            raise ValueError(f"dilations of {[len(stage) for stage in self.dilations]} blocks do not fit depths {self.depths}")
        for stage, heads in enumerate(self.heads):
            if self.embed_dim * 2**stage % heads:
                raise ValueError(f"{self.embed_dim * 2**stage} channels of stage {stage + 1} cannot be shared by {heads} heads")
        return self

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return sum(self.depths)


class TimmConfig(StrictModel):
    """A convolutional network of timm, by its name there and without pretrained weights.

    ``channels``: widths of its maps at strides 4, 8, 16 and 32. They and the file's tensors are compared with what timm builds
    under that name, so that a later timm that means another network by it is noticed.
    """

    kind: Literal["timm"] = "timm"
    model: str = Field(pattern=r"^[a-z0-9_]+$", max_length=80)
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    drop_path: float = Field(0.0, ge=0, lt=1)

    @property
    def layers(self) -> int:
        """Count the stages, each of which has tensors of its own; how many more there are, timm's registry bounds."""
        return len(self.channels)


class BackboneComponent(ComponentConfig):
    """A backbone of another package."""

    group: ClassVar[str] = "maskdino.backbones"


BackboneConfig = Annotated[
    ResNetConfig | SwinConfig | DinatConfig | TimmConfig | BackboneComponent, Field(discriminator="kind")
]


class PixelDecoderMaps(StrictModel):
    """What the other parts of a model know of its pixel decoder.

    ``features`` are the backbone's maps in the order of the levels; ``levels`` counts these and further ones that
    follow, from half the size of the coarsest on. ``mask_dim`` is the width of the per-pixel embeddings.
    """

    features: tuple[FeatureName, ...] = ("res3", "res4", "res5")
    levels: int = Field(4, ge=1)
    mask_dim: int = 256

    @model_validator(mode="after")
    def _levels_cover_features(self) -> PixelDecoderConfig:
        if self.levels < len(self.features):
            raise ValueError(f"levels={self.levels} is less than the {len(self.features)} features")
        return self


class PixelDecoderConfig(PixelDecoderMaps):
    """The deformable encoder over the backbone's features, and the head that makes per-pixel embeddings.

    The encoder sees the maps in the order of ``features``; stride-2 convolutions add the further levels below the last.
    """

    layers: int = Field(6, ge=0)
    feedforward: int = 2048
    heads: int = 8
    points: int = 4


class PixelDecoderComponent(PixelDecoderMaps, ComponentConfig):
    """A pixel decoder of another package."""

    group: ClassVar[str] = "maskdino.pixel_decoders"


AnyPixelDecoderConfig = Annotated[
    PixelDecoderConfig | PixelDecoderComponent, built_in_or(PixelDecoderComponent, PixelDecoderConfig)
]


class FamilyConfig(StrictModel):
    """What the config of every family holds; each adds its own parts.

    Attributes:
        kind: of the family, see `engine.model.families.registry`.
        pixel_mean, pixel_std: by which images of 0..255 are normalised, one for each band.
        size_divisibility: height and width of a batch are padded to multiples of it.
        detections_per_image: instances to report of an image, at most.
    """

    kind: str
    num_classes: int = Field(80, ge=1)
    backbone: BackboneConfig = ResNetConfig()
    hidden_dim: int = 256
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    size_divisibility: int = 32
    detections_per_image: int = Field(100, ge=1)

    @property
    def layers(self) -> int:
        """Count layers that have tensors of their own; there are more."""
        return self.backbone.layers

    @property
    def components(self) -> list[ComponentConfig]:
        """The parts that come from other packages."""
        return [part for _, part in self if isinstance(part, ComponentConfig)]


class SegmentationConfig(FamilyConfig):
    """What the configs of families have in common whose queries each have a class and a mask.

    Attributes:
        task: what the classes stand for.
        things: the classes of a panoptic model that have instances; the others are stuff.
    """

    task: SegmentationTask = "instance"
    things: tuple[NonNegativeInt, ...] = ()

    @model_validator(mode="after")
    def _only_panoptic_models_have_things(self) -> SegmentationConfig:
        if self.things and self.task != "panoptic":
            raise ValueError(f"things are named, which a model for the task {self.task!r} does not tell apart")
        return self
