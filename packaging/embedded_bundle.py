"""Write one folder with which somebody who has a bare GPU machine trains the embedded model: ``make embedded-bundle``.

It holds the code, the images of all places of ``training/config/ready/embedded.yaml`` as COCO folders, the weights to start
from, wheels of the packages that such a machine may lack, and ``train.py``; see `train_embedded.py` for what the machine
needs. The imagery is that of the config's places, under their licences, and is not part of the project.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from engine.model.build import build_model
from engine.model.header import ModelHeader, TrainingRecord
from engine.model.model_file import save_model
from training.config.config_file import read_config
from training.config.schema import TrainConfig
from training.data.config import TownsData
from training.data.scenes.writing import write_scenes
from training.data.training_data import read_scenes
from training.pretrained.start import start_from_each
from training.run.export import source_records

PROJECT = Path(__file__).resolve().parents[1]
LARGEST = 55_000_000  # bytes
QUALITY = 75  # of JPEG files: half the bytes of the originals
WHEELS = {"pydantic>=2.6,<3": True, "shapely>=2.0.5,<3": False, "pycocotools>=2.0.8,<3": False}  # with what they need, or not
PYTHON, PLATFORMS = "3.12", ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write the folder that trains the embedded model elsewhere.")
    parser.add_argument(
        "-o", "--output", type=Path, default=PROJECT / "dist" / "embedded-bundle", help="an earlier one is replaced"
    )
    parser.add_argument("--config", default="embedded", help="a config with a timm backbone and places that can be read here")
    parser.add_argument("--no-wheels", action="store_true", help="the machine has pydantic, shapely and pycocotools")
    arguments = parser.parse_args()
    bundle = arguments.output
    if bundle.exists() and not (bundle / "train.py").is_file():
        parser.error(f"{bundle} is there and no earlier bundle; name another folder, or remove it")
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    config = read_config(arguments.config, [])
    _write_code(bundle / "code")
    if not arguments.no_wheels:
        _write_wheels(bundle / "wheels")
    document = config.model_dump(mode="json")
    with tempfile.TemporaryDirectory() as folder:
        document["data"] |= _write_places(Path(folder), config)
        shutil.make_archive(str(bundle / "data"), "zip", folder)  # annotations shrink to a quarter
    document["start_from"] = _write_start(bundle / "start" / f"{config.name}_start.safetensors", config)
    document["run"] |= {"steps": None, "epochs": None, "validate_every": None, "minutes": 1}
    (bundle / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    shutil.copy(PROJECT / "packaging" / "train_embedded.py", bundle / "train.py")
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    print(f"{bundle}: {size / 1e6:.1f} MB")
    if size > LARGEST:
        sys.exit(f"That is more than the {LARGEST / 1e6:.0f} MB that it may have.")


def _write_code(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.dll", "*.safetensors")
    for package in ("engine", "training"):
        shutil.copytree(PROJECT / package, folder / package, ignore=ignored)


def _write_wheels(folder: Path) -> None:
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    how = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms]
    for requirement, whole in WHEELS.items():
        needs = [] if whole else ["--no-deps"]
        command = [sys.executable, "-m", "pip", "download", "-q", *how, *needs, "-d", str(folder), requirement]
        subprocess.run(command, check=True)


def _write_places(root: Path, config: TrainConfig) -> dict[str, Any]:
    """Write each place's two sides as folders, and return the ``data`` that names them."""
    sources, validation = [], []
    for number, source in enumerate(config.data.sources):
        about = source.model_dump(mode="json", exclude_defaults=True)
        if isinstance(source, TownsData):
            sources.append(about | {"cache": "towns"})
            continue
        shared = {key: about[key] for key in ("name", "licence", "attribution") if key in about}
        for side, scenes, where in zip(("train", "aside"), read_scenes(source), (sources, validation), strict=True):
            if scenes:
                folder = Path("data", f"{number:02}-{side}")
                write_scenes(root / folder, scenes, quality=QUALITY, licence=source.licence)
                entry = {"kind": "coco", "folder": folder.as_posix(), "in_memory": True, **shared}
                where.append(entry | ({k: about[k] for k in ("weight", "scale") if k in about} if side == "train" else {}))
    return {"sources": sources, "validation": validation}


def _write_start(file: Path, config: TrainConfig) -> str:
    """Write the weights that the config starts from as one model file, and return its path within the bundle."""
    torch.manual_seed(config.run.seed)
    model = build_model(config.model, num_classes=1)
    told = " ".join(report.summary() for report in start_from_each(model, config.starts))
    print(told)
    record = TrainingRecord(
        trained_by=config.card.trained_by, data=[record for source in config.starts for record in source_records(source)]
    )
    header = ModelHeader(
        name=file.stem, config=model.config, classes=("building",), gsd=config.data.gsd, tile_size=config.data.size,
        description=told, training=record,
    )  # fmt: skip
    file.parent.mkdir()
    save_model(file, model, header, dtype="float16")
    return file.relative_to(file.parents[1]).as_posix()


if __name__ == "__main__":
    main()
