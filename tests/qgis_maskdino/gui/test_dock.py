"""The dock as people use it: real widgets and real processes; the engine is a fake where the model does not matter."""

from __future__ import annotations

import itertools
import json
import re
import time

import pytest
from osgeo import gdal
from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRasterLayer, QgsRectangle, QgsVectorLayer
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtWidgets import QPushButton

from qgis_maskdino import options, settings
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.gui.area_picker import LAYER, POLYGONS, RECTANGLE, VIEW
from qgis_maskdino.gui.job_message import DetailsDialog
from qgis_maskdino.gui.pages.options_page import PAGE_NAME
from qgis_maskdino.jobs.queue import JobState
from qgis_maskdino.layers.polygon_file import fields_of
from tests.qgis_maskdino.gui.panel_window import (
    DETECTS,
    DETECTS_UNTIL_CANCELLED,
    let_go,
    wait_for,
    write_buildings,
)

pytestmark = pytest.mark.usefixtures("provider")


def results(named: str = "Buildings of town") -> list[QgsVectorLayer]:
    """The layers that detections added to the project, the newest first."""
    return [layer for layer in QgsProject.instance().layerTreeRoot().layerOrder() if layer.name().startswith(named)]


def last_message(iface) -> str:
    item = iface.messageBar().currentItem()
    return item.text() if item is not None else ""


