"""What the pages of the panel have in common: a column that scrolls, a button, and a sentence that says why it is grey."""

from __future__ import annotations

from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QFormLayout,
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from qgis_maskdino.icons import icon
from qgis_maskdino.jobs.queue import Job


class Page(QWidget):
    """A page with a form, and a button below it that stays in sight.

    Signals:
        submitted: a job that the user wants done.
    """

    submitted = pyqtSignal(object)

    def __init__(self, *, button: str, icon_name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._column = QVBoxLayout()
        self._column.setContentsMargins(9, 9, 9, 9)
        self.run_button = QPushButton(icon(icon_name), button)
        self.run_button.setDefault(True)
        self.run_button.setMinimumHeight(32)
        self.run_button.clicked.connect(self.submit)
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.reason.hide()

        inside = QWidget()
        inside.setLayout(self._column)
        scroll = QScrollArea()
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        foot = QVBoxLayout()
        foot.setContentsMargins(9, 3, 9, 6)
        foot.addWidget(self.reason)
        foot.addWidget(self.run_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addLayout(foot)

    def job(self) -> Job | None:
        """Make the job that the page describes; None where the user was asked and would rather not.

        Not called while there is a reason why not.
        """
        raise NotImplementedError

    def why_not(self) -> str:
        """Say in a sentence why the page cannot be submitted yet; empty when it can."""
        raise NotImplementedError

    def show_result(self, job: Job) -> None:
        """Show what a job of this page brought."""

    def submit(self) -> None:
        """Hand in the job that the page describes."""
        job = None if self.why_not() else self.job()
        if job is not None:
            self.submitted.emit(job)

    def refresh(self) -> None:
        """Let the button and its sentence follow what was entered."""
        reason = self.why_not()
        self.run_button.setEnabled(not reason)
        self.run_button.setToolTip(reason)
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason))

    def add(self, widget: QWidget, *, label: str = "", tip: str = "") -> None:
        """Put a widget below the others, under a label of its own."""
        if label:
            caption = QLabel(label)
            caption.setBuddy(widget)
            caption.setToolTip(tip)
            self._column.addWidget(caption)
        if tip:
            widget.setToolTip(tip)
        self._column.addWidget(widget)

    def end_column(self) -> None:
        """Let the rest of the column stay empty."""
        self._column.addStretch(1)


def note(text: str = "") -> QLabel:
    """Return a small explaining text."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    font = label.font()
    font.setPointSizeF(max(font.pointSizeF() * 0.92, 7.0))
    label.setFont(font)
    return label


def form() -> QFormLayout:
    """Return an empty form whose fields are as wide as the panel lets them be."""
    layout = QFormLayout()
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return layout
