"""The panel for people who do not think in toolboxes: pages in tabs, and the queue of their jobs below."""

from __future__ import annotations

from qgis.core import QgsRasterLayer, QgsVectorLayer
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from qgis_maskdino.backend.environment import EngineEnvironment, State
from qgis_maskdino.gui.job_message import show_end, show_error
from qgis_maskdino.gui.job_strip import JobStrip
from qgis_maskdino.gui.model_manager import ModelManager
from qgis_maskdino.gui.pages.detect_page import DetectPage
from qgis_maskdino.gui.pages.evaluate_page import EvaluatePage
from qgis_maskdino.gui.pages.export_page import ExportPage
from qgis_maskdino.gui.pages.first_start_page import FirstStartPage
from qgis_maskdino.gui.pages.options_page import PAGE_NAME
from qgis_maskdino.gui.pages.page import Page
from qgis_maskdino.gui.pages.review_page import ReviewPage
from qgis_maskdino.gui.pages.train_page import TrainPage
from qgis_maskdino.jobs.queue import Job, JobQueue, JobState
from qgis_maskdino.translation import tr

_NARROW, _WIDE = 300, 380  # pixels; as wide as the tabs want to be, within these


class MaskDinoDock(QgsDockWidget):
    """The dock. It owns the queue; whoever closes the plugin calls ``close_down``."""

    def __init__(self, iface: QgisInterface, environment: EngineEnvironment) -> None:
        super().__init__(tr("Mask DINO"), iface.mainWindow())
        self.setObjectName("MaskDinoDock")
        self._iface = iface
        self._environment = environment
        self._pages_of: dict[Job, Page | ModelManager] = {}
        self.queue = JobQueue(self)
        self.models = ModelManager(environment, self.queue, self)
        self.first_start = FirstStartPage(environment, self.queue)
        self.detect_page = DetectPage(iface.mapCanvas(), self.queue)
        self.review_page = ReviewPage(iface.mapCanvas())
        self.evaluate_page = EvaluatePage()
        self.export_page = ExportPage()
        self.train_page = TrainPage()
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setElideMode(Qt.TextElideMode.ElideRight)
        for page, text in (
            (self.detect_page, tr("Detect")),
            (self.review_page, tr("Review")),
            (self.evaluate_page, tr("Evaluate")),
            (self.export_page, tr("Export")),
            (self.train_page, tr("Fine-tune")),
        ):
            page.submitted.connect(lambda job, page=page: self._submit(job, page))
            self.tabs.setTabToolTip(self.tabs.addTab(page, text), page.run_button.text())
        self.setMinimumWidth(min(max(_NARROW, self.tabs.tabBar().sizeHint().width()), _WIDE))
        self.strip = JobStrip(self.queue)
        work = QWidget()
        column = QVBoxLayout(work)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.tabs, 1)
        column.addWidget(self.strip)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.first_start)
        self.stack.addWidget(work)
        self.setWidget(self.stack)
        self.train_page.model_wanted.connect(self._detect_with)
        self.models.submitted.connect(lambda job: self._submit(job, self.models))
        self.models.changed.connect(self.refresh)
        for page in (self.detect_page, self.train_page):
            page.model.manager_wanted.connect(self.models.show_model)
        self.review_page.training_wanted.connect(self._train_on)
        self.first_start.options_wanted.connect(self.open_options)
        self.queue.ended.connect(self._ended)
        self.refresh()

    def refresh(self) -> None:
        """Show the pages where there is an engine, the page that installs it where there is none; list the models anew."""
        ready = self._environment.state() is State.READY
        self.stack.setCurrentIndex(1 if ready else 0)
        self.first_start.refresh()
        for page in (self.detect_page, self.train_page):
            page.model.refresh()
            page.refresh()
        self.models.refresh()

    def detect_in(self, layer: QgsRasterLayer) -> None:
        """Show the page that detects, with a layer chosen."""
        self.detect_page.use_layer(layer)
        self.tabs.setCurrentWidget(self.detect_page)
        self.setUserVisible(True)

    def open_options(self) -> None:
        """Open the plugin's page of QGIS's options."""
        self._iface.showOptionsDialog(self._iface.mainWindow(), PAGE_NAME)
        self.refresh()

    def close_down(self) -> None:
        """End what runs and take everything off the map; the dock is not used after that."""
        self.queue.close()
        self.review_page.close_down()
        self.detect_page.area.close_tools()

    def showEvent(self, event) -> None:
        super().showEvent(event)
        self.refresh()

    def _detect_with(self, model: str) -> None:
        self.detect_page.model.choose(model)
        self.tabs.setCurrentWidget(self.detect_page)

    def _train_on(self, layer: QgsVectorLayer) -> None:
        self.export_page.annotations.take(layer)
        self.tabs.setCurrentWidget(self.export_page)

    def _submit(self, job: Job, page: Page | ModelManager) -> None:
        self._pages_of[job] = page
        self.queue.add(job)

    def _ended(self, job: Job) -> None:
        page = self._pages_of.pop(job, None)
        if job.state is JobState.FAILED and job.error is not None:
            show_error(self._iface.messageBar(), job.error)
        elif page is not None:
            page.show_result(job)
            page.refresh()
            show_end(self._iface.messageBar(), job)
        self.refresh()
