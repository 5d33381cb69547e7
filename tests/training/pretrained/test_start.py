"""A training starts from what others have trained: every tensor in its place, and what has none is named."""

from __future__ import annotations

import argparse
import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from engine.errors import CheckpointMismatchError, ModelFileError
from engine.model.checkpoints.published_state import export_official
from engine.model.config import ResNetConfig, SwinConfig
from engine.model.header import ModelHeader
from engine.model.layers.deformable_attention import DeformableAttention
from engine.model.model_file import save_model
from tests.engine.model.families.small_mask_rcnn import SMALL_MASK_RCNN
from tests.engine.model.small_model import SMALL_CONFIG
from tests.training.pretrained.dino_detector import detrex_state, makers_state
from tests.training.pretrained.fresh_model import changed, check_report, config_with, fresh, weights
from training.pretrained.dino_start import COCO_IDS
from training.pretrained.start import start_from

SWIN = SwinConfig(embed_dim=16, depths=(1, 1, 2, 1), heads=(1, 2, 2, 4), window_size=4)
CLASS_HEADS = {"heads.classify.weight", "heads.classify.bias", "label_embedding.weight"}
MASKS = r"pixel_decoder\.(lateral|output|mask_features)\..*|heads\.embed_mask\..*"


def save_checkpoint(path, state, **beside):
    torch.save({"model": state, **beside} if beside else state, path)
    return path


@pytest.fixture
def model_file(tmp_path):
    model = fresh(seed=1)
    header = ModelHeader(name="m", config=model.config, classes=("a", "b"))
    return model, save_model(tmp_path / "m.safetensors", model, header)


def test_nothing_leaves_the_weights_as_they_are():
    model = fresh()
    before = weights(model)
    report = start_from(model, None)
    assert changed(model, before) == set()
    assert (report.loaded, report.missing) == (0, tuple(before))
    assert report.summary() == "Starting from fresh weights."


def test_a_model_file_gives_all_of_its_weights(model_file):
    other, path = model_file
    model = fresh()
    report = start_from(model, path)
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(model).items())
    assert (report.skipped, report.missing) == ((), ())


def test_an_embedded_model_is_found_by_its_name():
    model = fresh("maskdino_lite")
    before = weights(model)
    report = start_from(model, "maskdino_lite")
    assert len(changed(model, before)) > 0.9 * len(before)
    assert report.loaded == len(before)
    assert "Starting from maskdino_lite, a model file" in report.summary()


def test_of_other_classes_all_but_the_class_heads_is_taken(model_file):
    _, path = model_file
    model = fresh(num_classes=3)
    before = weights(model)
    report = start_from(model, path)
    assert set(report.skipped) == set(report.missing) == CLASS_HEADS
    assert changed(model, before).isdisjoint(CLASS_HEADS)
    assert "heads.classify" in report.summary()


def test_what_shapes_no_tensor_may_be_changed(model_file):
    _, path = model_file
    decoder = {**SMALL_CONFIG.decoder.model_dump(), "queries": 17, "box_initialisation": "no"}
    backbone = {**SMALL_CONFIG.backbone.model_dump(), "norm": "batch"}
    model = fresh(config_with(decoder=decoder, backbone=backbone, detections_per_image=5))
    assert start_from(model, path).missing == ()


def test_another_architecture_is_refused_by_the_names_of_its_fields(model_file):
    _, path = model_file
    encoder = {**SMALL_CONFIG.pixel_decoder.model_dump(), "layers": 2, "points": 2}
    model = fresh(config_with(pixel_decoder=encoder))
    before = weights(model)
    with pytest.raises(CheckpointMismatchError) as caught:
        start_from(model, path)
    for text in ("m.safetensors", "pixel_decoder.layers is 1, not 2", "pixel_decoder.points is 4, not 2"):
        assert text in str(caught.value)
    assert changed(model, before) == set()


def test_a_published_mask_dino_checkpoint(tmp_path):
    other, model = fresh(seed=1), fresh()
    path = save_checkpoint(tmp_path / "model_final.pth", export_official(other), iteration=368749)
    report = start_from(model, path)
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(model).items())
    assert (report.loaded, report.missing) == (len(weights(model)), ())