class TestDetection:
    def test_one_click_makes_polygons_of_a_raster_layer(self, dock, town, fake, ended, iface):
        fake(DETECTS)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        (layer,) = results()
        assert layer.featureCount() == 12
        assert layer.renderer().type() == "graduatedSymbol"  # its own style, by score
        assert QgsProject.instance().layerTreeRoot().layerOrder() == [layer, town]
        assert "12 buildings" in dock.strip.status.text()
        assert "12 buildings" in last_message(iface)

    @pytest.mark.parametrize(("count", "said"), [(0, "A lower minimum score finds more"), (1, "1 building · 100 m²")])
    def test_nothing_and_a_single_building_are_said_as_people_say_them(self, dock, town, fake, ended, count, said):
        fake(DETECTS, count=count)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert said in dock.strip.status.text()

    def test_meanwhile_people_see_what_was_found_how_fast_how_long_still_and_where(self, dock, town, fake, ended):
        fake(DETECTS_UNTIL_CANCELLED)
        dock.detect_page.run_button.click()
        wait_for(lambda: dock.strip.bar.value() > 0)
        shown = dock.strip.status.text()
        for part in ("buildings so far", "0.5 MPix/s", "left", "processor"):
            assert part in shown
        assert dock.strip.cancel_button.isVisible()

    def test_a_full_bar_does_not_stand_while_the_engine_merges_and_writes(self, dock, town, fake, ended):
        fake(DETECTS_UNTIL_CANCELLED.replace("min(done, 90), 100", "100, 100"))
        dock.detect_page.run_button.click()
        wait_for(lambda: "finishing" in dock.strip.status.text())
        assert " left" not in dock.strip.status.text()
        assert dock.strip.bar.maximum() == 0  # busy
        dock.strip.cancel_button.click()
        wait_for(lambda: ended)

    def test_a_cancel_keeps_what_was_found(self, dock, town, fake, ended):
        fake(DETECTS_UNTIL_CANCELLED, count=5)
        dock.detect_page.run_button.click()
        wait_for(lambda: dock.strip.bar.value() > 0)
        began = time.monotonic()
        dock.strip.cancel_button.click()
        wait_for(lambda: ended)
        assert time.monotonic() - began < 4  # two seconds are the engine's
        assert ended[0].state is JobState.CANCELLED
        assert results()[0].featureCount() == 5
        assert results()[0].name().endswith(" · partial")
        assert dock.strip.status.text().startswith("Cancelled: 5 buildings so far")

    def test_a_cancel_before_the_engine_is_ready_leaves_nothing(self, dock, town, fake, ended, iface):
        fake("time.sleep(60)")  # it has said hello, and hears nothing
        dock.detect_page.run_button.click()
        wait_for(lambda: dock.strip.cancel_button.isVisible())
        dock.strip.cancel_button.click()
        wait_for(lambda: ended)
        assert (ended[0].state, ended[0].error) == (JobState.CANCELLED, None)
        assert results() == []
        assert dock.strip.status.text().startswith("Cancelled")
        assert dock.strip.bar.isHidden()

    @pytest.mark.parametrize("name", ["mine.gpkg", "Grüße aus Łódź.geojson", "mine.shp", "without suffix"])
    def test_a_file_may_be_named(self, dock, town, fake, ended, tmp_path, name):
        fake(DETECTS, count=5)
        path = tmp_path / "out put" / name
        path.parent.mkdir()
        dock.detect_page.output.setFilePath(str(path))
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].error is None
        newest = results()[0]
        assert newest.featureCount() == 5
        assert newest.source().startswith(str(path))
        assert [field.name() for field in newest.fields()][-2:] == ["score", "area_m2"]

    def test_the_name_says_which_raster_where_in_it_and_when(self, dock, town, fake, ended):
        fake(DETECTS)
        dock.detect_page.area.set_rectangle(QgsRectangle(500_000, 4_999_960, 500_060, 5_000_000), town.crs())
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        (layer,) = results()
        assert re.fullmatch(r"Buildings of town · rectangle · \d\d:\d\d:\d\d", layer.name())
        assert ended[0].title == layer.name()

    def test_a_project_that_was_opened_meanwhile_gets_no_layer_of_another(self, dock, town, fake, ended, iface):
        fake(DETECTS_UNTIL_CANCELLED)
        dock.detect_page.run_button.click()
        wait_for(lambda: dock.strip.bar.value() > 0)
        QgsProject.instance().clear()
        dock.strip.cancel_button.click()
        wait_for(lambda: ended)
        assert results() == []
        where = ended[0].results["OUTPUT"].partition("|")[0]
        assert QgsVectorLayer(where, "left", "ogr").featureCount() == 12
        assert f"The layer is in {where}." in last_message(iface)
        assert where in dock.strip.status.text()

    def test_two_jobs_queue_and_one_that_waits_can_be_taken_out(self, dock, town, fake, ended):
        fake(DETECTS_UNTIL_CANCELLED)
        for _ in range(3):
            dock.detect_page.run_button.click()
        wait_for(lambda: dock.strip.bar.value() > 0)
        first, second = dock.queue.running, dock.queue.waiting[0]
        assert len(dock.queue.waiting) == 2
        dock.queue.cancel(dock.queue.waiting[1])
        assert "so far" in dock.strip.status.text()  # of the one that runs
        dock.strip.cancel_button.click()
        wait_for(lambda: dock.queue.running is second and dock.strip.cancel_button.isEnabled())
        assert first.state is JobState.CANCELLED
        assert dock.queue.waiting == []

    def test_the_layer_may_be_removed_while_the_detection_runs(self, dock, town, fake, ended):
        fake(DETECTS_UNTIL_CANCELLED)
        dock.detect_page.run_button.click()
        wait_for(lambda: dock.strip.bar.value() > 0)
        QgsProject.instance().removeMapLayer(town.id())
        let_go()
        assert not dock.detect_page.run_button.isEnabled()
        dock.strip.cancel_button.click()
        wait_for(lambda: ended)
        assert ended[0].error is None
        assert results()[0].featureCount() == 12

    @pytest.mark.slow
    def test_a_hundred_thousand_buildings_do_not_freeze_the_window(self, dock, town, fake, ended):
        fake(DETECTS, count=100_000)
        ticks = []
        timer = QTimer()
        timer.timeout.connect(lambda: ticks.append(time.monotonic()))
        timer.start(20)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended, seconds=120)
        timer.stop()
        assert results()[0].featureCount() == 100_000
        # A window that takes no input for a second is one that people call frozen.
        assert max(after - before for before, after in itertools.pairwise(ticks)) < 1.0

    def test_how_long_the_next_one_takes_is_known_from_the_last(self, dock, town, fake, ended):
        fake(DETECTS)
        assert "MPix" in dock.detect_page.estimate.text() and "about" not in dock.detect_page.estimate.text()
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert settings.megapixels_per_second("auto") == 0.5
        settings.remember_start(119.0)
        dock.detect_page.refresh()
        assert "about 2 min" in dock.detect_page.estimate.text()  # 0.09 MPix at 0.5 MPix/s, after the start

    def test_how_long_the_engine_takes_to_start_is_remembered(self, dock, town, fake, ended):
        fake("time.sleep(1.5)\n" + DETECTS)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert 1.5 <= settings.start_seconds() < 30

    @pytest.mark.slow
    def test_the_real_engine_detects_in_a_drawn_rectangle(self, dock, town, ended, engine_python):
        dock.detect_page.area.set_rectangle(QgsRectangle(500_000, 4_999_960, 500_060, 5_000_000), town.crs())
        dock.detect_page.score.setValue(0.05)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended, seconds=180)
        assert ended[0].state is JobState.DONE, ended[0].error
        assert ended[0].results["COUNT"] == results()[0].featureCount()


