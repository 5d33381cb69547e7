"""``make audit-dependencies``: hold the installed packages against the known advisories, and against our own bounds.

pip-audit asks PyPI's database, which a machine behind a mirror may not reach. It then finds nothing and calls that success; so
what counts is how many packages it looked up. Where it looked up none, the bounds of pyproject.toml are what is left: they keep
out the versions that docs/dependencies.md names advisories for. Exit status 1 where an advisory applies or a bound is broken.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[1]
REASONS = "docs/dependencies.md"

# Faults of functions that nothing here calls: torch.jit.script, and the loader of .pt2 archives. docs/dependencies.md has more.
NOT_REACHED = ("CVE-2025-3000", "CVE-2026-4538")


def main() -> None:
    """Audit the environment that this runs in."""
    faults = out_of_bounds()
    audited = ask_pip_audit()
    if audited:
        found = [line for package in audited for line in advisories(package)]
        print(f"{len(audited)} packages were looked up in the database of advisories; {len(found)} advisories apply.")
        faults += found
    else:
        print(
            "The database of advisories cannot be reached from here, so only the bounds of pyproject.toml were checked; "
            f"{REASONS} lists each dependency, its range and the reason."
        )
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


def out_of_bounds() -> list[str]:
    """Return a line for each installed package whose version pyproject.toml does not allow."""
    installed = {canonicalize_name(found.metadata["Name"]): found.version for found in distributions()}
    wanted = [(requirement, installed.get(canonicalize_name(requirement.name))) for requirement in requirements()]
    return [
        f"{requirement.name} {version} is installed; pyproject.toml wants {requirement.specifier}."
        for requirement, version in wanted
        if version is not None and not requirement.specifier.contains(version, prereleases=True)
    ]


def requirements() -> list[Requirement]:
    """Return the dependencies of pyproject.toml that apply to this Python on this system, those of all extras included."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    every = [Requirement(line) for line in lines]
    return [requirement for requirement in every if requirement.marker is None or requirement.marker.evaluate()]


def ask_pip_audit() -> list[dict[str, Any]]:
    """Return what pip-audit says of the packages that it could look up: none where it reached no database."""
    ignored = [word for number in NOT_REACHED for word in ("--ignore-vuln", number)]
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable", *ignored]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:  # it ends with a traceback where it cannot connect
        print((done.stderr.strip() or "pip-audit wrote nothing.").splitlines()[-1])
        return []
    return [package for package in json.loads(done.stdout)["dependencies"] if "skip_reason" not in package]


def advisories(package: dict[str, Any]) -> list[str]:
    """Return a line for each advisory that applies to a package, as pip-audit describes it."""
    return [
        f"{package['name']} {package['version']}: {found['id']} ({', '.join(found['aliases'])}), "
        f"mended in {', '.join(found['fix_versions']) or 'no version yet'}."
        for found in package["vulns"]
    ]


if __name__ == "__main__":
    main()
