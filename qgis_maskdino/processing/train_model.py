"""``maskdino:trainmodel``: a model made better at one's own ground."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from qgis_maskdino import options
from qgis_maskdino.backend.environment import EngineEnvironment
from qgis_maskdino.backend.model_choice import DEFAULT, model_argument, model_names
from qgis_maskdino.processing.engine_algorithm import (
    EngineAlgorithm,
    device_option,
    listener,
    log_to,
    number,
    shown_file,
)
from qgis_maskdino.translation import tr

SIDES = ("train", "val")
_CANCEL_WITHIN = 30.0  # seconds: a cancelled training finishes its step, which takes a while without a GPU, and keeps its state


class TrainModel(EngineAlgorithm):
    """Trains in the engine's process; what is cancelled can be gone on with."""

    ICON = "train"
    DATASET = "DATASET"
    MODEL = "MODEL"
    MODEL_FILE = "MODEL_FILE"
    NAME = "NAME"
    EPOCHS = "EPOCHS"
    BATCH_SIZE = "BATCH_SIZE"
    LEARNING_RATE = "LEARNING_RATE"
    CONFIG = "CONFIG"
    OVERRIDES = "OVERRIDES"
    OUTPUT = "OUTPUT"
    TRAINED_MODEL = "TRAINED_MODEL"
    STEPS = "STEPS"
    AP50 = "AP50"
    SECONDS = "SECONDS"

    def name(self) -> str:
        """Return the name that scripts know."""
        return "trainmodel"

    def displayName(self) -> str:
        """Return the name that people see."""
        return tr("Train a model")

    def tags(self) -> list[str]:
        """Return words to be found by."""
        return tr("fine-tune,training,deep learning,machine learning,transfer learning").split(",")

    def shortDescription(self) -> str:
        """Return one sentence."""
        return tr("Makes a model better at your own imagery, from a data set with known buildings.")

    def shortHelpString(self) -> str:
        """Return what stands beside the dialog."""
        return tr(
            "Goes on training a model with tiles of your own imagery (<i>Export training data</i>, split), so that it knows "
            "roofs as they look there. A hundred buildings help, a thousand are better.\n\n"
            "With a graphics card it takes minutes, without one hours. Cancelled, the last checkpoint stays in the folder, and "
            "a run with the same settings and <i>Go on with the run in the folder</i> continues from it.\n\n"
            "The model file that comes out can be chosen in <i>Detect buildings</i>. Measure it on ground that it was not "
            "trained on."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Define parameters and outputs."""
        whole, real = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double
        self.add(
            QgsProcessingParameterFile(
                self.DATASET, tr("Folder with the data set"), QgsProcessingParameterFile.Behavior.Folder
            ),
            tr("With the folders 'train' and 'val', as 'Export training data' writes them."),
        )
        self.add(
            QgsProcessingParameterEnum(
                self.MODEL,
                tr("Model to start from"),
                options=model_names() or [DEFAULT],
                defaultValue=DEFAULT,
                usesStaticStrings=True,
            ),
            tr("What it knows already is kept and adapted."),
        )
        self.add(
            QgsProcessingParameterFile(self.MODEL_FILE, tr("Model file, instead of the above"), optional=True),
            tr("A model file of your own, or a published checkpoint (.pth, .pkl) of Mask DINO."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(self.EPOCHS, tr("Epochs"), real, 20.0, minValue=0.01),
            tr("How often the whole data set is looked at."),
            decimals=2,
        )
        self.add(
            QgsProcessingParameterString(self.NAME, tr("Name of the new model"), "finetuned"),
            tr("Letters, digits, spaces, - and _."),
        )
        self.add(
            QgsProcessingParameterNumber(self.BATCH_SIZE, tr("Tiles a step"), whole, optional=True, minValue=1),
            tr("Without a number, that of the config. Less needs less memory."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(self.LEARNING_RATE, tr("Learning rate"), real, optional=True, minValue=0.0),
            tr("Without a number, that of the config."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterFile(self.CONFIG, tr("Config"), extension="yaml", optional=True),
            tr("A training config of your own, instead of the one for fine-tuning."),
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString(self.OVERRIDES, tr("Further changes to the config"), optional=True, multiLine=True),
            tr("One KEY=VALUE a line, such as data.size=320."),
            advanced=True,
        )
        self.add_option("DEVICE", tr("Device"), device_option(), advanced=True)
        self.add_option("RESUME", tr("Go on with the run in the folder"), options.train()["resume"])
        self.add(
            QgsProcessingParameterFolderDestination(self.OUTPUT, tr("Folder for the run")),
            tr("The model, checkpoints, figures and pictures of the run. A new folder, but for a run that goes on."),
        )
        self.addOutput(QgsProcessingOutputFile(self.TRAINED_MODEL, tr("Model file")))
        self.addOutput(QgsProcessingOutputNumber(self.STEPS, tr("Steps")))
        self.addOutput(QgsProcessingOutputNumber(self.AP50, tr("AP50 on the validation tiles")))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, tr("Time taken [s]")))

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        """Refuse early what cannot work."""
        folder = self.parameterAsString(parameters, self.DATASET, context)
        for side in SIDES:
            if not os.path.isdir(os.path.join(folder, side)):
                return False, tr(
                    "The data set {path} has no folder '{side}'. Export it with 'Split into training and validation'."
                ).format(path=folder, side=side)
        if parameters.get(self.OUTPUT) == QgsProcessing.TEMPORARY_OUTPUT:
            return False, tr("Choose a folder for the run: a temporary one, and hours of training, go when QGIS is closed.")
        for line in self._changes(parameters, context):
            if "=" not in line:
                return False, tr("'{line}' is no change to a config. Write KEY=VALUE, such as data.size=320.").format(line=line)
        return super().checkParameterValues(parameters, context)

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Train."""
        output = self.parameterAsFileOutput(parameters, self.OUTPUT, context)
        epochs = self.parameterAsDouble(parameters, self.EPOCHS, context)
        arguments = {
            "config": self.parameterAsFile(parameters, self.CONFIG, context) or "finetune",
            "overrides": self._overrides(parameters, context),
            "output": output,
            "resume": self.options_given(parameters, context)["resume"],
        }
        with self.explained(feedback), EngineEnvironment().engine(on_log=log_to(feedback)) as engine:
            answer = engine.run(
                "train",
                arguments,
                on_event=by_epoch(listener(feedback), epochs),
                is_cancelled=feedback.isCanceled,
                cancel_within=_CANCEL_WITHIN,
            )
        if answer.get("cancelled"):
            feedback.pushWarning(
                tr("Cancelled. The last checkpoint is in {path}; 'Go on with the run in the folder' continues.").format(
                    path=output
                )
            )
            return {self.OUTPUT: output}
        feedback.pushInfo(shown_file(answer["model"]))
        return {
            self.OUTPUT: output,
            self.TRAINED_MODEL: answer["model"],
            self.STEPS: answer["steps"],
            self.AP50: number(answer["figures"], "AP50"),
            self.SECONDS: answer["seconds"],
        }

    def _overrides(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        """Return the changes to the config, the user's own last."""
        folder = self.parameterAsString(parameters, self.DATASET, context)
        train, validation = (json.dumps(os.path.join(folder, side)) for side in SIDES)
        model = self.parameterAsFile(parameters, self.MODEL_FILE, context)
        model = model or model_argument(self.parameterAsString(parameters, self.MODEL, context))
        changes = [
            f"data.sources=[{{kind: coco, folder: {train}}}]",
            f"data.validation=[{{kind: coco, folder: {validation}}}]",
            f"start_from={json.dumps(model)}",
            f"name={json.dumps(self.parameterAsString(parameters, self.NAME, context))}",
            "run.steps=null",  # a config of one's own may count steps
            f"run.epochs={self.parameterAsDouble(parameters, self.EPOCHS, context):g}",
            f"run.device={self.options_given(parameters, context)['device']}",
        ]
        if parameters.get(self.BATCH_SIZE) is not None:
            changes.append(f"run.batch={self.parameterAsInt(parameters, self.BATCH_SIZE, context)}")
        if parameters.get(self.LEARNING_RATE) is not None:
            changes.append(f"optimizer.learning_rate={self.parameterAsDouble(parameters, self.LEARNING_RATE, context)}")
        return [*changes, *self._changes(parameters, context)]

    def _changes(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        lines = self.parameterAsString(parameters, self.OVERRIDES, context).splitlines()
        return [line.strip() for line in lines if line.strip()]


def by_epoch(on_event: Callable[[dict[str, Any]], None], epochs: float) -> Callable[[dict[str, Any]], None]:
    """Return a listener that hears of epochs too, where the engine counts steps."""

    def listen(event: dict[str, Any]) -> None:
        if event.get("event") == "progress" and event.get("total"):
            epoch = tr("epoch {now:.1f} of {all:g}").format(now=epochs * event["done"] / event["total"], all=epochs)
            event = {**event, "note": f"{epoch} · {event['note']}" if event.get("note") else epoch}
        on_event(event)

    return listen
