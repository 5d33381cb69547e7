"""What the files of the project say of versions agrees: one place for each fact, and a document that can be trusted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def requirements(project: Path) -> list[str]:
    """Every requirement of pyproject.toml, those of the extras included."""
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*metadata["dependencies"], *(line for extra in metadata["optional-dependencies"].values() for line in extra)]


def name_and_range(requirement: str) -> tuple[str, str]:
    found = re.match(r"([\w-]+)\s*([^;\s]*)", requirement)
    assert found
    return found[1], found[2]


def test_each_dependency_is_explained_with_its_range(project: Path, requirements: list[str]) -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| `([^`]+)` \| \S", (project / "docs/dependencies.md").read_text("utf-8"), re.MULTILINE)
    assert set(rows) == {name_and_range(line) for line in requirements}


def test_a_package_has_one_range_for_each_python(requirements: list[str]) -> None:
    ranges: dict[tuple[str, str], set[str]] = {}
    for line in requirements:
        name, allowed = name_and_range(line)
        ranges.setdefault((name, line.partition(";")[2].strip()), set()).add(allowed)
    assert {name: allowed for name, allowed in ranges.items() if len(allowed) > 1} == {}


def test_the_hooks_before_a_commit_format_as_make_lint_does(project: Path, requirements: list[str]) -> None:
    config = yaml.safe_load((project / ".pre-commit-config.yaml").read_text("utf-8"))
    installed = {package for repo in config["repos"] for hook in repo["hooks"] for package in hook["additional_dependencies"]}
    assert {package for package in installed if package.startswith("ruff")} == {
        line for line in requirements if line.startswith("ruff")
    }


LOOKED_UP = {"name": "town", "version": "1.0", "vulns": []}
SKIPPED = {"name": "town", "skip_reason": "Dependency not found on PyPI and could not be audited: town (1.0)"}
FAULTY = {**LOOKED_UP, "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"], "description": ""}]}


@pytest.mark.parametrize(
    ("package", "status", "words"),
    [
        (LOOKED_UP, 0, r"1 packages were looked up .*; 0 advisories apply"),
        (FAULTY, 1, r"town 1\.0: PYSEC-1 \(CVE-1\), mended in 1\.1"),
        (SKIPPED, 0, r"cannot be reached .* docs/dependencies\.md"),
        (None, 0, r"NameResolutionError\n.*cannot be reached"),
    ],
)
def test_an_audit_that_looked_nothing_up_does_not_call_it_success(
    project: Path, tmp_path: Path, package: dict[str, object] | None, status: int, words: str
) -> None:
    """pip-audit itself does, behind a mirror; or it ends with a traceback. A stand-in answers as it does."""
    answer = (
        "raise OSError('NameResolutionError')" if package is None else f"print({json.dumps({'dependencies': [package]})!r})"
    )
    (tmp_path / "pip_audit.py").write_text(answer)
    command = [sys.executable, project / "packaging" / "audit_dependencies.py"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert re.search(words, done.stdout), done.stdout + done.stderr
    assert done.returncode == status, done.stdout
