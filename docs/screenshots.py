"""Take the pictures of the plugin that the documentation shows, in a real QGIS on a virtual screen.

    .venv-qgis/bin/python docs/screenshots.py                       # the generated town, into docs/
    .venv-qgis/bin/python docs/screenshots.py -o FOLDER --raster image.tif --truth buildings.gpkg --aoi area.gpkg

Needs what `make test` sets up: QGIS, xvfb-run, and the engine in .venv.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent
ENGINE = PROJECT / ".venv" / "bin" / "python"
_TOWN = """
from pathlib import Path
from training.data.synthetic.town import write_town
write_town(Path({raster!r}), Path({truth!r}), seed=7, size=1024, gsd=0.3)
"""
_SCENARIO = """
def scenario():
    import processing
    from processing.core.Processing import Processing
    window = iface.mainWindow()
    window.resize(1366, 768)
    for dock in window.findChildren(QDockWidget):
        if dock.objectName() == "Browser":
            dock.close()

    def shoot(name, widget=window):
        widget.grab().save(OUT + "/" + name + ".jpg", "JPG", 85)

    Processing.initialize()
    raster = iface.addRasterLayer(RASTER, TITLE)
    iface.layerTreeView().collapseAllNodes()
    assert qgis.utils.loadPlugin("qgis_maskdino") and qgis.utils.startPlugin("qgis_maskdino")
    dock = qgis.utils.plugins["qgis_maskdino"].dock
    dock.setUserVisible(True)
    window.resizeDocks([dock], [340], Qt.Orientation.Horizontal)
    yield 2500
    shoot("qgis-before")

    ended = []
    dock.queue.ended.connect(ended.append)
    dock.detect_page.submit()
    while not ended and dock.strip.bar.value() < 450:
        yield 200
    shoot("qgis-during")
    while not ended:
        yield 200
    iface.messageBar().clearWidgets()
    yield 2000
    shoot("qgis-after")
    told["detected"] = ended[-1].summary()

    QMessageBox.question = lambda *asked: QMessageBox.StandardButton.Yes  # the field may be added
    page = dock.review_page
    dock.tabs.setCurrentWidget(page)
    page.submit()
    page.score.setValue(0.6)
    page.next_button.click()
    built = QgsGeometry.unaryUnion([each.geometry() for each in QgsVectorLayer(TRUTH, "surveyed", "ogr").getFeatures()])
    for _ in range(150):
        footprint = page.review.feature().geometry()
        is_built = footprint.intersection(built).area() > 0.6 * footprint.area()
        (page.accept_button if is_built else page.reject_button).click()
    middle = raster.extent().buffered(-raster.extent().width() / 4)
    while not middle.contains(page.review.feature().geometry().boundingBox()):
        page.next_button.click()
    iface.mapCanvas().zoomScale(800)
    yield 2000
    shoot("qgis-review")
    told["reviewed"] = page.progress.format()
    page.submit()
    iface.mapCanvas().setExtent(raster.extent())

    truth = iface.addVectorLayer(TRUTH, "surveyed", "ogr")
    if AOI:
        area = iface.addVectorLayer(AOI, "labelled area", "ogr")
        dock.evaluate_page.area.setLayer(area)
    for node in QgsProject.instance().layerTreeRoot().findLayers():
        node.setItemVisibilityChecked(node.layer() is raster)
    page = dock.evaluate_page
    dock.tabs.setCurrentWidget(page)
    page.detections.setLayer(ended[-1].layer)
    page.annotations.setLayer(truth)
    page.submit()
    while len(ended) < 2:
        yield 200
    iface.messageBar().clearWidgets()
    yield 2000
    shoot("qgis-evaluation")
    told["evaluated"] = ended[-1].summary() or str(ended[-1].error)

    dialog = processing.createAlgorithmDialog("maskdino:detectbuildings", {"INPUT": raster.id()})
    dialog.resize(900, 640)
    dialog.show()
    yield 1000
    shoot("qgis-toolbox", dialog)
    dialog.close()

    QgsSettings().setValue("maskdino/model_folder", "/home/maria/models")
    dock.models.show_model("maskdino_lite")
    yield 1000
    shoot("qgis-models", dock.models)
    dock.models.close()

    os.environ["MASKDINO_PYTHON"] = ""
    dock.refresh()
    yield 500
    shoot("qgis-first-start", dock)
    qgis.utils.unloadPlugin("qgis_maskdino")
    yield 500
"""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=DOCS)
    parser.add_argument("--raster", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--aoi", type=Path)
    given = parser.parse_args()
    sys.path.insert(0, str(PROJECT))
    from tests.qgis_maskdino.real_qgis import run_in_qgis

    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        raster, truth = given.raster, given.truth
        if raster is None or truth is None:
            raster, truth = Path(folder, "town.tif"), Path(folder, "truth.gpkg")
            code = _TOWN.format(raster=str(raster), truth=str(truth))
            subprocess.run([str(ENGINE), "-c", code], cwd=PROJECT, check=True)
        names = {
            "OUT": str(given.output.resolve()),
            "RASTER": str(raster.resolve()),
            "TITLE": raster.stem,
            "TRUTH": str(truth.resolve()),
            "AOI": str(given.aoi.resolve()) if given.aoi else "",
        }
        beginning = "sys.path.append('/usr/share/qgis/python/plugins')\n"  # Processing, which --noplugins leaves out
        beginning += "\n".join(f"{name} = {value!r}" for name, value in names.items())
        home = "/home/maria/.local/share/qgis-maskdino/environment"  # what the first start shows is not this machine's
        variables = {"MASKDINO_PYTHON": str(ENGINE), "MASKDINO_ENVIRONMENT": home}
        told = run_in_qgis(Path(folder), beginning + _SCENARIO, seconds=1800, **variables)
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in told.items()))


if __name__ == "__main__":
    main()
