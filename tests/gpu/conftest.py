"""Tests that need a CUDA device: `make test-gpu`.

On a machine that has torch and pytest and nothing else of ours: `python -m pytest --confcutdir=tests/gpu tests/gpu`.
"""

from __future__ import annotations

import pytest
import torch


@pytest.hookimpl(tryfirst=True)  # before `-m gpu` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(autouse=True)
def best_kernel(monkeypatch) -> None:
    monkeypatch.delenv("MASKDINO_KERNEL", raising=False)
