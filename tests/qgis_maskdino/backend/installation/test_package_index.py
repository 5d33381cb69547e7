"""The build of PyTorch that a machine can run."""

from __future__ import annotations

import os

import pytest

from qgis_maskdino.backend.installation import package_index


@pytest.mark.parametrize(
    ("platform", "cuda", "build"),
    [
        ("linux", None, "cpu"), ("linux", (13, 2), "cu130"), ("linux", (12, 8), "cu128"), ("linux", (12, 4), "cu126"),
        ("linux", (11, 8), "cpu"), ("win32", None, None), ("win32", (13, 0), "cu130"), ("darwin", None, None),
    ],
)  # fmt: skip
def test_the_one_that_the_machine_can_run(monkeypatch, platform, cuda, build):
    monkeypatch.setattr(package_index.sys, "platform", platform)
    assert package_index.torch_index(cuda) == (build and package_index.PYTORCH + build)


@pytest.mark.parametrize(
    ("says", "cuda"),
    [
        ("| NVIDIA-SMI 580.65.06   Driver Version: 580.65.06   CUDA Version: 13.0 |", (13, 0)),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None),
    ],
)
def test_the_driver_is_asked(monkeypatch, tmp_path, says, cuda):
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "{says}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert package_index.cuda_of_driver() == cuda
