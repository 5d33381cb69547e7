"""The plugin in a real QGIS window: what it registers, and that nothing of it is left behind."""

from __future__ import annotations

import pytest

from tests.qgis_maskdino.real_qgis import run_in_qgis

pytestmark = pytest.mark.slow  # QGIS itself takes some seconds to start

COUNTS = """
def menu_texts(menu):
    return [menu_texts(action.menu()) if action.menu() else action.text() for action in menu.actions()]

def context_menu():
    menu = iface.layerTreeView().menuProvider().createContextMenu()
    return [action.text() for action in menu.actions()]

def options_pages():
    pages = []
    def look():
        dialog = next(w for w in QApplication.topLevelWidgets() if w.objectName() == "QgsOptionsBase" and w.isVisible())
        model = dialog.findChild(QTreeView, "mOptionsTreeView").model()
        pages.extend(model.index(row, 0).data() for row in range(model.rowCount()))
        dialog.reject()
    QTimer.singleShot(1500, look)
    iface.showOptionsDialog()
    return pages

def state():
    window = iface.mainWindow()
    return {
        "actions": len(window.findChildren(QAction)),
        "toolbar": [action.objectName() for action in iface.pluginToolBar().actions()],
        "raster menu": menu_texts(iface.rasterMenu()),
        "context menu": context_menu(),
        "docks": sorted(dock.objectName() for dock in window.findChildren(QDockWidget)),
        "providers": sorted(provider.id() for provider in QgsApplication.processingRegistry().providers()),
        "map items": len(iface.mapCanvas().scene().items()),
        "tasks": QgsApplication.taskManager().count(),
        "options": options_pages(),
    }
"""


def test_the_plugin_registers_once_and_leaves_nothing_behind(tmp_path, scene):
    told = run_in_qgis(
        tmp_path,
        COUNTS
        + f"""
def scenario():
    layer = iface.addRasterLayer({str(scene)!r}, "town")
    iface.layerTreeView().setCurrentLayer(layer)
    yield 500
    state()  # QGIS makes some of its own things when they are first looked at
    told["before"] = state()
    for turn in ("first", "second"):
        assert qgis.utils.loadPlugin("qgis_maskdino") and qgis.utils.startPlugin("qgis_maskdino")
        yield 300
        plugin = qgis.utils.plugins["qgis_maskdino"]
        plugin.dock.setUserVisible(True)
        plugin.dock.detect_page.area.set_rectangle(layer.extent(), layer.crs())
        yield 300
        told[turn] = state()
        del plugin
        assert qgis.utils.unloadPlugin("qgis_maskdino")
        yield 300
        told["after the " + turn] = state()
""",
    )
    assert told["after the first"] == told["before"]
    assert told["after the second"] == told["before"]
    assert told["first"] == told["second"]
    there = told["first"]
    assert set(there["docks"]) - set(told["before"]["docks"]) == {"MaskDinoDock"}
    assert set(there["providers"]) - set(told["before"]["providers"]) == {"maskdino"}
    assert "mActionMaskDino" in there["toolbar"]
    assert "Mask DINO" in there["options"]
    assert "Detect buildings …" in there["context menu"]


def test_unloading_while_a_job_runs_ends_it(tmp_path, scene, engine_python):
    told = run_in_qgis(
        tmp_path,
        f"""
import time

def scenario():
    iface.addRasterLayer({str(scene)!r}, "town")
    assert qgis.utils.loadPlugin("qgis_maskdino") and qgis.utils.startPlugin("qgis_maskdino")
    dock = qgis.utils.plugins["qgis_maskdino"].dock
    dock.setUserVisible(True)
    yield 200
    dock.detect_page.submit()
    yield 1500
    told["ran"] = dock.queue.running is not None
    began = time.monotonic()
    assert qgis.utils.unloadPlugin("qgis_maskdino")
    told["seconds"] = time.monotonic() - began
    yield 1000
    told["tasks"] = len(QgsApplication.taskManager().activeTasks())
    told["layers"] = len(QgsProject.instance().mapLayers())
""",
        MASKDINO_PYTHON=engine_python,
    )
    assert told["ran"]
    assert told["seconds"] < 6
    assert (told["tasks"], told["layers"]) == (0, 1)


def test_the_layer_menu_opens_the_dock_with_that_layer(tmp_path, scene):
    told = run_in_qgis(
        tmp_path,
        COUNTS
        + f"""
def scenario():
    first = iface.addRasterLayer({str(scene)!r}, "first")
    iface.addRasterLayer({str(scene)!r}, "second")
    assert qgis.utils.loadPlugin("qgis_maskdino") and qgis.utils.startPlugin("qgis_maskdino")
    dock = qgis.utils.plugins["qgis_maskdino"].dock
    told["at first"] = dock.isUserVisible()
    iface.setActiveLayer(first)
    menu = iface.layerTreeView().menuProvider().createContextMenu()
    next(action for action in menu.actions() if action.text() == "Detect buildings …").trigger()
    yield 300
    told["then"] = dock.isUserVisible()
    told["layer"] = dock.detect_page.raster.layer().name()
""",
    )
    assert told == {"at first": False, "then": True, "layer": "first"}


def test_the_end_of_a_job_is_told_once(tmp_path):
    told = run_in_qgis(
        tmp_path,
        """
import time
from qgis_maskdino.jobs.queue import Job

class Long(Job):
    def work(self, on_event, is_cancelled):
        until = time.monotonic() + 7
        while time.monotonic() < until and not is_cancelled():
            time.sleep(0.05)
        return {}

def scenario():
    assert qgis.utils.loadPlugin("qgis_maskdino") and qgis.utils.startPlugin("qgis_maskdino")
    dock = qgis.utils.plugins["qgis_maskdino"].dock
    done, cancelled = Long("Done"), Long("Cancelled")
    for job in (done, cancelled):
        dock._submit(job, dock.train_page)
    yield 13500  # QGIS announces tasks of more than five seconds
    dock.queue.cancel(cancelled)
    yield 1000
    told["states"] = [done.state.value, cancelled.state.value]
    about = [item for item in iface.messageBar().items() if item.text().startswith(("Done", "Cancelled"))]
    told["titles"] = [item.title() for item in about]  # QGIS may have others to say
""",
    )
    assert told["states"] == ["done", "cancelled"]
    assert told["titles"] == ["Mask DINO", "Mask DINO"]


def test_qgis_asks_before_it_closes_while_a_job_runs(tmp_path):
    told = run_in_qgis(
        tmp_path,
        """
from qgis_maskdino.jobs.queue import Job

class Endless(Job):
    def work(self, on_event, is_cancelled):
        while not is_cancelled():
            QThread.msleep(20)
        return {}

def answer(button):
    def click():
        box = QApplication.activeModalWidget()
        told.setdefault("asked", []).append(box.text())
        box.button(button).click()
    QTimer.singleShot(1000, click)

def scenario():
    assert qgis.utils.loadPlugin("qgis_maskdino") and qgis.utils.startPlugin("qgis_maskdino")
    dock = qgis.utils.plugins["qgis_maskdino"].dock
    job = Endless("Buildings of town")
    dock.queue.add(job)
    yield 500
    answer(QMessageBox.No)
    iface.mainWindow().close()
    told["still there"] = iface.mainWindow().isVisible() and dock.queue.running is job
    dock.queue.cancel(job)
    yield 500
    told["running"] = dock.queue.running is not None
""",
    )
    assert told == {
        "asked": ["Buildings of town is still running. Close QGIS and cancel it?"],
        "still there": True,
        "running": False,
    }
