"""Put the plugin together as QGIS installs it: ``dist/qgis_maskdino.zip``, or a folder to run it from.

The plugin carries the sources of engine and training as data, with the little that Python's metadata needs to find their
commands, and the list of packages that they stand on: its private environment then holds packages alone. The embedded model
travels too: it is 11 MB, and a plugin that needed another download before it found its first building would fail behind
every proxy once more. The same checkout gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

PROJECT = Path(__file__).resolve().parents[1]
NAME = "qgis_maskdino"
LARGEST = 25_000_000  # bytes that the plugin repository takes

# What belongs to the plugin, by kind of file: no binaries, no caches, nothing that a build left behind.
_PLUGIN = {".py", ".qml", ".qm", ".svg", ".html"}
_SOURCES = {".py", ".yaml", ".html", ".css", ".md", ".safetensors", ".cpp", ".cuh", ".cu", ".h"}


def plugin_files() -> dict[str, bytes]:
    """Return what the plugin is made of, by path within its folder."""
    files = {path.name: path.read_bytes() for path in (PROJECT / "LICENSE", PROJECT / "CHANGELOG.md")}
    files["metadata.txt"] = metadata().encode()
    for folder, root, kinds in (
        (PROJECT / NAME, "", _PLUGIN),
        (PROJECT / "icons", "icons/", _PLUGIN),
        (PROJECT / "engine", "sources/engine/", _SOURCES),
        (PROJECT / "training", "sources/training/", _SOURCES),
    ):
        files.update({root + path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder, kinds)})
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files.update({f"sources/{path}": text.encode() for path, text in source_metadata(project).items()})
    return dict(sorted(files.items()))


def metadata() -> str:
    """Return ``metadata.txt`` with the newest part of the changelog, which QGIS shows before an update."""
    newest = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    lines = [line.strip() for line in newest.splitlines() if line.strip()]
    changelog = "\n    ".join(line.replace("### ", "").replace("`", "").replace("%", " percent") for line in lines)
    return (PROJECT / "metadata.txt").read_text(encoding="utf-8").rstrip() + f"\nchangelog={changelog}\n"


def source_metadata(project: dict) -> dict[str, str]:
    """Return what makes a folder of sources a distribution to Python, and the packages that it needs to run and to train."""
    version = _version()
    info = f"{NAME}-{version}.dist-info"
    entries = "".join(f"{name} = {module}\n" for name, module in project["entry-points"]["maskdino.commands"].items())
    packages = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    return {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n",
        f"{info}/entry_points.txt": f"[maskdino.commands]\n{entries}",
        "requirements.txt": "".join(f"{package}\n" for package in packages),
    }


def write_folder(folder: Path) -> None:
    """Write the plugin's folder, over what is there."""
    for name, content in plugin_files().items():
        path = folder / NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_zip(path: Path) -> None:
    """Write the file that QGIS's plugin manager installs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in plugin_files().items():
            entry = zipfile.ZipInfo(f"{NAME}/{name}")  # dated 1980: bytes tell of the content, not of the day
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size / 1e6:.1f} MB; the plugin repository takes {LARGEST / 1e6:.0f} MB.")


def _files(folder: Path, kinds: set[str]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
        if path.is_file() and path.suffix in kinds and not hidden:
            yield path


def _version() -> str:
    parser = ConfigParser(interpolation=None)
    parser.read_string((PROJECT / "metadata.txt").read_text(encoding="utf-8"))
    return parser["general"]["version"]


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description="Put the QGIS plugin together.")
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "dist" / f"{NAME}.zip", help="the zip file")
    parser.add_argument("--folder", type=Path, help=f"write a folder {NAME} in this one instead, to run the plugin from")
    arguments = parser.parse_args()
    if arguments.folder:
        write_folder(arguments.folder)
        print(arguments.folder / NAME)
    else:
        write_zip(arguments.output)
        print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
