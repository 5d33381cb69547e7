"""Hand a training run to a SLURM cluster through submitit; a job that the cluster stops is queued again and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import ArgumentError, ConfigError
from engine.job import Job
from training.config.schema import TrainConfig
from training.errors import require
from training.run.folder import RunFolder

# submitit's own names; any other is SLURM's and gets its prefix.
_GENERAL = {"name", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min", "stderr_to_stdout"}
_KNOWN = _GENERAL | {
    "cluster", "partition", "account", "qos", "constraint", "exclude", "nodelist", "comment", "mem_per_cpu", "mem_per_gpu",
    "time", "reservation", "exclusive", "signal_delay_s", "mail_type", "mail_user", "gres", "array_parallelism",
}  # fmt: skip


class ClusterTraining:
    """The job: it trains, and after a stop by the cluster it is what the cluster runs again."""

    def __init__(self, config: TrainConfig, folder: Path, *, resume: bool) -> None:
        self.config, self.folder, self.resume = config, folder, resume

    def __call__(self) -> str | None:
        """Train in every task of the job; the first returns the path of the model file."""
        from training.run.train import train

        trained = train(self.config, self.folder, job=Job(report=lambda progress: None), resume=self.resume)
        return None if trained is None else str(trained.model)

    def checkpoint(self) -> Any:
        """Return what is to be queued when the time is up or another job goes first: the same run, resumed."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(ClusterTraining(self.config, self.folder, resume=RunFolder(self.folder).config.exists()))


def submit(config: TrainConfig, folder: Path, *, resume: bool, options: Sequence[str]) -> str:
    """Queue a run and say where it can be followed.

    Args:
        options: ``KEY=VALUE`` each: ``nodes``, ``gpus_per_node``, ``cpus_per_task``, ``mem_gb``, ``timeout_min``, ``name``, and
            SLURM's own such as ``partition``. ``cluster=local`` runs it on this machine.

    Raises:
        ArgumentError: an option cannot be.
        ConfigError: the config asks for other machines than the options.
    """
    require("submitit", for_what="train --slurm")
    import submitit

    wanted = _parse(options)
    cluster = str(wanted.pop("cluster", "slurm"))
    gpus, nodes = int(wanted.get("gpus_per_node", 0)), int(wanted.get("nodes", 1))
    processes = max(gpus, 1)
    if cluster != "slurm" and nodes * processes > 1:
        raise ArgumentError(f"cluster={cluster} runs one process, not {nodes * processes}.", hint="Use it to try a job out.")
    for name, asked, given in (("nodes", config.run.nodes, nodes), ("devices", config.run.devices or processes, processes)):
        if asked not in (1, given):
            raise ConfigError(f"run.{name} is {asked}, and --slurm asks for {given}.", hint="Leave it out of the config.")
    run = config.run.model_copy(update={"nodes": nodes, "devices": processes})
    config = config.model_copy(update={"run": run})
    # One task per process: Lightning finds its place among them in SLURM's environment.
    settings = {"name": config.name, "timeout_min": 24 * 60, "cpus_per_task": run.workers + 1, "tasks_per_node": processes}
    settings |= {name if name in _GENERAL else f"slurm_{name}": value for name, value in wanted.items()}
    folder = Path(folder).resolve()
    logs = folder / "cluster"
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
        if cluster != "slurm":
            settings = {name: value for name, value in settings.items() if not name.startswith("slurm_")}
        executor.update_parameters(**settings)
        job = executor.submit(ClusterTraining(config, folder, resume=resume))
    except (RuntimeError, ValueError, TypeError, OSError, submitit.core.utils.FailedJobError) as error:
        raise ArgumentError(f"The cluster did not take the job: {error}", hint="Check the options of --slurm.") from error
    return f"Job {job.job_id}: its log is {job.paths.stdout}, the run will be in {folder}"


def _parse(options: Sequence[str]) -> dict[str, str | int]:
    wanted: dict[str, str | int] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not sign or name.removeprefix("slurm_") not in _KNOWN:
            raise ArgumentError(f"--slurm has no {option!r}.", hint=f"It takes KEY=VALUE with {', '.join(sorted(_KNOWN))}.")
        wanted[name.removeprefix("slurm_")] = int(value) if value.isdigit() else value
    return wanted