def test_a_published_mask_dino_checkpoint_of_other_classes(tmp_path):
    state = export_official(fresh(seed=1))
    model = fresh(num_classes=1)
    before = weights(model)
    report = start_from(model, save_checkpoint(tmp_path / "model_final.pth", state))
    check_report(report, model, before, state)
    assert set(report.missing) == CLASS_HEADS
    assert "sem_seg_head.predictor.label_enc.weight" in report.skipped


def test_a_published_mask_dino_checkpoint_of_another_architecture(tmp_path):
    path = save_checkpoint(tmp_path / "model_final.pth", export_official(fresh(seed=1)))
    with pytest.raises(CheckpointMismatchError, match=r"hidden_dim is 32, not 128"):
        start_from(fresh("maskdino_lite"), path)


NAMES = [
    # ours, the makers', detrex's
    ("backbone.body.conv1.weight", "backbone.0.body.conv1.weight", "backbone.stem.conv1.weight"),
    ("backbone.body.layer2.0.bn3.bias", "backbone.0.body.layer2.0.bn3.bias", "backbone.res3.0.conv3.norm.bias"),
    (
        "backbone.body.layer4.0.downsample.0.weight",
        "backbone.0.body.layer4.0.downsample.0.weight",
        "backbone.res5.0.shortcut.weight",
    ),
    ("pixel_decoder.input_projections.0.0.bias", "input_proj.0.0.bias", "neck.convs.0.conv.bias"),
    ("pixel_decoder.input_projections.2.1.weight", "input_proj.2.1.weight", "neck.convs.2.norm.weight"),
    ("pixel_decoder.input_projections.3.0.weight", "input_proj.3.0.weight", "neck.extra_convs.0.conv.weight"),
    ("pixel_decoder.level_embedding", "transformer.level_embed", "transformer.level_embeds"),
    *(
        (
            f"pixel_decoder.layers.0.{ours}.weight",
            f"transformer.encoder.layers.0.{makers}.weight",
            f"transformer.encoder.layers.0.{detrex}.weight",
        )
        for ours, makers, detrex in [
            ("attention.sampling_offsets", "self_attn.sampling_offsets", "attentions.0.sampling_offsets"),
            ("attention.output_proj", "self_attn.output_proj", "attentions.0.output_proj"),
            ("norm1", "norm1", "norms.0"),
            ("linear1", "linear1", "ffns.0.layers.0.0"),
            ("linear2", "linear2", "ffns.0.layers.1"),
            ("norm2", "norm2", "norms.1"),
        ]
    ),
    *(
        (
            f"decoder.layers.1.{ours}",
            f"transformer.decoder.layers.1.{makers}",
            f"transformer.decoder.layers.1.{detrex}",
        )
        for ours, makers, detrex in [
            ("self_attention.in_proj_weight", "self_attn.in_proj_weight", "attentions.0.attn.in_proj_weight"),
            ("self_attention.out_proj.bias", "self_attn.out_proj.bias", "attentions.0.attn.out_proj.bias"),
            ("norm2.weight", "norm2.weight", "norms.0.weight"),  # after self-attention
            ("cross_attention.value_proj.weight", "cross_attn.value_proj.weight", "attentions.1.value_proj.weight"),
            ("norm1.weight", "norm1.weight", "norms.1.weight"),  # after cross-attention
            ("linear1.bias", "linear1.bias", "ffns.0.layers.0.0.bias"),
            ("linear2.bias", "linear2.bias", "ffns.0.layers.1.bias"),
            ("norm3.bias", "norm3.bias", "norms.2.bias"),
        ]
    ),
    ("query_selection.projection.weight", "transformer.enc_output.weight", "transformer.enc_output.weight"),
    ("query_selection.norm.weight", "transformer.enc_output_norm.weight", "transformer.enc_output_norm.weight"),
    ("heads.norm.weight", "transformer.decoder.norm.weight", "transformer.decoder.norm.weight"),
    ("heads.refine_box.layers.2.weight", "bbox_embed.1.layers.2.weight", "bbox_embed.1.layers.2.weight"),
    *(
        (f"decoder.reference_head.layers.{index}.weight", *[f"transformer.decoder.ref_point_head.layers.{index}.weight"] * 2)
        for index in range(2)
    ),
]  # fmt: skip