class TestErrors:
    FAILS = "for r in requests(): print('a traceback', file=sys.stderr, flush=True); say('error', id=r['id'], \
code='raster', message='The raster town.tif is empty.', hint='Take another.')"

    def test_an_engine_that_refuses_is_heard_in_a_sentence_and_details(self, dock, town, fake, ended, iface):
        fake(self.FAILS)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.FAILED
        assert last_message(iface) == "The raster town.tif is empty."
        assert dock.strip.status.text() == "The raster town.tif is empty. Take another."
        (button,) = iface.messageBar().currentItem().findChildren(QPushButton)
        assert button.text() == "Details"
        button.click()
        (dialog,) = iface.mainWindow().findChildren(DetailsDialog)
        for part in ("Take another.", "a traceback"):
            assert part in dialog.text.toPlainText()
        dialog.close()
        assert results() == []
        assert dock.detect_page.run_button.isEnabled()

    def test_what_the_engine_warns_of_is_not_lost(self, dock, town, fake, ended, iface):
        fake(
            "warning = 'The raster has two bands only.'\n"
            + DETECTS.replace("for done", "say('log', id=request['id'], level='warning', message=warning)\n    for done")
        )
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        (button,) = iface.messageBar().currentItem().findChildren(QPushButton)
        button.click()
        (dialog,) = iface.mainWindow().findChildren(DetailsDialog)
        assert dialog.text.toPlainText() == "The raster has two bands only."
        dialog.close()
        assert last_message(iface).endswith("⚠ The raster has two bands only.")
        assert dock.strip.status.text().endswith("⚠ The raster has two bands only.")

    def test_an_engine_that_dies_is_explained(self, dock, town, fake, ended, iface):
        fake("for r in requests(): os.kill(os.getpid(), signal.SIGKILL)")
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert "memory" in last_message(iface)

    def test_what_cannot_be_submitted_says_why(self, dock):
        page = dock.detect_page
        assert not page.run_button.isEnabled()
        assert "Add a raster layer" in page.reason.text()

    @pytest.mark.parametrize(("kind", "reason"), [(RECTANGLE, "Draw the rectangle"), (POLYGONS, "no polygon layer")])
    def test_an_area_that_is_missing_says_so(self, dock, town, kind, reason):
        dock.detect_page.area.choice.setCurrentIndex(kind)
        assert reason in dock.detect_page.reason.text()
        assert not dock.detect_page.run_button.isEnabled()


