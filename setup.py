"""Build the distribution. Everything but the version stands in pyproject.toml; the version's one home is metadata.txt,
the file that QGIS reads."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

metadata = ConfigParser(interpolation=None)
metadata.read_string((Path(__file__).parent / "metadata.txt").read_text(encoding="utf-8"))

setup(version=metadata["general"]["version"])