@pytest.mark.parametrize("makers", [True, False], ids=["the makers'", "detrex's"])
@pytest.mark.parametrize("backbone", [SMALL_CONFIG.backbone, SWIN], ids=["ResNet", "Swin"])
def test_a_dino_detector_gives_what_both_have(tmp_path, makers, backbone):
    config = config_with(backbone=backbone)
    state = makers_state(config) if makers else detrex_state(config)
    path = save_checkpoint(tmp_path / "checkpoint0011.pth", state, epoch=11, args=argparse.Namespace(lr=1e-4, names=["a"]))
    model = fresh(config)
    before = weights(model)
    report = start_from(model, path)
    check_report(report, model, before, state)
    if backbone is not SWIN:
        for ours, *theirs in NAMES:
            assert torch.equal(model.state_dict()[ours], state[theirs[0 if makers else 1]]), ours
    unused_by_dino = {"backbone.norms.0.weight", "backbone.norms.0.bias"} if makers and backbone is SWIN else set()
    fresh_ones = {name for name in report.missing if not re.fullmatch(MASKS, name)}
    assert fresh_ones == CLASS_HEADS | unused_by_dino
    own = r"(transformer\.decoder\.)?class_embed\..*|label_enc\.weight|transformer\.tgt_embed\.weight|transformer\.enc_out_.*"
    own += "" if makers else r"|(transformer\.decoder\.)?bbox_embed\.[02]\..*"
    assert set(report.skipped) == {name for name in state if re.fullmatch(own, name)}


def test_the_decoder_attends_to_the_level_that_dino_attended_to(tmp_path):
    """Mask DINO's memory begins with the coarsest level, DINO's with the finest; each attention sees its own."""
    state, model = makers_state(SMALL_CONFIG), fresh().eval()
    start_from(model, save_checkpoint(tmp_path / "dino.pth", state))
    dinos = DeformableAttention(32, levels=4, heads=8, points=4)
    prefix = "transformer.decoder.layers.1.cross_attn."
    dinos.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)})
    shapes = [(8, 12), (4, 6), (2, 3), (1, 2)]
    generator = torch.Generator().manual_seed(3)
    levels = [torch.randn(1, height * width, 32, generator=generator) for height, width in shapes]
    queries, references = torch.randn(1, 5, 32, generator=generator), torch.rand(1, 5, 4, generator=generator)
    with torch.no_grad():
        expected = dinos(queries, references, torch.cat(levels, 1), tuple(shapes))
        ours = model.decoder.layers[1].cross_attention
        found = ours(queries, references, torch.cat(levels[::-1], 1), tuple(shapes[::-1]))
    torch.testing.assert_close(found, expected)


def test_of_five_levels_dino_gives_its_four(tmp_path):
    """DINO of four levels begins at res3; the model of five has res2 before that."""
    encoder = {**SMALL_CONFIG.pixel_decoder.model_dump(), "features": ("res2", "res3", "res4", "res5"), "levels": 5}
    config = config_with(backbone=SWIN, pixel_decoder=encoder)
    state, model = makers_state(config, levels=4), fresh(config)
    before = weights(model)
    report = start_from(model, save_checkpoint(tmp_path / "dino.pth", state))
    check_report(report, model, before, state)
    after = weights(model)
    assert {name for name in report.missing if "input_projections" in name} == {
        f"pixel_decoder.input_projections.0.{part}" for part in ("0.weight", "0.bias", "1.weight", "1.bias")
    }
    assert torch.equal(after["pixel_decoder.input_projections.4.0.weight"], state["input_proj.3.0.weight"])
    assert torch.equal(after["pixel_decoder.level_embedding"][1:], state["transformer.level_embed"])
    assert torch.equal(after["pixel_decoder.level_embedding"][0], before["pixel_decoder.level_embedding"][0])
    encoders = after["pixel_decoder.layers.0.attention.attention_weights.bias"].view(8, 5, 4)
    assert torch.equal(encoders[:, 1:], state["transformer.encoder.layers.0.self_attn.attention_weights.bias"].view(8, 4, 4))
    decoders = after["decoder.layers.0.cross_attention.attention_weights.bias"].view(8, 5, 4)
    assert torch.equal(
        decoders[:, :4].flip(1), state["transformer.decoder.layers.0.cross_attn.attention_weights.bias"].view(8, 4, 4)
    )


