"""Tests that need a CUDA device: `make test-gpu`. `MASKDINO_TEST_DEVICE=cpu` tries them out on a CPU.

On a machine that has torch, timm and pytest and nothing else of ours:
`python -m pytest --confcutdir=tests/gpu tests/gpu`; those of the model need pydantic too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: processes of pytest-xdist share the cores

import pytest
import torch

from tests.gpu.device import ON_CPU


@pytest.hookimpl(tryfirst=True)  # before `-m gpu` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.gpu)
            if not (ON_CPU or torch.cuda.is_available()):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(autouse=True)
def kernel_of_the_device(monkeypatch) -> None:
    """The best one on a GPU. On a CPU the plain one, which is everywhere."""
    monkeypatch.setenv("MASKDINO_KERNEL", "plain" if ON_CPU else "auto")
