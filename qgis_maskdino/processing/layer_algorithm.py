"""Algorithms that write a layer: never over what others need, and not before it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFeatureSink,
    QgsFields,
    QgsLayerMetadata,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterFeatureSink,
    QgsProcessingUtils,
    QgsProject,
    QgsProviderConnectionException,
    QgsProviderRegistry,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)

from qgis_maskdino.layers.appending import append, appends, why_not_appended
from qgis_maskdino.layers.output_file import (
    free_file,
    free_layer_name,
    in_file,
    layer_of_output,
    layer_output,
    layers_using,
    other_layers,
    shown_names,
    why_not_a_layer_file,
    why_not_a_new_layer,
    why_not_a_place,
)
from qgis_maskdino.layers.polygon_file import BATCH
from qgis_maskdino.layers.results import open_result, store_metadata
from qgis_maskdino.layers.style import store_style, style_when_loaded
from qgis_maskdino.processing.engine_algorithm import EngineAlgorithm
from qgis_maskdino.translation import tr


class LayerAlgorithm(EngineAlgorithm):
    """An algorithm of the engine with a layer among its outputs."""

    _dressed: tuple[str, str, QgsLayerMetadata | None] | None = None  # a layer in a GeoPackage, its style and metadata

    def why_not_written(
        self,
        parameters: dict[str, Any],
        name: str,
        inputs: Sequence[str],
        context: QgsProcessingContext,
        *,
        replace: bool = False,
    ) -> str:
        """Return why an output cannot be written, before an hour of work; empty where nothing speaks against it.

        Args:
            name: of the output, a layer or another file.
            inputs: names of layers that are read: none of them is to be replaced.
            replace: whether a GeoPackage may be replaced with all of its layers.
        """
        output = _output(parameters, name)
        in_geopackage = layer_of_output(output)
        if appends(parameters.get(name)):
            return why_not_appended(output)
        if in_geopackage is not None:
            return why_not_a_place(in_geopackage[0]) or why_not_a_new_layer(*in_geopackage)
        if not os.path.isabs(output):
            return ""  # memory, a database, or for QGIS to decide
        if why_not_a_place(output):
            return why_not_a_place(output)
        for read in inputs:
            layer = self.parameterAsLayer(parameters, read, context)
            if layer is not None and _same_file(output, layer.source().partition("|")[0]):
                return tr("The output {path} is read too, and would be lost. Name another file.").format(path=output)
        if not isinstance(self.parameterDefinition(name), QgsProcessingParameterFeatureSink):
            return ""
        return why_not_a_layer_file(output) or _why_not_replaced(output, context.project(), with_others=replace)

    def write_layer(
        self,
        features: Iterable[QgsFeature],
        parameters: dict[str, Any],
        name: str,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        *,
        fields: QgsFields,
        geometry: QgsWkbTypes.Type,
        crs: QgsCoordinateReferenceSystem,
    ) -> str:
        """Write features to an output; a file takes its place when it is whole, and what was there stays until then.

        Features for a layer that a file has are appended in one transaction.

        Args:
            name: of the output.
            fields: of the features.
            geometry: their type.

        Returns:
            Where the layer is, as QGIS names it.

        Raises:
            QgsProcessingException: it cannot be written; what was there is as it was.
        """
        output = _output(parameters, name)
        as_sink = (fields, geometry, crs)
        if appends(parameters.get(name)) and in_file(output):
            return append(features, output, parameters[name].remappingDefinition(), context, fields=fields, crs=crs)
        if not os.path.isabs(output) or appends(parameters.get(name)):
            return self._add_layer(features, parameters, name, context, as_sink)
        output = os.path.realpath(output)
        folder = tempfile.mkdtemp(prefix=".maskdino-", dir=os.path.dirname(output))
        try:
            aside = os.path.join(folder, os.path.basename(output))
            parameters_aside = {**parameters, name: _with_output(parameters[name], aside, loaded=False)}
            written, count = self._fill(features, parameters_aside, name, context, as_sink)
            if _count(written) < count:
                raise QgsProcessingException(tr("{path} cannot be written: the disk may be full.").format(path=output))
            destination = _take_place(folder, output)
        except OSError as error:
            raise QgsProcessingException(tr("{path} cannot be written: {error}.").format(path=output, error=error)) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if destination != output:
            text = tr("{path} is in use meanwhile, and was left alone. The layer is in {other}.")
            feedback.pushWarning(text.format(path=output, other=destination))
        self._load_when_done(destination, parameters[name], name, context)
        return destination

    def dress(
        self, destination: str, style: str, context: QgsProcessingContext, *, metadata: QgsLayerMetadata | None = None
    ) -> None:
        """Let a new layer have a style where QGIS loads it, and both style and metadata in its GeoPackage, for others.

        Args:
            destination: where it is, as ``write_layer`` returns it.
            style: one of ``layers.style``.
            metadata: how it came to be.
        """
        style_when_loaded(destination, style, context)
        if destination.partition("|")[0].lower().endswith(".gpkg"):
            self._dressed = (destination, style, metadata)

    def postProcessAlgorithm(self, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        """Write style and metadata. Processing calls this in the main thread, where styles belong."""
        if self._dressed is not None:
            destination, style, metadata = self._dressed
            layer = open_result(destination, name="", style=style)
            errors = [store_style(layer) if layer is not None else ""]
            if metadata is not None:
                errors.append(store_metadata(destination, metadata))
            for error in filter(None, errors):
                feedback.pushWarning(tr("The layer's style or metadata was not stored in its file: {}.").format(error))
        return {}

    def _add_layer(
        self,
        features: Iterable[QgsFeature],
        parameters: dict[str, Any],
        name: str,
        context: QgsProcessingContext,
        as_sink: tuple,
    ) -> str:
        """Fill a layer in memory or in a database; of one that was to be added to a GeoPackage no half is left."""
        added = layer_of_output(_output(parameters, name))
        if added is not None:  # another job may have added one of this name meanwhile
            added = (added[0], free_layer_name(*added))
            parameters = {**parameters, name: _with_output(parameters[name], layer_output(*added))}
        try:
            destination, _ = self._fill(features, parameters, name, context, as_sink)
        except QgsProcessingException:
            if added is not None:
                _drop_layer(*added)
            raise
        return destination

    def _fill(
        self,
        features: Iterable[QgsFeature],
        parameters: dict[str, Any],
        name: str,
        context: QgsProcessingContext,
        as_sink: tuple,
    ) -> tuple[str, int]:
        """Return where the features are, and how many; the file is closed then."""
        sink, destination = self.parameterAsSink(parameters, name, context, *as_sink)
        if sink is None:
            raise QgsProcessingException(self.invalidSinkError(parameters, name))
        count, error = 0, None
        for batch in _batches(features):
            if not sink.addFeatures(batch, QgsFeatureSink.Flag.FastInsert):
                error = sink.lastError()
                break
            count += len(batch)
        del sink  # closes the file, which a traceback would keep open
        if error is not None:
            raise QgsProcessingException(tr("The layer cannot be written: {error}.").format(error=error))
        return destination, count

    def _load_when_done(self, destination: str, output: Any, name: str, context: QgsProcessingContext) -> None:
        """Let QGIS load a layer where the output asks for it, as it does for what it writes in place."""
        if not isinstance(output, QgsProcessingOutputLayerDefinition) or output.destinationProject is None:
            return
        title = output.destinationName or self.parameterDefinition(name).description()
        details = QgsProcessingContext.LayerDetails(title, output.destinationProject, name, QgsProcessingUtils.LayerHint.Vector)
        context.addLayerToLoadOnCompletion(destination, details)


def _output(parameters: dict[str, Any], name: str) -> str:
    """Return what an output was given as; empty where that is not known before it runs."""
    value = parameters.get(name)
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value = value.sink.staticValue()
    return value if isinstance(value, str) else ""


def _with_output(output: Any, place: str, *, loaded: bool = True) -> QgsProcessingOutputLayerDefinition:
    """Return an output that goes to another place, in the same way."""
    definition = QgsProcessingOutputLayerDefinition(place)
    if isinstance(output, QgsProcessingOutputLayerDefinition):
        definition.createOptions = output.createOptions
        if loaded:
            definition.destinationProject = output.destinationProject
            definition.destinationName = output.destinationName
    return definition


def _why_not_replaced(path: str, project: QgsProject | None, *, with_others: bool) -> str:
    others = [] if with_others else other_layers(path)
    if others:
        return tr(
            "The output {path} is a GeoPackage that holds other layers too: {layers}. Name another file, or add a layer to "
            "this one: 'Save to GeoPackage …' in the dialog, ogr:dbname='{path}' table=\"NAME\" (geom) in a script."
        ).format(path=path, layers=shown_names(others))
    used_by = layers_using(path, project) if project is not None else []
    if used_by:
        return tr(
            "The project uses the output {path} in its layer {layers}. Name another file, or remove the layer from the project."
        ).format(path=path, layers=shown_names(used_by))
    return ""


def _batches(features: Iterable[QgsFeature]) -> Iterator[list[QgsFeature]]:
    rest = iter(features)
    while True:
        batch = list(islice(rest, BATCH))
        if not batch:
            return
        yield batch


def _count(source: str) -> int:
    layer = QgsVectorLayer(source, "written", "ogr")
    return layer.featureCount() if layer.isValid() else 0


def _take_place(folder: str, path: str) -> str:
    """Move the files of a folder to where one of them belongs, or beside it where that is in use. Return where that one is."""
    stem = _stem(path)
    # Somebody reads the GeoPackage, and a new one would be read together with the log of the old.
    if os.path.exists(f"{path}-wal"):
        path = free_file(path)
    elif path.lower().endswith(".shp") and os.path.exists(path):
        QgsVectorFileWriter.deleteShapeFile(path)  # indices of the old one do not fit the new one
    for name in os.listdir(folder):
        os.replace(os.path.join(folder, name), os.path.join(os.path.dirname(path), _stem(path) + name[len(stem) :]))
    return path


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _drop_layer(path: str, layer: str) -> None:
    connection = QgsProviderRegistry.instance().providerMetadata("ogr").createConnection(path, {})
    try:
        connection.dropVectorTable("", layer)
    except QgsProviderConnectionException:
        return  # it was never made


def _same_file(one: str, other: str) -> bool:
    return os.path.isfile(one) and os.path.isfile(other) and os.path.samefile(one, other)