@pytest.mark.parametrize(("dinos", "models"), [(1, 2), (2, 2), (4, 2)])
def test_decoder_layers_are_taken_as_far_as_both_have_them(tmp_path, dinos, models):
    state, model = makers_state(SMALL_CONFIG, layers=dinos), fresh()
    report = start_from(model, save_checkpoint(tmp_path / "dino.pth", state))
    numbers = {int(name.split(".")[2]) for name in report.missing if name.startswith("decoder.layers.")}
    assert numbers == set(range(dinos, models))
    left = {int(name.split(".")[3]) for name in report.skipped if name.startswith("transformer.decoder.layers.")}
    assert left == set(range(models, dinos))


@pytest.mark.parametrize(("classes", "rows"), [(91, list(range(91))), (80, COCO_IDS)])
def test_coco_classes_find_their_rows_in_the_makers_classifier(tmp_path, classes, rows):
    state, model = makers_state(SMALL_CONFIG), fresh(num_classes=classes)
    report = start_from(model, save_checkpoint(tmp_path / "dino.pth", state))
    assert set(report.missing).isdisjoint(CLASS_HEADS)
    assert torch.equal(model.heads.classify.weight, state["class_embed.1.weight"][rows])
    assert torch.equal(model.label_embedding.weight, state["label_enc.weight"][rows])


def test_coco_has_eighty_categories_up_to_ninety():
    """Its first, the first after a gap, and its last: person, stop sign and toothbrush."""
    assert len(COCO_IDS) == 80
    assert (COCO_IDS[0], COCO_IDS[11], COCO_IDS[-1]) == (1, 13, 90)


def test_a_dino_of_another_width_is_refused(tmp_path):
    state, model = makers_state(SMALL_CONFIG), fresh(config_with(hidden_dim=64))
    before = weights(model)
    with pytest.raises(CheckpointMismatchError, match=r"dino\.pth.*shape"):
        start_from(model, save_checkpoint(tmp_path / "dino.pth", state))
    assert changed(model, before) == set()


@pytest.mark.parametrize("name", ["input_proj.0.0.weight", "transformer.level_embed", "class_embed.1.bias", "label_enc.weight"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 4)])
def test_a_dino_of_odd_shapes_is_refused(tmp_path, name, shape):
    state, model = makers_state(SMALL_CONFIG), fresh(num_classes=91)
    state[name] = torch.zeros(shape)
    with pytest.raises(CheckpointMismatchError):
        start_from(model, save_checkpoint(tmp_path / "dino.pth", state))


def test_a_dino_on_another_backbone_is_refused(tmp_path):
    path = save_checkpoint(tmp_path / "dino.pth", makers_state(config_with(backbone=SWIN)))
    with pytest.raises(CheckpointMismatchError, match=r"it has no backbone\.body\.conv1\.weight"):
        start_from(fresh(), path)


RESNET = ResNetConfig(depths=(1, 1, 1, 1))


def imagenet_resnet() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return torchvision.models.resnet.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1]).state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("config", [SMALL_CONFIG, SMALL_MASK_RCNN], ids=["Mask DINO", "Mask R-CNN"])
def test_a_resnet_of_torchvision(tmp_path, config, suffix):
    path = tmp_path / f"resnet50{suffix}"
    state = imagenet_resnet()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    model = fresh(config.model_copy(update={"backbone": RESNET}))
    before = weights(model)
    report = start_from(model, path)
    check_report(report, model, before, state)
    assert set(report.skipped) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(tensor, state[name]) for name, tensor in weights(model.backbone.body).items())
    assert not any(name.startswith("backbone.") for name in report.missing)