class TestFurtherSettings:
    @pytest.mark.parametrize("name", ["outline", "device"])
    def test_each_choice_of_the_engine_has_words_of_its_own(self, dock, name):
        combo, option = getattr(dock.detect_page, name), options.detect()[name]
        assert [combo.itemData(row) for row in range(combo.count())] == list(option.choices)
        assert combo.currentData() == option.default
        assert not {combo.itemText(row) for row in range(combo.count())} & set(option.choices)

    def test_bands_are_three_or_none(self, dock, town):
        page = dock.detect_page
        assert "BANDS" not in page.parameters()
        page.bands[0].setBand(3)
        assert "all three bands" in page.reason.text()
        page.bands[1].setBand(2)
        page.bands[2].setBand(1)
        assert page.run_button.isEnabled()
        assert page.parameters()["BANDS"] == [3, 2, 1]

    def test_a_layer_that_is_too_coarse_for_the_model_is_noticed(self, dock, town):
        assert "coarser" not in dock.detect_page.estimate.text()
        dock.detect_page.gsd.setValue(0.1)
        assert "0.3 m/px: coarser than the model is used to" in dock.detect_page.estimate.text()

    def test_what_is_left_alone_is_left_to_the_engine(self, dock, town):
        assert not {"GSD", "MIN_AREA", "BANDS", "EXTENT", "AOI"} & set(dock.detect_page.parameters())
        dock.detect_page.gsd.setValue(0.5)
        dock.detect_page.min_area.setValue(0)
        given = dock.detect_page.parameters()
        assert (given["GSD"], given["MIN_AREA"]) == (0.5, 0)


class TestClasses:
    @pytest.fixture
    def vehicles(self, tmp_path) -> str:
        """A model file of several classes, as far as the panel reads one."""
        document = json.dumps({"gsd": 0.3, "classes": ["car", "truck", "bus"]})
        header = json.dumps({"__metadata__": {"maskdino": document}}).encode()
        path = tmp_path / "vehicles.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        return str(path)

    def test_a_choice_is_shown_only_where_the_model_has_one(self, dock, town, vehicles):
        page = dock.detect_page
        assert not page.classes.isVisible() and "CLASSES" not in page.parameters()
        page.model.choose(vehicles)
        assert page.classes.isVisible()
        assert page.classes.ticked() == ("car", "truck", "bus") and page.classes.all.isChecked()
        assert "CLASSES" not in page.parameters()  # all of them
        page.model.choose("maskdino_lite")
        assert not page.classes.isVisible()

    def test_what_is_ticked_is_looked_for(self, dock, town, vehicles):
        page = dock.detect_page
        page.model.choose(vehicles)
        page.classes.list.item(1).setCheckState(Qt.CheckState.Unchecked)
        assert page.parameters()["CLASSES"] == "car,bus"
        assert not page.classes.all.isChecked()
        page.gsd.setValue(0.5)
        assert page.parameters()["CLASSES"] == "car,bus"  # another setting leaves the choice alone
        page.classes.all.click()
        assert "CLASSES" not in page.parameters()
        page.classes.all.click()
        assert "Tick at least one class" in page.reason.text() and not page.run_button.isEnabled()

    def test_objects_are_drawn_by_class_and_counted_as_objects(self, dock, town, vehicles, fake, ended, tmp_path):
        found = fake(DETECTS)
        layer = QgsVectorLayer(str(found), "buildings", "ogr")
        layer.dataProvider().addAttributes([fields_of("class:string").field(0)])
        layer.updateFields()
        column = layer.fields().indexOf("class")
        changes = {feature.id(): {column: ("car", "bus")[feature.id() % 2]} for feature in layer.getFeatures()}
        assert layer.dataProvider().changeAttributeValues(changes)
        del layer
        dock.detect_page.model.choose(vehicles)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.DONE, ended[0].error
        (layer,) = results()
        assert layer.renderer().type() == "categorizedSymbol"
        assert [category.value() for category in layer.renderer().categories()] == ["bus", "car"]
        assert "12 objects" in dock.strip.status.text()


