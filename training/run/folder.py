"""The folder of a training run: what lies where, and whether a run may begin or go on in it."""

from __future__ import annotations

import json
import pickle  # nosec B403 - for the name of an error alone
from pathlib import Path
from typing import Any

import torch
import yaml

from engine.errors import ArgumentError, ConfigError, OutputError
from training.config.schema import TrainConfig

_MAY_CHANGE = {  # on resume: how a run is computed, not what it computes
    "run.device", "run.devices", "run.nodes", "run.accumulate", "run.workers", "run.checkpoint_activations", "run.pictures",
    "run.check_leakage", "run.calibrate", "run.validate_every", "run.precision", "card.description", "card.trained_by",
    "card.licence", "card.limits", "store", "tile_size",
}  # fmt: skip


class RunFolder:
    """Where a run keeps its config, checkpoints, tables, pictures and models."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.pictures = self.path / "pictures"

    def check(self, config: TrainConfig, *, resume: bool) -> None:
        """Make sure that there is no run here, or with ``resume`` that it is this one.

        Raises:
            ArgumentError: there is a run in it, and this one is not to go on with it; or there is none to go on with.
            ConfigError: the run in it has another config; it names the keys.
        """
        begun = self.config.exists()
        if resume and not begun:
            raise ArgumentError(f"There is no run in {str(self.path)!r} to go on with.", hint="Start without --resume.")
        if begun and not resume:
            raise ArgumentError(
                f"There is a run in {str(self.path)!r} already.",
                hint="Go on with it by --resume, or give another folder by -o.",
            )
        if resume and self.last.exists():
            _same(self._checkpoint_config(), config.model_dump(mode="json"), self.last)

    def begin(self, config: TrainConfig) -> None:
        """Make the folder, and write down what is trained in it.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            document = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            self.config.write_text(document, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"The folder {str(self.path)!r} cannot be written: {error.strerror}.") from error

    def _checkpoint_config(self) -> dict[str, Any]:
        try:
            checkpoint = torch.load(self.last, map_location="cpu", weights_only=True, mmap=True)
            return checkpoint["config"]
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise ArgumentError(
                f"The checkpoint {str(self.last)!r} cannot be read: {error}", hint="Start again in another folder."
            ) from error


def _same(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    old, new = _flat(before), _flat(now)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key) and key not in _MAY_CHANGE)
    if changed:
        listed = "; ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in changed[:5])
        raise ConfigError(
            f"The run of {str(checkpoint)!r} had another config: {listed}.",
            hint="Resume with the same config, or start a new run from its model file.",
        )


def _flat(document: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(document, dict) and document:
        return {key: value for name, inner in document.items() for key, value in _flat(inner, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): json.dumps(document) if isinstance(document, list) else document}
