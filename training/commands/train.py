"""``maskdino train``, for the terminal and for the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperCommand

from engine.commands import service_command
from engine.commands.command_line import terminal_command
from engine.commands.terminal import job_on_terminal
from engine.job import Job
from engine.request import Request, argument, option
from training.errors import require

if TYPE_CHECKING:
    from training.config.schema import TrainConfig

_PACKAGES = ("yaml", "lightning", "torchvision", "pycocotools")


class TrainCommand(TyperCommand):
    """Take all the KEY=VALUE behind ``--slurm`` for its own, up to the next option."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Join them into the one value that the option takes."""
        joined: list[str] = []
        words = list(args)
        while words:
            word = words.pop(0)
            joined.append(word)
            if word == "--slurm":
                pairs = []
                while words and "=" in words[0] and not words[0].startswith("-"):
                    pairs.append(words.pop(0))
                if pairs:
                    joined.append(" ".join(pairs))
        return super().parse_args(ctx, joined)


class TrainRequest(Request):
    """Which model is trained, and where the run is kept."""

    command: ClassVar[str] = "train"

    config: str = argument("A YAML file, or a ready config by its name.", metavar="CONFIG")
    overrides: tuple[str, ...] = argument("Changes to it, such as run.epochs=20.", metavar="[KEY=VALUE ...]", default=())
    output: str = option(..., "Folder of the run.", "-o", "--output", metavar="DIR")
    resume: bool = option(False, "Go on where the run in the folder ended, cancelled or broken off, with the same settings.")


class TerminalRequest(TrainRequest):
    """What a terminal may ask for besides."""

    output: str | None = option(  # type: ignore[assignment]
        None, "Folder of the run; by default runs/NAME.", "-o", "--output", metavar="DIR"
    )
    preview: str | None = option(None, "Do not train: write pictures of augmented samples with their masks.", metavar="DIR")
    slurm: str | None = option(
        None,
        "Hand the run to a cluster: partition=gpu nodes=2 gpus_per_node=8 timeout_min=600.",
        metavar="KEY=VALUE ...",
    )


command = typer.Typer(add_completion=False, rich_markup_mode=None)


@command.command("train", cls=TrainCommand)
@terminal_command(TerminalRequest)
def train(request: TerminalRequest) -> None:
    """Train a model."""
    config = _config(request.config, request.overrides)
    folder = Path(request.output or Path("runs", config.name))
    if request.preview is not None:
        for path in _write_previews(config, Path(request.preview)):
            typer.echo(str(path))
        return
    if request.slurm is not None:
        from training.run.cluster import submit

        typer.echo(submit(config, folder, resume=request.resume, options=request.slurm.split()))
        return
    from training.run.train import train as train_config

    with job_on_terminal() as job:
        trained = train_config(config, folder, job=job, resume=request.resume)
    if trained is not None:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in trained.figures.items())
        typer.echo(
            f"{trained.model}: {trained.steps} steps in {trained.seconds / 3600:.2f} h" + (f"; {figures}" if figures else "")
        )


@service_command(TrainRequest)
def serve(request: TrainRequest, job: Job) -> dict[str, Any]:
    """Answer a request of the service: train in this process, on one device."""
    config = _config(request.config, [*request.overrides, "run.devices=1", "run.nodes=1"])
    from training.run.train import train as train_config

    trained = train_config(config, Path(request.output), job=job, resume=request.resume)
    return {
        "model": str(trained.model), "folder": str(trained.folder), "steps": trained.steps, "seconds": trained.seconds,
        "figures": trained.figures,
    }  # fmt: skip


def _config(source: str, overrides: Sequence[str]) -> TrainConfig:
    for package in _PACKAGES:
        require(package, for_what="train")
    from training.config.config_file import read_config

    return read_config(source, overrides)


def _write_previews(config: TrainConfig, folder: Path) -> list[Path]:
    from training.data.augmentation_preview import write_previews
    from training.data.training_data import open_training_data

    data = open_training_data(config.data, config.augmentation, seed=config.run.seed)
    return write_previews(data.train, folder, count=16)
