"""What a run is computed on, in Lightning's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from timm.layers import convert_sync_batchnorm
from torch import nn

from engine.device import choose_device
from engine.errors import ConfigError
from training.config.schema import RunConfig

_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


@dataclass(frozen=True)
class TrainerSettings:
    """Devices of one kind, a process each.

    Attributes:
        accelerator: ``gpu``, ``cpu`` or ``mps``.
        devices: how many on each node, or the numbers of the ones to take.
        nodes: machines.
    """

    accelerator: str
    devices: int | list[int]
    nodes: int

    @property
    def world(self) -> int:
        """Processes in all."""
        return (self.devices if isinstance(self.devices, int) else len(self.devices)) * self.nodes

    def __str__(self) -> str:
        if self.accelerator == "gpu":
            return f"{self.world} x {torch.cuda.get_device_name()}"
        return f"{self.world} x {self.accelerator}, {torch.get_num_threads()} threads"

    def settings(self, run: RunConfig) -> dict[str, Any]:
        """Return the arguments of Lightning's trainer that say where to compute, and how precisely."""
        several, gpu = self.world > 1, self.accelerator == "gpu"
        backend = "nccl" if gpu else "gloo"
        return {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "num_nodes": self.nodes,
            "strategy": DDPStrategy(process_group_backend=backend, gradient_as_bucket_view=True) if several else "auto",
            "precision": self._precision(run),
            "plugins": self._plugins(run),
        }

    def _plugins(self, run: RunConfig) -> list[Any]:
        plugins: list[Any] = []
        if run.sync_batch_norm and self.accelerator == "gpu" and self.world > 1:  # torch has it for GPUs alone
            plugins.append(SynchronizedNorms())
        if SLURMEnvironment.detect():
            plugins.append(SLURMEnvironment(auto_requeue=False))  # submitit asks for the job again by itself
        return plugins

    def _precision(self, run: RunConfig) -> str:
        if run.precision != "auto":
            return _PRECISIONS[run.precision]
        fast = self.accelerator == "gpu" and torch.cuda.is_bf16_supported(including_emulation=False)
        return _PRECISIONS["bfloat16" if fast else "float32"]


class SynchronizedNorms(LayerSync):
    """Let batch norms see the batch of all devices.

    Lightning's own plugin turns timm's norms, which carry an activation, into norms without one. These stay synchronized after
    the run: in ``eval()`` they compute as before, on a CPU too.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        return convert_sync_batchnorm(model)

    def revert(self, model: nn.Module) -> nn.Module:
        return model


def choose_trainer_settings(run: RunConfig) -> TrainerSettings:
    """Turn what a config asks for into devices that are there.

    Raises:
        ArgumentError, DeviceError: there is no such device.
        ConfigError: one GPU by its number, and several devices.
    """
    kind, _, number = choose_device(run.device).partition(":")
    if kind != "cuda":
        return TrainerSettings(kind, run.devices or 1, run.nodes)
    if not number:
        return TrainerSettings("gpu", run.devices or torch.cuda.device_count(), run.nodes)
    if (run.devices or 1) != 1:
        raise ConfigError(
            f"run.device is {run.device!r}, one GPU, and run.devices is {run.devices}.", hint="Set run.device=cuda."
        )
    return TrainerSettings("gpu", [int(number)], run.nodes)
