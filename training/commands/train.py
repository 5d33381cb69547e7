"""``maskdino train``: the arguments, for the terminal and for the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from engine.commands import check_arguments
from engine.commands.terminal import ctrl_c_sets, progress_bar
from engine.job import Job
from training.errors import require

if TYPE_CHECKING:
    from training.run.train import Trained

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


command = typer.Typer(add_completion=False, rich_markup_mode=None)


@command.command("train", cls=TrainCommand)
def train(
    config: str = typer.Argument(help="A YAML file, or a ready config by its name.", metavar="CONFIG"),
    changes: list[str] | None = typer.Argument(None, help="Changes to it, such as run.epochs=20.", metavar="[KEY=VALUE ...]"),
    output: Path | None = typer.Option(None, "-o", "--output", help="Folder of the run; by default runs/NAME.", metavar="DIR"),
    resume: bool = typer.Option(False, "--resume", help="Go on where the run in the folder ended."),
    preview: Path | None = typer.Option(
        None, help="Do not train: write pictures of augmented samples with their masks.", metavar="DIR"
    ),
    slurm: str | None = typer.Option(
        None, help="Hand the run to a cluster: partition=gpu nodes=2 gpus_per_node=8 timeout_min=600.", metavar="KEY=VALUE ..."
    ),
) -> None:
    """Train a model."""
    arguments = {
        "config": config,
        "overrides": changes or [],
        "output": None if output is None else str(output),
        "resume": resume,
    }
    if preview is not None:
        for path in write_preview(arguments, preview):
            typer.echo(str(path))
        return
    if slurm is not None:
        from training.run.cluster import submit

        typer.echo(submit(_read(arguments), _folder(arguments), resume=resume, options=slurm.split()))
        return
    with progress_bar() as show:
        job = Job(report=show)
        with ctrl_c_sets(job.cancelled):
            trained = run(arguments, job)
    if trained is not None:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in trained.figures.items())
        typer.echo(
            f"{trained.model}: {trained.steps} steps in {trained.seconds / 3600:.2f} h" + (f"; {figures}" if figures else "")
        )


def run(arguments: dict[str, Any], job: Job) -> Trained | None:
    """Train with the arguments of the command line, by name."""
    config = _read(arguments)
    from training.run.train import train as train_config

    return train_config(config, _folder(arguments), job=job, resume=bool(arguments.get("resume")))


def write_preview(arguments: dict[str, Any], folder: Path) -> list[Path]:
    """Write pictures of augmented samples instead of training on them."""
    config = _read(arguments)
    from training.data.augmentation_preview import write_previews
    from training.data.training_data import open_training_data

    data = open_training_data(config.data, config.augmentation, seed=config.run.seed)
    return write_previews(data.train, folder, count=16)


def _read(arguments: dict[str, Any]) -> Any:
    for package in _PACKAGES:
        require(package, for_what="train")
    from training.config.config_file import read_config

    return read_config(arguments["config"], arguments.get("overrides") or [])


def _folder(arguments: dict[str, Any]) -> Path:
    if arguments.get("output"):
        return Path(arguments["output"])
    return Path("runs", _read(arguments).name)


def serve(arguments: dict[str, Any], job: Job) -> dict[str, Any]:
    """Answer a request of the service: train in this process, on one device.

    Raises:
        RequestError: an argument is missing, unknown, or of the wrong type.
    """
    types = {"config": str, "overrides": list[str] | None, "output": str, "resume": bool}
    check_arguments("train", arguments, types=types, required=("config", "output"))
    overrides = arguments.get("overrides") or []
    trained = run({**arguments, "overrides": [*overrides, "run.devices=1", "run.nodes=1"]}, job)
    return {
        "model": str(trained.model), "folder": str(trained.folder), "steps": trained.steps, "seconds": trained.seconds,
        "figures": trained.figures,
    }  # fmt: skip
