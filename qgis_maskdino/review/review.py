"""A review of a layer of detections: which ones are shown, which is next, what was decided, and how to go back. No widgets."""

from __future__ import annotations

from math import ceil, floor

from qgis.core import QgsFeature, QgsVectorLayer
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from qgis_maskdino.review.order import ACCEPTED, OPEN, REJECTED, ReviewOrder
from qgis_maskdino.review.status_field import STATUS_FIELD, scores_and_statuses, status_of, write_status
from qgis_maskdino.review.style import ReviewStyle
from qgis_maskdino.translation import tr

_USUAL_SCORE = 0.5


class Review(QObject):
    """Reviews a layer that has the status field. Its attributes are read once; each step after that looks at one feature.

    Features without a score are neither shown nor reviewed.

    Args:
        layer: of polygons.
        score_field: a field of numbers.

    Attributes:
        layer: as given.
        score: the threshold; what has less is hidden unless somebody accepted it.
        current: feature id of the detection that is being looked at; None where none is.

    Signals:
        changed: a decision, the threshold or the current detection.
        ended: the review is over, with a sentence where the user did not end it.
    """

    changed = pyqtSignal()
    ended = pyqtSignal(str)

    def __init__(self, layer: QgsVectorLayer, score_field: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.layer = layer
        self.current: int | None = None
        self._score_field = score_field
        self._steps: list[tuple[int, str]] = []  # a detection that was left, and the status that it had before
        self._order = ReviewOrder(scores_and_statuses(layer, score_field))
        low, high = self.range()
        self.score = _USUAL_SCORE if low <= _USUAL_SCORE <= high else low
        self._style = ReviewStyle(layer, score_field)
        self._style.show_from(self.score)
        self._edits = QTimer(self)  # edits of others may be many at once: what shows the review hears of them together
        self._edits.setSingleShot(True)
        self._edits.timeout.connect(self.changed)
        self._connections = (
            (layer.attributeValueChanged, self._follow),  # our decisions, and whatever else changes the two fields
            (layer.featureDeleted, self._forget),
            (layer.afterCommitChanges, self._read_anew),  # new features have other ids now
            (layer.afterRollBack, self._read_anew),
            (layer.updatedFields, self._check_fields),
            (layer.willBeDeleted, self._layer_goes),
        )
        for signal, slot in self._connections:
            signal.connect(slot)

    def range(self) -> tuple[float, float]:
        """Return the lowest and the highest threshold that make sense: 0 and 1, or whole numbers around other scores."""
        low, high = self._order.range() if len(self._order) else (0.0, 1.0)
        return (0.0, 1.0) if low >= 0 and high <= 1 else (float(floor(low)), float(ceil(high)))

    def set_score(self, score: float) -> None:
        """Hide what has a lower score. The next detection is then the one in most doubt; nothing in the layer changes."""
        if score != self.score:
            self.score, self.current = score, None
            self._style.show_from(score)
            self.changed.emit()

    def shown(self) -> int:
        """Return how many detections are shown."""
        return self._order.count(ACCEPTED) + sum(self._order.count(status, self.score) for status in (REJECTED, OPEN))

    def reviewed(self) -> int:
        """Return how many of those that are shown were accepted or rejected."""
        return self.shown() - self._order.count(OPEN, self.score)

    def total(self) -> int:
        """Return how many detections the layer has."""
        return len(self._order)

    def accepted(self, *, with_open: bool = False) -> list[int]:
        """Return the feature ids of what was accepted, whatever its score.

        Args:
            with_open: those too that are shown and that nobody has decided about.
        """
        return self._order.fids(ACCEPTED) + (self._order.fids(OPEN, self.score) if with_open else [])

    def accepted_count(self, *, with_open: bool = False) -> int:
        """Return the number of those."""
        return self._order.count(ACCEPTED) + (self._order.count(OPEN, self.score) if with_open else 0)

    def status(self) -> str:
        """Return the status of the current detection; there is one."""
        return self._order.status(self.current)

    def current_score(self) -> float:
        """Return the score of the current detection; there is one."""
        return self._order.score(self.current)

    def feature(self) -> QgsFeature:
        """Return the current detection; it is not valid where there is none."""
        return QgsFeature() if self.current is None else self.layer.getFeature(self.current)

    def next(self) -> None:
        """Go to the next detection that nobody decided about: of those that are shown, the lowest score first."""
        if self.current is not None:
            self._steps.append((self.current, self._order.status(self.current)))
        self._go_on()

    def accept(self) -> bool:
        """Accept the current detection and go to the next; return whether it could be written."""
        return self._decide(ACCEPTED)

    def reject(self) -> bool:
        """Reject the current detection and go to the next; return whether it could be written."""
        return self._decide(REJECTED)

    def can_undo(self) -> bool:
        """Return whether there is a step to take back."""
        return bool(self._steps)

    def undo(self) -> bool:
        """Take the last step back: the detection that was left is the current one, with the status that it had."""
        while self._steps:
            fid, status = self._steps.pop()
            if fid not in self._order:  # deleted meanwhile
                continue
            written = self._order.status(fid) == status or write_status(self.layer, fid, status)
            self.current = fid
            self.changed.emit()
            return written
        return True

    def end(self, why: str = "") -> None:
        """Give the layer its own style back. Decisions stay; the review is not used after that."""
        self._disconnect()
        self._style.remove()
        self.ended.emit(why)

    def _decide(self, status: str) -> bool:
        if self.current is None:
            return True
        fid, before = self.current, self._order.status(self.current)
        if before != status and not write_status(self.layer, fid, status):
            return False
        self._steps.append((fid, before))
        self._go_on()
        self.layer.triggerRepaint()
        return True

    def _go_on(self) -> None:
        self.current = self._order.next_open(self.score, after=self.current)
        self.changed.emit()

    def _follow(self, fid: int, field: int, value: object) -> None:
        name = self.layer.fields().field(field).name()
        if name == STATUS_FIELD and fid in self._order:
            self._order.put(fid, self._order.score(fid), status_of(value))
            self._edits.start()
        elif name == self._score_field:
            status = self._order.status(fid) if fid in self._order else OPEN
            self._forget(fid)
            if isinstance(value, (int, float)):
                self._order.put(fid, float(value), status)

    def _forget(self, fid: int) -> None:
        self._order.remove(fid)
        if self.current == fid:
            self.current = None
        self._edits.start()

    def _read_anew(self) -> None:
        if not self._check_fields():
            return
        self._order = ReviewOrder(scores_and_statuses(self.layer, self._score_field))
        if self.current is not None and self.current not in self._order:
            self.current = None
        self.changed.emit()

    def _check_fields(self) -> bool:
        there = {STATUS_FIELD, self._score_field} <= set(self.layer.fields().names())
        if not there:
            self.end(tr("The review ended: a field that it needs was removed from the layer."))
        return there

    def _layer_goes(self) -> None:
        self._disconnect()
        self.current = None
        self.ended.emit(tr("The review ended: its layer was removed. Decisions that were written stay in the file."))

    def _disconnect(self) -> None:
        self._edits.stop()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self._connections = ()
