"""What a run is computed on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.model.config import TimmConfig
from tests.training.pretrained.fresh_model import config_with, fresh
from training.config.schema import RunConfig
from training.run.trainer_settings import SynchronizedNorms, TrainerSettings

RUN = RunConfig(steps=1, precision="float32")


@pytest.mark.parametrize(
    ("machine", "run", "expected"),
    [
        (TrainerSettings("gpu", 2, 1), RUN, True),
        (TrainerSettings("gpu", [0], 2), RUN, True),
        (TrainerSettings("gpu", 2, 1), RUN.model_copy(update={"sync_batch_norm": False}), False),
        (TrainerSettings("gpu", 1, 1), RUN, False),
        (TrainerSettings("cpu", 2, 1), RUN, False),
    ],
    ids=["GPUs", "machines", "not wanted", "one GPU", "processors"],
)
def test_norms_are_synchronized_among_several_gpus(machine, run, expected):
    plugins = machine.settings(run)["plugins"]
    assert any(isinstance(plugin, SynchronizedNorms) for plugin in plugins) == expected


def test_synchronized_norms_keep_their_activations():
    backbone = TimmConfig(model="tf_efficientnet_lite0", channels=(24, 40, 112, 320))
    model = fresh(config_with(backbone=backbone)).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    names = list(model.state_dict())
    with torch.no_grad():
        expected = model.backbone(model.prepare(images))
        plugin = SynchronizedNorms()
        synchronized = plugin.apply(model)
        assert any(isinstance(module, nn.SyncBatchNorm) for module in synchronized.modules())
        model = plugin.revert(synchronized)
        found = model.backbone(model.prepare(images))
    assert list(model.state_dict()) == names
    for name, features in expected.items():
        torch.testing.assert_close(found[name], features)