@pytest.mark.parametrize("of_timm", [False, True], ids=["its makers'", "timm's"])
def test_a_swin_transformer_sees_what_it_saw(tmp_path, of_timm):
    torch.manual_seed(1)
    classifier = timm.models.swin_transformer.SwinTransformer(
        img_size=128, embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=4, num_classes=10
    ).eval()
    state = classifier.state_dict()
    if not of_timm:  # for its makers the merging of patches ends a stage, for timm it begins one
        state = {re.sub(r"layers\.(\d)\.downsample", lambda stage: f"layers.{int(stage[1]) - 1}.downsample", name): tensor
                 for name, tensor in state.items()}  # fmt: skip
    model = fresh(config_with(backbone=SWIN)).eval()
    report = start_from(model, save_checkpoint(tmp_path / "swin.pth", state))
    assert {name for name in report.missing if name.startswith("backbone.")} == {
        f"backbone.norms.{stage}.{part}" for stage in range(4) for part in ("weight", "bias")
    }
    assert set(report.skipped) == {"norm.weight", "norm.bias", "head.fc.weight", "head.fc.bias"}
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        maps = classifier.forward_intermediates(image, intermediates_only=True)
        found = model.backbone(image)
    for name, expected in zip(found, maps, strict=True):
        normalised = torch.nn.functional.layer_norm(expected.permute(0, 2, 3, 1), expected.shape[1:2])
        torch.testing.assert_close(found[name].permute(0, 2, 3, 1), normalised, rtol=1e-4, atol=1e-4)


def test_a_shallower_backbone_is_refused(tmp_path):
    deeper = {**RESNET.model_dump(), "depths": (1, 2, 1, 1)}
    path = save_checkpoint(tmp_path / "resnet.pth", imagenet_resnet())
    with pytest.raises(CheckpointMismatchError, match=r"it has no backbone\.body\.layer2\.1\.conv1\.weight"):
        start_from(fresh(config_with(backbone=deeper)), path)


def torchvision_state(classes: int) -> dict[str, torch.Tensor]:
    state = weights(fresh(SMALL_MASK_RCNN, seed=1, num_classes=classes))
    return {re.sub(r"^fpn\.", "backbone.fpn.", name): tensor for name, tensor in state.items()}


def test_a_mask_rcnn_of_torchvision(tmp_path):
    heads = r"roi_heads\.(box_predictor|mask_predictor\.mask_fcn_logits)\..*"
    state, model = torchvision_state(90), fresh(SMALL_MASK_RCNN)
    before = weights(model)
    report = start_from(model, save_checkpoint(tmp_path / "maskrcnn.pth", state))
    check_report(report, model, before, state)
    assert {*report.missing, *report.skipped} == {name for name in before if re.fullmatch(heads, name)}
    report = start_from(model, save_checkpoint(tmp_path / "maskrcnn.pth", torchvision_state(2)))
    assert (report.missing, report.skipped) == ((), ())


def test_a_model_file_of_another_kind_is_refused(model_file, tmp_path):
    _, path = model_file
    with pytest.raises(CheckpointMismatchError, match="of the kind mask_dino, the model to train a mask_rcnn"):
        start_from(fresh(SMALL_MASK_RCNN), path)
    for state in (makers_state(SMALL_CONFIG), export_official(fresh())):
        with pytest.raises(CheckpointMismatchError, match="of the kind mask_rcnn"):
            start_from(fresh(SMALL_MASK_RCNN), save_checkpoint(tmp_path / "other.pth", state))
    with pytest.raises(CheckpointMismatchError, match="of the kind mask_dino"):
        start_from(fresh(), save_checkpoint(tmp_path / "other.pth", torchvision_state(2)))


def test_what_is_nothing_to_start_from_says_what_it_is(tmp_path):
    wrong = {
        "other.pth": "nothing to start from: it has 1 tensors of encoder.block",
        "broken.pth": "cannot be used",
        "text.txt": "cannot be used",
        "there_is_none": "neither a file nor an embedded model",
    }
    save_checkpoint(tmp_path / "other.pth", {"encoder.block.weight": torch.zeros(1)})
    (tmp_path / "broken.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:300])
    (tmp_path / "text.txt").write_text("weights")
    for name, message in wrong.items():
        model = fresh()
        before = weights(model)
        with pytest.raises(ModelFileError, match=message) as caught:
            start_from(model, tmp_path / name)
        assert name in str(caught.value)
        assert changed(model, before) == set()


def test_values_that_are_not_finite_are_refused(tmp_path):
    state = imagenet_resnet()
    state["layer1.0.conv1.weight"][0] = np.nan
    with pytest.raises(CheckpointMismatchError, match=r"layer1\.0\.conv1\.weight holds values that are not finite"):
        start_from(fresh(config_with(backbone=RESNET)), save_checkpoint(tmp_path / "resnet.pth", state))