class TestRaster:
    def test_what_is_wrong_with_it_is_seen_before_anything_runs(self, dock, town, tmp_path):
        assert "⚠" not in dock.detect_page.raster.facts.text()
        path = tmp_path / "grey.tif"
        grey = gdal.GetDriverByName("GTiff").Create(str(path), 64, 64, 1)
        grey.FlushCache()
        del grey
        layer = QgsRasterLayer(str(path), "grey")
        layer.setCrs(QgsCoordinateReferenceSystem())
        QgsProject.instance().addMapLayer(layer)
        dock.detect_page.use_layer(layer)
        shown = dock.detect_page.raster.facts.text()
        assert "Without a CRS" in shown and "One band" in shown
        assert dock.detect_page.run_button.isEnabled()


class TestAreas:
    def test_the_view_follows_the_map(self, dock, town, iface):
        dock.detect_page.area.choice.setCurrentIndex(VIEW)
        iface.mapCanvas().setExtent(QgsRectangle(500_000, 4_999_950, 500_050, 5_000_000))
        extent = dock.detect_page.parameters()["EXTENT"]
        assert extent.crs().authid() == "EPSG:32633"
        assert extent.contains(QgsRectangle(500_001, 4_999_951, 500_049, 4_999_999))

    def test_of_a_layer_from_the_web_the_view_is_proposed(self, dock):
        web = QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmax=19", "web", "wms")
        QgsProject.instance().addMapLayer(web)
        assert dock.detect_page.raster.layer() is web
        assert "from the web" in dock.detect_page.raster.facts.text()
        assert dock.detect_page.area.choice.currentIndex() == VIEW
        dock.detect_page.area.choice.setCurrentIndex(LAYER)
        assert "without an end" in dock.detect_page.reason.text()

    def test_the_whole_earth_is_refused_and_not_estimated(self, dock, iface):
        web = QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmax=19", "web", "wms")
        QgsProject.instance().addMapLayer(web)
        dock.detect_page.area.set_rectangle(web.extent(), web.crs())
        assert "1,000 are the most" in dock.detect_page.reason.text()
        assert not dock.detect_page.run_button.isEnabled() and dock.detect_page.estimate.isHidden()
        dock.detect_page.area.set_rectangle(QgsRectangle(0, 0, 300, 300), web.crs())
        assert dock.detect_page.run_button.isEnabled() and "MPix" in dock.detect_page.estimate.text()

    def test_an_area_beside_the_layer_is_noticed_before_anything_runs(self, dock, town):
        dock.detect_page.area.set_rectangle(QgsRectangle(600_000, 4_999_950, 600_050, 5_000_000), town.crs())
        assert "outside" in dock.detect_page.reason.text()
        assert not dock.detect_page.run_button.isEnabled()

    def test_the_engine_is_asked_for_the_area_alone(self, dock, town, fake, ended, tmp_path):
        asked = tmp_path / "asked.json"
        tell = f"json.dump(request['arguments'], open({str(asked)!r}, 'w'))\n    for done"
        fake(DETECTS.replace("for done", tell))
        layer = QgsVectorLayer(str(write_buildings(tmp_path / "areas.gpkg", 3)), "areas", "ogr")
        QgsProject.instance().addMapLayer(layer)
        area = dock.detect_page.area
        area.choice.setCurrentIndex(POLYGONS)
        dock.detect_page.run_button.click()
        wait_for(lambda: ended)
        assert ended[0].error is None
        assert json.loads(asked.read_text())["aoi"].endswith(".gpkg")
        # A rectangle in another CRS than the layer's becomes one in the layer's.
        degrees = QgsCoordinateReferenceSystem("EPSG:4326")
        area.set_rectangle(QgsRectangle(15.0002, 45.1530, 15.0006, 45.1533), degrees)
        dock.detect_page.run_button.click()
        wait_for(lambda: len(ended) == 2)
        left, bottom, right, top = json.loads(asked.read_text())["extent"]
        assert 500_015 < left < 500_017 and 500_046 < right < 500_048
        assert 32 < top - bottom < 35

    def test_polygons_may_be_those_that_are_selected(self, dock, town, tmp_path):
        layer = QgsVectorLayer(str(write_buildings(tmp_path / "areas.gpkg", 3)), "areas", "ogr")
        QgsProject.instance().addMapLayer(layer)
        area = dock.detect_page.area
        area.choice.setCurrentIndex(POLYGONS)
        area.selected_only.setChecked(True)
        assert "No polygon is selected" in dock.detect_page.reason.text()
        layer.selectByIds([1])
        assert dock.detect_page.run_button.isEnabled()
        chosen = dock.detect_page.parameters()["AOI"]
        assert chosen.selectedFeaturesOnly


