"""What the plugin's tests may use. They run in QGIS's own Python; the engine runs in the Python of `.venv`, as a process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from qgis.core import QgsMapLayer, QgsProject, QgsSettings
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QSettings

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

# The tests' engine runs small models: threads of the numeric libraries would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Give each run settings of its own: two at once, or one that was killed, must not change what another reads."""
    folder = tempfile.TemporaryDirectory(prefix="maskdino-settings-")
    session.config.add_cleanup(folder.cleanup)
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder.name)


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data(project: Path) -> Path:
    """Real imagery beside the checkout, never part of it; the test is skipped where it is not there."""
    folder = project.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real imagery is not here: ../shared/data")
    return folder


@pytest.fixture(scope="session")
def engine_python(project: Path) -> str:
    """The interpreter that has the engine's packages."""
    python = Path(os.environ.get("MASKDINO_PYTHON", project / ".venv" / "bin" / "python"))
    if not python.is_file():
        pytest.fail(f"{python} is not there: `make test` makes it")
    return str(python)


@pytest.fixture(scope="session")
def plugin_zip(project: Path, engine_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as QGIS's plugin manager installs it."""
    path = tmp_path_factory.mktemp("plugin") / "qgis_maskdino.zip"
    subprocess.run([engine_python, str(project / "packaging" / "build_plugin.py"), "-o", str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def plugins_folder(plugin_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked plugin in it, in a path with a space and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("Meine Plugins für Łódź")
    with zipfile.ZipFile(plugin_zip) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(autouse=True)
def engine_is_found(monkeypatch: pytest.MonkeyPatch, engine_python: str) -> None:
    """The plugin finds the tests' engine, and no other that this machine may have or that a test before has chosen."""
    QgsSettings().remove("maskdino")
    monkeypatch.setenv("MASKDINO_PYTHON", engine_python)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small georeferenced image with bright roofs: 300 x 300 pixels of 0.3 m in EPSG:32633."""
    from osgeo import gdal, osr

    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    raster = gdal.GetDriverByName("GTiff").Create(str(path), 300, 300, 3, gdal.GDT_Byte, ["PHOTOMETRIC=RGB"])
    system = osr.SpatialReference()
    system.ImportFromEPSG(32633)
    raster.SetProjection(system.ExportToWkt())
    raster.SetGeoTransform((500_000, 0.3, 0, 5_000_000, 0, -0.3))
    for band, (ground, roof) in enumerate(((84, 176), (106, 88), (70, 70)), start=1):
        rows = bytearray([ground]) * (300 * 300)
        for top in range(20, 260, 60):
            for left in range(40, 260, 90):
                for row in range(top, top + 36):
                    rows[row * 300 + left : row * 300 + left + 54] = bytes([roof]) * 54
        raster.GetRasterBand(band).WriteRaster(0, 0, 300, 300, bytes(rows))
    raster.FlushCache()
    del raster
    return path


@pytest.fixture(scope="session", autouse=True)
def layers_go_before_qgis(qgis_app) -> Iterator[None]:
    """Layers are gone before QGIS: one that Python deletes afterwards closes its file in a GDAL that is gone, and crashes."""
    yield
    QgsProject.instance().clear()
    gc.collect()
    layers = [each for each in gc.get_objects() if issubclass(type(each), QgsMapLayer) and not sip.isdeleted(each)]
    assert not layers, f"still held by someone: {[layer.source() for layer in layers]}"


@pytest.fixture(scope="session")
def provider(qgis_app) -> Iterator[object]:
    """Our algorithms in QGIS's registry."""
    from qgis.core import QgsApplication

    from qgis_maskdino.provider import MaskDinoProvider

    provider = MaskDinoProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)
