"""``maskdino:convertmodel``: a published checkpoint becomes a model file, which panel and toolbox then offer."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputString,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
)

from qgis_maskdino import options
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.model_choice import new_model_file, why_not_a_new_model
from qgis_maskdino.processing.engine_algorithm import EngineAlgorithm, listener, log_to, shown_file
from qgis_maskdino.translation import tr
from qgis_maskdino.words import title

_SUFFIX = ".safetensors"


class ConvertModel(EngineAlgorithm):
    """Converts a file of strangers; nothing in it is run."""

    ICON = "convert"
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"
    TAKEN_FOR = "TAKEN_FOR"

    def name(self) -> str:
        """Return the name that scripts know."""
        return "convertmodel"

    def displayName(self) -> str:
        """Return the name that people see."""
        return tr("Convert a model")

    def tags(self) -> list[str]:
        """Return words to be found by."""
        return tr("checkpoint,weights,pth,pkl,safetensors,import,published,pretrained,Mask2Former,Mask R-CNN").split(",")

    def shortDescription(self) -> str:
        """Return one sentence."""
        return tr("Makes a model file of a checkpoint that was published by the makers of a model.")

    def shortHelpString(self) -> str:
        """Return what stands beside the dialog."""
        return tr(
            "Mask DINO, DI-MaskDINO, Mask2Former and Mask R-CNN are published as checkpoints (.pth, .pkl or .safetensors). "
            "Which model a checkpoint is, is told by what is in it, and said in the log. Nothing in it is run.\n\n"
            "The model file stands in your model folder if no other place is named, and can then be chosen as <i>Model</i> in "
            "<i>Detect buildings</i>.\n\n"
            "A model of COCO's 80 classes finds people and cars, and no buildings. To fine-tune one for buildings, leave its "
            "own classes out: it finds nothing before it is trained."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Define parameters and outputs."""
        known = options.models_convert()
        files = tr("Checkpoints") + " (*.pth *.pt *.pkl *.safetensors);;" + tr("All files") + " (*)"
        self.add(QgsProcessingParameterFile(self.INPUT, title("checkpoint"), fileFilter=files), known["published"].help)
        self.add_option("CLASSES", title("class_names"), known["classes"])
        self.add_option("GSD", title("trained_gsd", unit="m/px"), known["gsd"], decimals=3)
        self.add_option("DROP_CLASSES", title("drop_classes"), known["drop_classes"])
        self.add_option("PRESET", tr("Preset"), known["preset"], advanced=True)
        self.add_option("NUM_CLASSES", tr("Number of classes"), known["num_classes"], advanced=True)
        self.add_option("TILE_SIZE", title("tile_size", unit="px"), known["tile_size"], advanced=True)
        self.add_option("HALF", tr("Half the size"), known["half"], advanced=True)
        self.add(
            QgsProcessingParameterFileDestination(
                self.OUTPUT,
                tr("Model file"),
                fileFilter=tr("Models") + f" (*{_SUFFIX})",
                optional=True,
                createByDefault=False,
            ),
            tr("If none is named, it has the checkpoint's name and stands in your model folder, to be chosen as a model."),
        )
        self.addOutput(QgsProcessingOutputString(self.TAKEN_FOR, tr("What the checkpoint was taken for")))

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Refuse early what cannot work."""
        checkpoint, output = self.parameterAsFile(parameters, self.INPUT, context), parameters.get(self.OUTPUT)
        if checkpoint and not os.path.isfile(checkpoint):
            return False, tr("There is no file {}.").format(checkpoint)
        if checkpoint and not output:
            why_not = why_not_a_new_model(_stem(checkpoint))
            if why_not:
                return False, f"{why_not} " + tr("Name a model file to write.")
        return super().checkParameterValues(parameters, context)

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Convert."""
        checkpoint = self.parameterAsFile(parameters, self.INPUT, context)
        output = self.parameterAsFileOutput(parameters, self.OUTPUT, context) or new_model_file(_stem(checkpoint))
        try:
            os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
        except OSError as error:
            raise QgsProcessingException(tr("The folder of the model cannot be made: {}.").format(error)) from error
        arguments = {"published": checkpoint, "output": output, **self.options_given(parameters, context)}
        with self.explained(feedback), EngineEnvironment().engine(on_log=log_to(feedback)) as engine:
            answer = engine.run("models convert", arguments, on_event=listener(feedback), is_cancelled=feedback.isCanceled)
        if answer.get("cancelled"):
            return {}
        feedback.pushInfo(tr("Taken for: {}").format(answer["taken_for"]))
        if answer["left_out"]:
            feedback.pushWarning(tr("The model finds nothing before it is trained: its classes were left out."))
        feedback.pushInfo(shown_file(answer["output"]))
        return {self.OUTPUT: answer["output"], self.TAKEN_FOR: answer["taken_for"]}


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
