"""The page that finds buildings: a layer, an area, a model, a button."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingUtils, QgsProject, QgsRasterLayer
from qgis.gui import QgsCollapsibleGroupBox, QgsDoubleSpinBox, QgsFileWidget, QgsMapCanvas, QgsRasterBandComboBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QSlider, QVBoxLayout, QWidget

from qgis_maskdino import options, settings
from qgis_maskdino.gui.area_picker import LAYER, VIEW, AreaPicker
from qgis_maskdino.gui.class_picker import ClassPicker
from qgis_maskdino.gui.device_picker import DevicePicker
from qgis_maskdino.gui.existing_output import output_parameters
from qgis_maskdino.gui.model_picker import ModelPicker
from qgis_maskdino.gui.pages.page import Page, form, note
from qgis_maskdino.gui.raster_picker import RasterPicker
from qgis_maskdino.jobs.buildings import BuildingsJob
from qgis_maskdino.jobs.progress_text import duration
from qgis_maskdino.layers.export_grid import LARGEST
from qgis_maskdino.layers.output_file import absolute_output, why_not_a_layer_file, why_not_a_place
from qgis_maskdino.layers.raster_facts import ground_megapixels, raster_facts
from qgis_maskdino.translation import tr

_COARSE = 2.0  # times the model's ground sampling distance


class DetectPage(Page):
    """Makes a detection of what was entered."""

    def __init__(self, canvas: QgsMapCanvas, parent: QWidget | None = None) -> None:
        super().__init__(button=tr("Detect buildings"), icon_name="detect", parent=parent)
        self._options = options.detect()
        self.raster = RasterPicker()
        self.area = AreaPicker(canvas)
        self.model = ModelPicker(remembers=True)
        self.classes = ClassPicker()
        self.estimate = note()
        self.add(self.raster, label=tr("&Raster layer"))
        self.add(self.area, label=tr("&Area"))
        self.add(self.model, label=tr("&Model"))
        self.add(self.classes)
        self.add(self._score_row(), label=tr("Minimum &score"))
        self.add(self._further())
        self.add(self.estimate)
        self.end_column()
        for widget in (self.raster, self.area, self.model, self.classes):
            widget.changed.connect(self.refresh)
        self.raster.changed.connect(self._raster_changed)
        self.gsd.valueChanged.connect(self.refresh)
        self.output.fileChanged.connect(self.refresh)
        self.device.currentIndexChanged.connect(self.refresh)
        self._raster_changed()
        self.refresh()

    def job(self) -> BuildingsJob | None:
        layer, output = self.raster.layer(), output_parameters(self._output_file(), self)
        if output is None:
            return None
        settings.remember("score", self.score.value())
        settings.remember("outline", self.outline.currentData())
        settings.remember("min_area", self.min_area.value())
        return BuildingsJob(
            layer_name=layer.name(),
            layer_id=layer.id(),
            area=self.area.description(),
            parameters={**self.parameters(), **output},
        )

    def parameters(self) -> dict[str, Any]:
        """Return what was entered as parameters of ``maskdino:detectbuildings``, its output aside."""
        given: dict[str, Any] = {
            "INPUT": self.raster.layer().id(),
            **self.model.parameters(),
            "SCORE": self.score.value(),
            "OUTLINE": self.outline.currentData(),
            "DEVICE": self.device.device(),
            **self.area.parameters(),
            **self.classes.parameters(),
        }
        if self._bands():
            given["BANDS"] = self._bands()
        if self.gsd.value() > 0:
            given["GSD"] = self.gsd.value()
        if self.min_area.value() >= 0:
            given["MIN_AREA"] = self.min_area.value()
        return given

    def why_not(self) -> str:
        return (
            self.raster.why_not()
            or self.area.why_not()
            or self._outside()
            or self._too_large()
            or self.model.why_not()
            or self.classes.why_not()
            or self._odd_bands()
            or self._unwritable()
        )

    def refresh(self) -> None:
        card = self.model.card
        self.classes.offer(card.classes if card is not None and len(card.classes) > 1 else ())
        super().refresh()
        text = "" if self.why_not() else self._estimate()
        self.estimate.setText(text)
        self.estimate.setVisible(bool(text))

    def use_layer(self, layer: QgsRasterLayer) -> None:
        """Choose a raster layer."""
        self.raster.combo.setLayer(layer)

    def _score_row(self) -> QWidget:
        self.score = QgsDoubleSpinBox()
        self.score.setRange(0.05, 0.99)
        self.score.setDecimals(2)
        self.score.setSingleStep(0.05)
        self.score.setClearValue(self._options["score"].default)
        self.score.setValue(settings.remembered("score", self._options["score"].default))
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setRange(5, 99)
        slider.setValue(round(100 * self.score.value()))
        slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        slider.valueChanged.connect(lambda value: self.score.setValue(value / 100))
        self.score.valueChanged.connect(lambda value: slider.setValue(round(100 * value)))
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(slider, 1)
        layout.addWidget(self.score)
        row.setFocusProxy(self.score)
        row.setToolTip(self._options["score"].help)
        return row

    def _further(self) -> QgsCollapsibleGroupBox:
        box = QgsCollapsibleGroupBox(tr("Further settings"))
        box.setObjectName("maskdino_further")
        self.outline = QComboBox()
        texts = {"regular": tr("Right angles"), "simplified": tr("Smooth"), "raw": tr("Borders of pixels")}
        for value in self._options["outline"].choices:
            self.outline.addItem(texts.get(value, value), value)
        outline = settings.remembered("outline", self._options["outline"].default)
        self.outline.setCurrentIndex(max(0, self.outline.findData(outline)))
        self.outline.setToolTip(self._options["outline"].help)
        self.bands: list[QgsRasterBandComboBox] = []
        for colour in (tr("Red"), tr("Green"), tr("Blue")):
            combo = QgsRasterBandComboBox()
            combo.setToolTip(colour)
            combo.setShowNotSetOption(True, tr("{}: automatic").format(colour))
            combo.bandChanged.connect(lambda band: self.refresh())
            self.bands.append(combo)
        bands = QVBoxLayout()
        for combo in self.bands:
            bands.addWidget(combo)
        self.gsd = QgsDoubleSpinBox()
        self.gsd.setRange(0.0, 100.0)
        self.gsd.setDecimals(3)
        self.gsd.setSingleStep(0.05)
        self.gsd.setSuffix(tr(" m/px"))
        self.gsd.setSpecialValueText(tr("The model's"))
        self.gsd.setClearValue(0.0)
        self.gsd.setToolTip(self._options["gsd"].help)
        self.min_area = QgsDoubleSpinBox()
        self.min_area.setRange(-1.0, 1e6)
        self.min_area.setDecimals(1)
        self.min_area.setSuffix(" m²")
        self.min_area.setSpecialValueText(tr("Automatic"))
        self.min_area.setClearValue(-1.0)
        self.min_area.setValue(settings.remembered("min_area", -1.0))
        self.min_area.setToolTip(self._options["min_area"].help)
        self.device = DevicePicker()
        self.output = QgsFileWidget()
        self.output.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.output.setFilter("GeoPackage (*.gpkg);;GeoJSON (*.geojson);;FlatGeobuf (*.fgb);;ESRI Shapefile (*.shp)")
        self.output.lineEdit().setPlaceholderText(tr("Temporary layer"))
        self.output.setConfirmOverwrite(False)  # the page asks, with more to choose from
        self.output.setToolTip(tr("Where the buildings go. A temporary layer is gone when QGIS is closed."))
        layout = form()
        layout.addRow(tr("&Outlines"), self.outline)
        layout.addRow(tr("Sma&llest area"), self.min_area)
        layout.addRow(tr("Resol&ution"), self.gsd)
        layout.addRow(tr("Bands"), bands)
        layout.addRow(tr("De&vice"), self.device)
        layout.addRow(tr("Out&put"), self.output)
        for combo in (self.outline, self.device, *self.bands):
            combo.setMinimumWidth(60)  # or the longest text would decide how narrow the dock can be
            combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.setLayout(layout)
        box.setCollapsed(True)
        return box

    def _raster_changed(self) -> None:
        layer = self.raster.layer()
        if layer is not None and not raster_facts(layer).megapixels and self.area.choice.currentIndex() == LAYER:
            self.area.choice.setCurrentIndex(VIEW)  # a layer from the web may be the whole world
        for combo in self.bands:
            combo.setLayer(layer)
            combo.setBand(-1)

    def _bands(self) -> list[int]:
        bands = [combo.currentBand() for combo in self.bands]
        return bands if all(band > 0 for band in bands) else []

    def _output_file(self) -> str:
        path = self.output.filePath().strip()
        if not path:
            return QgsProcessingUtils.generateTempFilename("buildings.gpkg")
        return absolute_output(path, QgsProject.instance())

    def _unwritable(self) -> str:
        if not self.output.filePath().strip():
            return ""
        path = absolute_output(self.output.filePath(), QgsProject.instance())
        return why_not_a_layer_file(path) or why_not_a_place(path)

    def _odd_bands(self) -> str:
        named = sum(combo.currentBand() > 0 for combo in self.bands)
        return tr("Choose all three bands, or none; a grey one three times.") if named not in (0, len(self.bands)) else ""

    def _outside(self) -> str:
        layer = self.raster.layer()
        area = self.area.rectangle_in(layer.crs())
        if area is None and not raster_facts(layer).megapixels:
            return tr("The layer is a map without an end. Choose an area.")
        return tr("The area lies outside the layer.") if area is not None and not area.intersects(layer.extent()) else ""

    def _too_large(self) -> str:
        megapixels = self._megapixels()
        if raster_facts(self.raster.layer()).megapixels or megapixels is None or megapixels <= LARGEST:
            return ""
        return tr("The area has {:,.0f} megapixels; {:,.0f} are the most for a layer that is no file.").format(
            megapixels, LARGEST
        )

    def _gsd(self) -> float | None:
        card = self.model.card
        return self.gsd.value() or (card.gsd if card else None) or raster_facts(self.raster.layer()).gsd

    def _megapixels(self) -> float | None:
        """Return how much there is to look at, in millions of the model's pixels; None where that is not known."""
        layer, gsd = self.raster.layer(), self._gsd()
        area = self.area.rectangle_in(layer.crs())
        if gsd is None or (area is None and not raster_facts(layer).megapixels):
            return None
        return ground_megapixels(layer.extent() if area is None else area.intersect(layer.extent()), layer.crs(), gsd)

    def _estimate(self) -> str:
        """Return how much there is to look at, and how long that took here the last time, the engine's start included."""
        facts, gsd, megapixels = raster_facts(self.raster.layer()), self._gsd(), self._megapixels()
        if megapixels is None:
            return ""
        text = tr("About {:.3g} MPix at {:.2g} m/px").format(megapixels, gsd)
        speed = settings.megapixels_per_second(self.device.device())
        if speed:
            text += " · " + tr("about {}").format(duration(settings.start_seconds() + megapixels / speed))
        if facts.gsd is not None and facts.gsd > _COARSE * gsd:
            text += "\n⚠ " + tr("The layer has {:.2g} m/px: coarser than the model is used to.").format(facts.gsd)
        return text
