"""The plugin's place in QGIS: menu, toolbar, dock, options, provider. What is registered here is unregistered here."""

from __future__ import annotations

from qgis.core import QgsApplication, QgsMapLayerType, QgsRasterLayer
from qgis.PyQt.QtCore import QCoreApplication, Qt, QTranslator
from qgis.PyQt.QtWidgets import QMenu

from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.icons import LOGO, icon
from qgis_maskdino.provider import MaskDinoProvider
from qgis_maskdino.translation import install_translator, tr

try:
    from qgis.PyQt.QtGui import QAction  # Qt 6
except ImportError:
    from qgis.PyQt.QtWidgets import QAction


class MaskDinoPlugin:
    """What QGIS loads.

    Args:
        iface: QGIS's interface; None in ``qgis_process``, which calls ``initProcessing`` alone.
    """

    def __init__(self, iface) -> None:
        self._iface = iface
        self._translator: QTranslator | None = install_translator()
        self._provider: MaskDinoProvider | None = None
        self._options = None
        self._exit_question = None
        self.dock = None
        self._menu: QMenu | None = None
        self._toggle: QAction | None = None
        self._models: QAction | None = None
        self._settings: QAction | None = None
        self._on_layer: QAction | None = None

    def initProcessing(self) -> None:
        """Register the algorithms. ``qgis_process`` calls this and nothing else."""
        if self._provider is None:
            self._provider = MaskDinoProvider()
            QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Take the plugin's place in QGIS's window."""
        from qgis_maskdino.gui.dock import MaskDinoDock
        from qgis_maskdino.gui.exit_question import ExitQuestion
        from qgis_maskdino.gui.pages.options_page import OptionsFactory

        self.initProcessing()
        environment = EngineEnvironment()
        self.dock = MaskDinoDock(self._iface, environment)
        self._iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.dock.hide()
        self._options = OptionsFactory(environment, self.dock.queue, self.dock.refresh)
        self._iface.registerOptionsWidgetFactory(self._options)

        window = self._iface.mainWindow()
        self._exit_question = ExitQuestion(self.dock.queue, window)
        self._iface.registerApplicationExitBlocker(self._exit_question)
        self._toggle = QAction(icon(LOGO), tr("Detect buildings"), window)
        self._toggle.setObjectName("mActionMaskDino")
        self._toggle.setCheckable(True)
        self._toggle.setToolTip(tr("Mask DINO: find the buildings of a raster layer"))
        self.dock.setToggleVisibilityAction(self._toggle)
        self._models = QAction(icon("convert"), tr("Models …"), window)
        self._models.triggered.connect(lambda: self.dock.models.show_model())
        self._settings = QAction(QgsApplication.getThemeIcon("/mActionOptions.svg"), tr("Options …"), window)
        self._settings.triggered.connect(self.dock.open_options)
        self._iface.addToolBarIcon(self._toggle)
        # A menu of our own: of the one that QGIS would make, it leaves something behind at each unloading.
        self._menu = QMenu(tr("Mask DINO"), window)
        self._menu.setIcon(icon(LOGO))
        self._menu.addActions([self._toggle, self._models, self._settings])
        self._iface.rasterMenu().addMenu(self._menu)
        self._on_layer = QAction(icon(LOGO), tr("Detect buildings …"), window)
        self._on_layer.triggered.connect(self._detect_in_active_layer)
        self._iface.addCustomActionForLayerType(self._on_layer, "", QgsMapLayerType.RasterLayer, True)

    def unload(self) -> None:
        """Leave QGIS as it was."""
        if self.dock is not None:
            self.dock.close_down()
            self._iface.removeCustomActionForLayerType(self._on_layer)
            self._iface.removeToolBarIcon(self._toggle)
            self._iface.rasterMenu().removeAction(self._menu.menuAction())
            self._iface.unregisterOptionsWidgetFactory(self._options)
            self._iface.unregisterApplicationExitBlocker(self._exit_question)
            self._iface.removeDockWidget(self.dock)
            for thing in (self._menu, self._on_layer, self._toggle, self._models, self._settings, self.dock):
                thing.deleteLater()
            self._options = self._exit_question = self.dock = self._menu = self._on_layer = None
            self._toggle = self._models = self._settings = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
        if self._translator is not None:
            QCoreApplication.removeTranslator(self._translator)
            self._translator = None

    def _detect_in_active_layer(self) -> None:
        layer = self._iface.activeLayer()
        if isinstance(layer, QgsRasterLayer):
            self.dock.detect_in(layer)