def test_it_fits_beside_a_map_on_a_laptop(dock, town):
    least = dock.minimumSizeHint()
    for widget in (dock.first_start, *(dock.tabs.widget(index) for index in range(dock.tabs.count()))):
        least = least.expandedTo(widget.minimumSizeHint())
    assert least.width() <= 380
    assert least.height() <= 520  # 768 less the window's own bars


class TestFirstStart:
    @pytest.fixture
    def without_engine(self, dock, monkeypatch, tmp_path):
        monkeypatch.delenv("MASKDINO_PYTHON")
        monkeypatch.setattr(dock._environment, "_folder", str(tmp_path / "not yet" / "environment"))
        dock.refresh()
        return dock

    def test_without_an_engine_there_is_one_page_that_says_what_will_be_done(self, without_engine, tmp_path):
        page = without_engine.stack.currentWidget()
        assert page is without_engine.first_start
        for part in ("PyTorch", str(tmp_path / "not yet"), "GB"):
            assert part in page.text.text()
        assert page.install_button.isVisible() and page.install_button.text() == "Install"

    def test_installing_shows_progress_and_log_and_then_the_pages(self, without_engine, monkeypatch, ended, engine_python):
        def create(self, *, on_log, on_progress, is_cancelled):
            on_log("Collecting torch")
            on_progress(0.5, "Downloading")
            monkeypatch.setenv("MASKDINO_PYTHON", engine_python)
            return True

        monkeypatch.setattr(EngineEnvironment, "create", create)
        without_engine.first_start.install_button.click()
        assert without_engine.first_start.bar.isVisible()
        wait_for(lambda: ended)
        assert "Collecting torch" in without_engine.first_start.log.toPlainText()
        assert without_engine.stack.currentWidget() is not without_engine.first_start

    def test_a_cancelled_installation_leaves_the_page_as_it_was(self, without_engine, monkeypatch, ended):
        def create(self, *, on_log, on_progress, is_cancelled):
            while not is_cancelled():
                time.sleep(0.01)
            return False

        monkeypatch.setattr(EngineEnvironment, "create", create)
        page = without_engine.first_start
        page.install_button.click()
        assert page.cancel_button.isVisible() and page.condition.isHidden()
        page.install_button.click()  # by the keyboard, say
        assert without_engine.queue.waiting == []
        page.cancel_button.click()
        wait_for(lambda: ended)
        assert ended[0].state is JobState.CANCELLED
        assert page.install_button.isVisible() and page.cancel_button.isHidden()

    def test_an_interpreter_in_the_settings_that_cannot_be_used_does_not_stand_in_the_way(
        self, without_engine, monkeypatch, ended, tmp_path
    ):
        settings.set_python(str(tmp_path / "gone"))
        without_engine.refresh()
        page = without_engine.first_start
        assert "gone" in page.condition.text()
        assert page.install_button.isVisible() and page.install_button.text() == "Install"
        monkeypatch.setattr(EngineEnvironment, "create", lambda self, **listeners: True)
        page.install_button.click()
        wait_for(lambda: ended)
        assert settings.python() == ""

    def test_an_interpreter_can_be_named_instead(self, without_engine, iface):
        without_engine.first_start.options_button.click()
        assert iface.options_opened == [PAGE_NAME]
