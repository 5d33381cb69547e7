"""The training program: it learns, keeps what it reached, and goes on where it was, as one process and as several."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import engine
from engine.errors import ArgumentError, CancelledError, ConfigError, ModelFileError
from engine.job import Job, Progress
from engine.model.model_file import read_header
from tests.engine.model.small_model import SMALL_SEMANTIC
from tests.training.run.training_run import config_document, write_houses, write_run
from training.callbacks.history import LOSSES, VALIDATION, read_history
from training.config.config_file import read_config
from training.config.schema import RunConfig, TrainConfig
from training.losses import LossConfig
from training.run.data_module import StepSampler, check_batch
from training.run.module import TrainingModule
from training.run.train import Trained, train
from training.run.trainer_settings import choose_trainer_settings


def quiet_job() -> Job:
    return Job(report=lambda progress: None)


def losses_of(folder: Path) -> dict[int, float]:
    return {int(row["step"]): row["total"] for row in read_history(folder / LOSSES)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Trained, list[Progress]]:
    folder = tmp_path_factory.mktemp("finished")
    config = read_config(write_run(folder))
    seen: list[Progress] = []
    return config, train(config, folder / "run", job=Job(report=seen.append)), seen


def test_a_run_leaves_models_tables_pictures_and_its_config(finished) -> None:
    config, trained, seen = finished
    assert (trained.steps, set(trained.figures)) == (6, {"AP50", "AP", "F1"})
    folder = trained.folder
    assert trained.model == folder / "houses.safetensors"
    assert [int(row["step"]) for row in read_history(folder / LOSSES)] == [1, 2, 3, 4, 5, 6]
    assert [int(row["step"]) for row in read_history(folder / VALIDATION)] == [3, 6]
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["step_000003.png", "step_000006.png"]
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert any(path.name.startswith("events") for path in (folder / "tensorboard").iterdir())
    assert TrainConfig.model_validate(yaml.safe_load((folder / "config.yaml").read_text())) == config
    assert [(p.done, p.total, p.unit) for p in seen][-1] == (6, 6, "steps")
    assert re.fullmatch(r"loss \d\S*, AP50 [01]\.\d{3}", seen[-1].note)


def test_every_loss_of_every_layer_is_written_by_its_name(finished) -> None:
    _, trained, _ = finished
    names = read_history(trained.folder / LOSSES)[0].keys()
    assert {"loss_ce", "loss_mask_0", "loss_dice_interm", "loss_bbox_dn", "loss_giou_dn_0", "total", "rate"} <= names


def test_the_model_file_says_where_it_comes_from(finished) -> None:
    _, trained, _ = finished
    header = read_header(trained.model)
    assert (header.name, header.classes, header.tile_size) == ("houses", ("building",), 96)
    assert header.training.steps == 6
    assert header.training.figures == {name: round(value, 3) for name, value in trained.figures.items()}
    assert "3 validation images with 3 annotated" in header.training.evaluated_on


def test_the_average_is_kept_beside_the_raw_weights_and_differs(finished) -> None:
    _, trained, _ = finished
    averaged, raw = engine.load_model(trained.model), engine.load_model(trained.folder / "houses.raw.safetensors")
    differences = [(a - b).abs().max().item() for a, b in zip(averaged.parameters(), raw.parameters(), strict=True)]
    assert max(differences) > 1e-4
    assert raw.header.training.figures == {}


def test_the_config_lies_in_every_checkpoint(finished) -> None:
    config, trained, _ = finished
    for name in ("last.ckpt", "best.ckpt"):
        checkpoint = torch.load(trained.folder / "checkpoints" / name, weights_only=True)
        assert TrainConfig.model_validate(checkpoint["config"]) == config


def test_training_twice_gives_the_same_losses(finished, tmp_path: Path) -> None:
    config, trained, _ = finished
    again = train(config, tmp_path / "again", job=quiet_job())
    assert losses_of(again.folder) == losses_of(trained.folder)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_losses(finished, tmp_path: Path) -> None:
    """A real kill, in the middle of a step after the first checkpoint; the resumed run is the unbroken one."""
    config, trained, _ = finished
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "training", str(path), "-o", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint, table = tmp_path / "run/checkpoints/last.ckpt", tmp_path / "run" / VALIDATION
    try:
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and table.exists()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert checkpoint.exists()
    result = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(trained.folder), rel=1e-6)
    ours, theirs = engine.load_model(tmp_path / "run/houses.safetensors"), engine.load_model(trained.model)
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=name)


def test_a_cancelled_run_keeps_the_step_it_made_and_goes_on(finished, tmp_path: Path) -> None:
    config, trained, _ = finished
    job = quiet_job()

    def cancel_at_the_second_step(progress: Progress) -> None:
        if progress.done == 1:
            job.cancelled.set()

    job.report = cancel_at_the_second_step
    with pytest.raises(CancelledError, match="--resume"):
        train(config, tmp_path / "run", job=job)
    assert losses_of(tmp_path / "run").keys() == {1}
    resumed = train(config, tmp_path / "run", job=quiet_job(), resume=True)
    assert losses_of(resumed.folder) == pytest.approx(losses_of(trained.folder), rel=1e-6)
    assert [int(row["step"]) for row in read_history(resumed.folder / VALIDATION)] == [3, 6]


def test_a_run_that_is_cancelled_in_a_validation_leaves_its_weights_and_goes_on(
    finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, trained, _ = finished
    job = quiet_job()
    look = TrainingModule.validation_step

    def cancel(module: TrainingModule, *batch: Any) -> None:
        look(module, *batch)
        job.cancelled.set()

    monkeypatch.setattr(TrainingModule, "validation_step", cancel)
    with pytest.raises(CancelledError, match="Cancelled at step 3"):
        train(config, tmp_path / "run", job=job)
    monkeypatch.undo()
    averaged, raw = (engine.load_model(tmp_path / f"run/houses{kind}.safetensors") for kind in ("", ".raw"))
    assert averaged.header.training.steps == 3 and averaged.header.training.evaluated_on is None
    assert "Not evaluated" in averaged.header.description and "moving average" in raw.header.description
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    for model, state in ((averaged, "state_dict"), (raw, "current_model_state")):
        for name, value in model.state_dict().items():
            assert torch.equal(value, checkpoint[state][f"objective.model.{name}"]), name

    resumed = train(config, tmp_path / "run", job=quiet_job(), resume=True)
    assert losses_of(resumed.folder) == pytest.approx(losses_of(trained.folder), rel=1e-6)
    assert read_history(resumed.folder / VALIDATION)[-1]["AP50"] == pytest.approx(trained.figures["AP50"], abs=1e-3)
    ours, theirs = engine.load_model(resumed.model), engine.load_model(trained.model)
    assert "Not evaluated" not in ours.header.description
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_killed_in_its_last_validation_leaves_a_model(ending: signal.Signals, tmp_path: Path) -> None:
    write_houses(tmp_path / "train", images=7)
    write_houses(tmp_path / "val", images=1500, seed=1)  # takes so long that it is still going on
    path, model = tmp_path / "config.yaml", tmp_path / "run/houses.safetensors"
    path.write_text(yaml.safe_dump(config_document(tmp_path, steps=3, validate_every=3, workers=1)))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "training", str(path), "-o", str(tmp_path / "run"), "run.check_leakage=false"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/houses.raw.safetensors").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1)
    began = time.monotonic()
    os.killpg(process.pid, ending)  # the workers as well, as `timeout` and a terminal do
    _, words = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == (-ending if ending == signal.SIGKILL else 130), words
    loaded = engine.load_model(model)
    assert loaded.header.training.steps == 3 and loaded.header.training.evaluated_on is None
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()
    assert not (tmp_path / "run" / VALIDATION).exists()


@pytest.mark.slow
def test_a_run_by_the_clock_keeps_time_for_its_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run(tmp_path)
    look = TrainingModule._find

    def slowly(module: TrainingModule, samples: list) -> list:
        time.sleep(1.5 * len(samples))
        return look(module, samples)

    monkeypatch.setattr(TrainingModule, "_find", slowly)
    config = read_config(path, ["run.steps=null", "run.minutes=0.3", "run.validate_every=null"])
    trained = train(config, tmp_path / "run", job=quiet_job())
    assert len(read_history(trained.folder / VALIDATION)) == 1 and trained.steps >= 1
    assert trained.seconds < 1.1 * 18


def test_a_folder_with_a_run_is_neither_overwritten_nor_mixed_with_another(finished, tmp_path: Path) -> None:
    config, trained, _ = finished
    with pytest.raises(ArgumentError, match="--resume"):
        train(config, trained.folder, job=quiet_job())
    other = config.model_copy(update={"auxiliary_loss": 3.0})
    with pytest.raises(ConfigError, match=r"auxiliary_loss was 0\.0 and is 3\.0"):
        train(other, trained.folder, job=quiet_job(), resume=True)
    with pytest.raises(ArgumentError, match="no run"):
        train(config, tmp_path / "nothing", job=quiet_job(), resume=True)


def test_resuming_a_finished_run_gives_its_model_again(finished) -> None:
    config, trained, _ = finished
    again = train(config, trained.folder, job=quiet_job(), resume=True)
    assert (again.model, again.steps) == (trained.model, trained.steps)
    assert [int(row["step"]) for row in read_history(trained.folder / LOSSES)] == [1, 2, 3, 4, 5, 6]


def test_without_validation_images_a_run_ends_with_a_model_that_claims_nothing(tmp_path: Path) -> None:
    path = write_run(tmp_path, steps=2, average=None)
    trained = train(read_config(path, ["data.validation=[]"]), tmp_path / "run", job=quiet_job())
    assert trained.figures == {}
    assert read_header(trained.model).training.evaluated_on is None
    assert not (tmp_path / "run/houses.raw.safetensors").exists()


@pytest.mark.slow
def test_two_processes_compute_the_losses_of_one(finished, tmp_path: Path) -> None:
    """Points and noise differ between processes, so the losses that draw them are left out of the comparison."""
    losses = {"points": 64, "costs": {"mask": 0, "dice": 0}, "weights": {"mask": 0, "dice": 0}, "denoising": {"mode": "no"}}
    write_houses(tmp_path / "train", images=7)
    write_houses(tmp_path / "val", images=3, seed=1)
    document = config_document(tmp_path, steps=4, batch=4, validate_every=4) | {"losses": losses}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    for name, processes in (("one", 1), ("two", 2)):
        command = [sys.executable, "-m", "training", str(path), f"run.devices={processes}", "-o", str(tmp_path / name)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
        assert result.returncode == 0, result.stderr
    one, two = (read_history(tmp_path / name / LOSSES) for name in ("one", "two"))
    for ours, theirs in zip(one, two, strict=True):
        for name in ours:
            if name.startswith(("loss_ce", "loss_bbox", "loss_giou")) or name == "total":
                assert theirs[name] == pytest.approx(ours[name], rel=2e-4), name
    figures = [read_history(tmp_path / name / VALIDATION)[-1] for name in ("one", "two")]
    assert figures[0]["AP50"] == pytest.approx(figures[1]["AP50"], abs=0.02)
    a, b = (engine.load_model(tmp_path / name / "houses.safetensors") for name in ("one", "two"))
    worst = max((x - y).abs().max().item() for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert worst < 1e-3


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_step_takes_the_same_samples_however_it_is_shared_out(world: int, parts: int) -> None:
    steps = []
    samplers = [StepSampler(batch=8, parts=parts, rank=r, world=world, first=1, steps=3) for r in range(world)]
    for step in zip(*(batched(list(sampler), parts) for sampler in samplers), strict=True):
        steps.append(sorted(number for process in step for part in process for number in part))
    assert steps == [list(range(8, 16)), list(range(16, 24))]
    assert len(samplers[0]) == 3 * parts


def batched(items: list, size: int) -> list[list]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(ConfigError, match="Give a multiple of 6, such as 6 or 12"):
        check_batch(RunConfig(steps=1, batch=8, accumulate=2), world=3)


@pytest.mark.slow
def test_a_job_runs_on_submitits_local_executor(tmp_path: Path) -> None:
    path = write_run(tmp_path, steps=2)
    command = [
        sys.executable,
        "-m",
        "training",
        str(path),
        "-o",
        str(tmp_path / "run"),
        "--slurm",
        "cluster=local",
        "timeout_min=5",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Job "), result.stdout
    deadline = time.monotonic() + 180
    while not (tmp_path / "run/houses.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    logs = "".join(log.read_text() for log in (tmp_path / "run/cluster").glob("*.err"))
    assert (tmp_path / "run/houses.safetensors").exists(), logs
    assert [int(row["step"]) for row in read_history(tmp_path / "run" / LOSSES)] == [1, 2]


@pytest.mark.slow
def test_the_baseline_goes_through_the_same_program(tmp_path: Path) -> None:
    write_houses(tmp_path / "train", images=3)
    write_houses(tmp_path / "val", images=2, seed=1)
    document = config_document(tmp_path, steps=2, validate_every=2)
    document["model"] = {
        "kind": "mask_rcnn",
        "backbone": document["model"]["backbone"] | {"norm": "batch"},
        "hidden_dim": 16,
        "box_features": 32,
        "anchor_sizes": [8, 16, 24, 32, 64],
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    trained = train(read_config(path), tmp_path / "run", job=quiet_job())
    assert {"loss_classifier", "loss_mask", "loss_objectness"} <= read_history(trained.folder / LOSSES)[0].keys()
    assert engine.load_model(trained.model).header.name == "houses"
    with pytest.raises(ConfigError, match=r"scores can be shifted.*\(it is Mask R-CNN"):
        train(read_config(path, ["run.calibrate=true"]), tmp_path / "other", job=quiet_job())


def test_scores_of_a_softmax_cannot_be_calibrated(finished, tmp_path: Path) -> None:
    """A shift of all its logits changes nothing."""
    config, _, _ = finished
    semantic = config.model_copy(
        update={"model": SMALL_SEMANTIC, "run": config.run.model_copy(update={"calibrate": True}), "losses": LossConfig()}
    )
    with pytest.raises(ConfigError, match=r"scores can be shifted.*\(it is Mask DINO for semantic segmentation"):
        train(semantic, tmp_path / "run", job=quiet_job())


def test_a_run_that_cannot_start_leaves_nothing_that_is_in_the_way(finished, tmp_path: Path) -> None:
    config, _, _ = finished
    missing = config.model_copy(update={"start_from": str(tmp_path / "nowhere.safetensors")})
    with pytest.raises(ModelFileError, match="nowhere"):
        train(missing, tmp_path / "run", job=quiet_job())
    with pytest.raises(ConfigError, match="Name a preset"):
        train(missing.model_copy(update={"model": None}), tmp_path / "run", job=quiet_job())
    small = config.model_copy(update={"model": "maskdino_tiny", "data": config.data.model_copy(update={"size": 64})})
    with pytest.raises(ConfigError, match="85 places to look at, fewer than the model's 150 queries"):
        train(small, tmp_path / "run", job=quiet_job())
    job = quiet_job()
    job.cancelled.set()
    with pytest.raises(CancelledError):
        train(config, tmp_path / "run", job=job)


def test_one_gpu_by_its_number_is_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run.trainer_settings.choose_device", lambda wanted: wanted)
    run = RunConfig(steps=1, device="cuda:1")
    assert choose_trainer_settings(run).devices == [1]
    with pytest.raises(ConfigError, match=r"one GPU, and run\.devices is 4"):
        choose_trainer_settings(run.model_copy(update={"devices": 4}))
    assert choose_trainer_settings(RunConfig(steps=1, device="cpu", devices=2, nodes=3)).world == 6
