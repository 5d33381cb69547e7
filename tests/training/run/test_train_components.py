"""Models with parts of another package are trained, saved and used, as docs/components.md shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyogrio
import pytest
import yaml

from engine.distribution import offered_components
from engine.job import Job
from engine.model.components import ALLOWED
from engine.model.model_file import load_model, read_header
from tests.engine.model.components.tiny_parts_package import CONFIGS, SOURCE, install
from tests.training.run.training_run import config_document, write_houses
from training.config.schema import TrainConfig
from training.run.train import train


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return (project / "docs/components.md").read_text(encoding="utf-8")


def shown(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def houses(folder: Path, model: dict) -> dict:
    """Return a config of two steps on a data set of a few pictures."""
    write_houses(folder / "train", images=5)
    write_houses(folder / "val", images=2, seed=1)
    document = config_document(folder, steps=2, validate_every=2, average=None)
    return {**document, "model": {"num_classes": 1, **model}}


def test_the_page_shows_the_package_of_these_tests(page) -> None:
    source, project = ((SOURCE / name).read_text(encoding="utf-8") for name in ("tiny_parts.py", "pyproject.toml"))
    assert [code in source for code in shown(page, "python")] == [True]
    assert [text in project for text in shown(page, "toml")] == [True]


@pytest.mark.slow
def test_a_package_s_parts_are_trained_and_detect_where_the_user_allows_it(page, project, scene, tmp_path) -> None:
    """The config of the page, in programs that know the package by its metadata on the path alone."""
    (config,) = (yaml.safe_load(text) for text in shown(page, "yaml"))
    (tmp_path / "houses.yaml").write_text(yaml.safe_dump(houses(tmp_path, config["model"])))
    path = os.pathsep.join([str(project), str(install(tmp_path / "packages"))])
    plain = {name: value for name, value in os.environ.items() if name != ALLOWED} | {"PYTHONPATH": path}

    def maskdino(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=plain | variables, cwd=tmp_path, check=False)

    training = ("train", "houses.yaml", "-o", "run")
    refused = maskdino(*training)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "set the environment variable MASKDINO_COMPONENTS=tiny_parts" in refused.stderr
    trained = maskdino(*training, **{ALLOWED: "tiny_parts"})
    assert trained.returncode == 0, trained.stderr
    assert read_header(tmp_path / "run/houses.safetensors").training.steps == 2

    detection = ("detect", scene, "-o", "found.gpkg", "--model", "run/houses.safetensors", "--score", "0")
    refused = maskdino(*detection)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "MASKDINO_COMPONENTS=tiny_parts" in refused.stderr
    absent = maskdino(*detection, **{ALLOWED: "tiny_parts", "PYTHONPATH": str(project)})
    assert (absent.returncode, absent.stderr.count("\n")) == (1, 1)
    assert "Install the package 'tiny_parts'" in absent.stderr
    assert not (tmp_path / "found.gpkg").exists()
    detected = maskdino(*detection, **{ALLOWED: "tiny_parts"})
    assert detected.returncode == 0, detected.stderr
    assert pyogrio.read_info(tmp_path / "found.gpkg")["features"] > 0


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "mask_dino"])
def test_the_other_families_are_trained_with_them_too(kind, tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "packages"))
    monkeypatch.setenv(ALLOWED, "tiny_parts")
    offered_components.cache_clear()
    try:
        config = TrainConfig.model_validate(houses(tmp_path, CONFIGS[kind].model_dump(mode="json")))
        trained = train(config, tmp_path / "run", job=Job(report=lambda progress: None))
        assert trained.steps == 2
        assert load_model(trained.model).config == CONFIGS[kind]
    finally:
        sys.modules.pop("tiny_parts", None)
        offered_components.cache_clear()
