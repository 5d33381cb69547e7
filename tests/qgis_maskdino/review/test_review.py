"""Reviews of real layers: decisions reach them, nothing else of them changes, and their style comes back."""

from __future__ import annotations

import time

import pytest
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRectangle,
    QgsRenderContext,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.layers.detections import is_detections
from qgis_maskdino.layers.style import DETECTIONS, apply_style
from qgis_maskdino.review.accepted import write_accepted
from qgis_maskdino.review.review import Review
from qgis_maskdino.review.status_field import add_status, has_status, why_not_written
from qgis_maskdino.review.style import STYLE
from tests.qgis_maskdino.gui.panel_window import wait_for
from tests.qgis_maskdino.review.review_layers import file_layer, in_project, memory_layer, statuses

pytestmark = pytest.mark.usefixtures("qgis_app")

SCORES = (0.9, 0.55, 0.3, 0.7, 0.5, 0.1)


@pytest.fixture(autouse=True)
def project_is_left_empty():
    yield
    QgsProject.instance().clear()


@pytest.fixture(params=["memory", "GPKG", "ESRI Shapefile"])
def layer(request, tmp_path) -> QgsVectorLayer:
    """A layer of each kind that can be reviewed, with the field."""
    suffix = {"GPKG": "gpkg", "ESRI Shapefile": "shp"}.get(request.param)
    layer = file_layer(tmp_path / f"found.{suffix}", SCORES, driver=request.param) if suffix else memory_layer(SCORES)
    in_project(layer)
    apply_style(layer, DETECTIONS)
    assert not why_not_written(layer)
    assert add_status(layer)
    return layer


@pytest.fixture
def review(layer):
    review = Review(layer, "score")
    yield review
    review.deleteLater()


def score_of_current(review: Review) -> float | None:
    return None if review.current is None else review.current_score()


def drawn(layer: QgsVectorLayer) -> set[float]:
    """The scores of the features that the layer's renderer draws."""
    renderer, context = layer.renderer().clone(), QgsRenderContext()
    context.setExpressionContext(layer.createExpressionContext())
    renderer.startRender(context, layer.fields())
    seen = set()
    for feature in layer.getFeatures():
        context.expressionContext().setFeature(feature)
        if renderer.willRenderFeature(feature, context):
            seen.add(feature.attribute("score"))
    renderer.stopRender(context)
    return seen


def test_the_one_in_most_doubt_comes_first_and_decisions_reach_the_layer(review, layer):
    review.next()
    assert score_of_current(review) == 0.5
    assert review.accept() and score_of_current(review) == 0.55
    assert review.reject() and score_of_current(review) == 0.7
    review.next()
    assert score_of_current(review) == 0.9
    assert review.accept() and score_of_current(review) == 0.7  # passed over before
    assert review.accept() and review.current is None
    assert statuses(layer) == {0.1: None, 0.3: None, 0.5: "accepted", 0.55: "rejected", 0.7: "accepted", 0.9: "accepted"}
    assert (review.shown(), review.reviewed(), review.total()) == (4, 4, 6)
    review.end()


def test_each_step_can_be_taken_back(review, layer):
    before = statuses(layer)
    steps = [review.next, review.accept, review.next, review.reject, review.reject, review.accept]
    states = []
    for step in steps:
        states.append((score_of_current(review), statuses(layer)))
        step()
    for current, had in reversed(states[1:]):
        assert review.undo()
        assert (score_of_current(review), statuses(layer)) == (current, had)
    assert statuses(layer) == before
    assert not review.can_undo()
    review.end()


def test_the_score_hides_what_nobody_accepted_and_changes_nothing_in_the_layer(review, layer):
    told = []
    layer.attributeValueChanged.connect(lambda *change: told.append(change))
    review.next()
    review.accept()
    review.reject()  # 0.5 is accepted, 0.55 rejected
    assert drawn(layer) == {0.5, 0.55, 0.7, 0.9}
    decided = len(told)
    for score, seen in ((0.0, set(SCORES)), (0.6, {0.5, 0.7, 0.9}), (0.95, {0.5})):
        review.set_score(score)
        assert drawn(layer) == seen
        assert review.shown() == len(seen)
    assert len(told) == decided and layer.subsetString() == "" and layer.featureCount() == 6
    review.end()


def test_the_style_comes_back(layer):
    own, names = layer.renderer().dump(), layer.styleManager().styles()
    review = Review(layer, "score")
    assert layer.renderer().dump() != own
    review.set_score(0.6)
    review.end()
    assert (layer.renderer().dump(), layer.styleManager().styles()) == (own, names)
    assert drawn(layer) == set(SCORES)


def test_a_project_that_was_saved_in_a_review_has_the_layers_own_style(tmp_path):
    layer = in_project(file_layer(tmp_path / "found.gpkg", SCORES))
    apply_style(layer, DETECTIONS)
    add_status(layer)
    own = layer.renderer().type()
    review = Review(layer, "score")
    assert QgsProject.instance().write(str(tmp_path / "saved.qgz"))
    QgsProject.instance().clear()
    assert QgsProject.instance().read(str(tmp_path / "saved.qgz"))
    (again,) = QgsProject.instance().mapLayers().values()
    assert STYLE in again.styleManager().styles()
    review = Review(again, "score")
    review.end()
    assert STYLE not in again.styleManager().styles()
    assert again.renderer().type() == own


def test_a_style_that_the_user_takes_meanwhile_stays(layer):
    review = Review(layer, "score")
    layer.styleManager().addStyleFromLayer("mine")
    layer.styleManager().setCurrentStyle("mine")
    review.end()
    assert layer.styleManager().currentStyle() == "mine"
    assert STYLE not in layer.styleManager().styles()


def test_decisions_are_there_after_the_layer_is_opened_again(tmp_path):
    layer = in_project(file_layer(tmp_path / "found.gpkg", SCORES))
    add_status(layer)
    review = Review(layer, "score")
    review.next()
    review.accept()
    review.reject()
    review.end()
    QgsProject.instance().clear()
    again = in_project(QgsVectorLayer(str(tmp_path / "found.gpkg"), "again", "ogr"))
    assert not why_not_written(again)
    review = Review(again, "score")
    assert review.reviewed() == 2
    review.next()
    assert score_of_current(review) == 0.7
    review.end()


class TestEditSession:
    """Somebody edits the layer: their edits and ours are saved or discarded together, by them."""

    @pytest.fixture(params=["memory", "GPKG"])
    def layer(self, request, tmp_path):
        layer = file_layer(tmp_path / "found.gpkg", SCORES) if request.param == "GPKG" else memory_layer(SCORES)
        in_project(layer)
        add_status(layer)
        layer.startEditing()
        return layer

    def test_decisions_are_steps_of_the_session(self, review, layer):
        (longest,) = (feature.id() for feature in layer.getFeatures() if feature["score"] == 0.9)
        layer.changeGeometry(longest, QgsGeometry.fromRect(QgsRectangle(0, 0, 5, 5)))
        review.next()
        review.accept()
        assert layer.isModified() and layer.isEditable()
        assert statuses(layer)[0.5] == "accepted"
        layer.undoStack().undo()  # QGIS's own
        assert statuses(layer)[0.5] is None and review.reviewed() == 0
        layer.undoStack().redo()
        assert review.reviewed() == 1
        assert layer.commitChanges()
        assert statuses(layer)[0.5] == "accepted"
        assert layer.getFeature(longest).geometry().area() == 25
        assert review.reviewed() == 1
        review.end()

    def test_discarding_the_session_discards_its_decisions(self, review, layer):
        review.next()
        review.accept()
        assert review.reviewed() == 1
        assert layer.rollBack()
        assert review.reviewed() == 0 and set(statuses(layer).values()) == {None}
        assert review.undo()  # of a decision that is not there any more
        assert set(statuses(layer).values()) == {None}
        review.end()

    def test_features_that_go_and_come(self, review, layer):
        review.next()
        gone = review.current
        layer.deleteFeature(gone)
        assert review.current is None and review.total() == 5
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(0, 0, 5, 5)))
        feature.setAttribute("score", 0.52)
        layer.addFeature(feature)
        assert layer.commitChanges()
        assert review.total() == 6
        review.next()
        assert score_of_current(review) == 0.52
        review.accept()
        assert statuses(layer)[0.52] == "accepted"
        review.end()

    def test_many_edits_at_once_are_told_together(self, review, layer):
        told = []
        review.changed.connect(lambda: told.append(review.reviewed()))
        for feature in layer.getFeatures():
            layer.changeAttributeValue(feature.id(), layer.fields().indexOf("status"), "accepted")
        wait_for(lambda: told)
        assert told == [6]
        review.end()

    def test_the_field_is_not_added_to_a_session(self, tmp_path):
        layer = in_project(memory_layer(SCORES))
        layer.startEditing()
        assert "Save or discard" in why_not_written(layer)
        layer.rollBack()
        assert not why_not_written(layer)


class TestWhatCannotBeReviewed:
    @pytest.mark.parametrize(("driver", "suffix"), [("FlatGeobuf", "fgb"), ("GeoJSON", "geojson"), ("GML", "gml")])
    def test_a_format_in_which_no_single_feature_can_be_changed(self, tmp_path, driver, suffix):
        layer = file_layer(tmp_path / f"found.{suffix}", SCORES, driver=driver)
        assert layer.isValid()
        assert "GeoPackage" in why_not_written(layer)

    def test_a_layer_that_is_read_only(self):
        layer = memory_layer(SCORES)
        layer.setReadOnly(True)
        assert "cannot be changed" in why_not_written(layer)

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [("integer", 3, "holds no text"), ("string(3)", None, "too short"), ("string(20)", "built", "'built'")],
    )
    def test_a_field_of_this_name_that_is_something_else(self, field, value, said):
        layer = memory_layer([0.5], fields=f"field=score:double&field=status:{field}", status=[value])
        assert has_status(layer) and said in why_not_written(layer)

    def test_features_without_a_score_are_left_alone(self):
        layer = in_project(memory_layer([0.6, None, float("nan")]))
        add_status(layer)
        review = Review(layer, "score")
        assert (review.total(), review.shown()) == (1, 1)
        review.end()


def test_other_scores_than_shares_have_their_own_range():
    layer = in_project(memory_layer([12.5, 97.2, 55.0]))
    add_status(layer)
    review = Review(layer, "score")
    assert review.range() == (12.0, 98.0) and review.shown() == 3
    review.end()


@pytest.mark.parametrize("how", ["layer", "project", "field"])
def test_a_review_ends_with_its_layer(how, tmp_path):
    layer = in_project(file_layer(tmp_path / "found.gpkg", SCORES))
    add_status(layer)
    review, ends = Review(layer, "score"), []
    review.ended.connect(ends.append)
    review.next()
    if how == "layer":
        QgsProject.instance().removeMapLayer(layer.id())
    elif how == "project":
        QgsProject.instance().clear()
    else:
        layer.dataProvider().deleteAttributes([layer.fields().indexOf("status")])
        layer.updateFields()
    assert len(ends) == 1 and "The review ended" in ends[0]


class TestAccepted:
    def decided(self, layer: QgsVectorLayer) -> Review:
        review = Review(layer, "score")
        review.next()
        review.accept()
        review.reject()  # 0.5 is accepted, 0.55 rejected
        return review

    def test_what_was_accepted_becomes_annotations(self, layer, tmp_path):
        review = self.decided(layer)
        review.set_score(0.6)
        written = write_accepted(review, str(tmp_path / "accepted.gpkg"))
        assert statuses(written) == {0.5: "accepted"}
        assert written.crs() == layer.crs()
        assert not is_detections(written)
        review.end()

    def test_with_the_open_ones_they_are_detections_still(self, layer, tmp_path):
        review = self.decided(layer)
        written = write_accepted(review, str(tmp_path / "accepted.gpkg"), with_open=True)
        assert statuses(written) == {0.5: "accepted", 0.7: None, 0.9: None}
        assert is_detections(written)
        review.end()

    def test_what_cannot_be_written_is_told(self, layer, tmp_path):
        review = self.decided(layer)
        with pytest.raises(EngineError, match="cannot be written"):
            write_accepted(review, str(tmp_path / "no folder" / "accepted.gpkg"))
        review.end()


@pytest.mark.parametrize("ground", [QColor(235, 235, 230), QColor(25, 30, 25)], ids=["light", "dark"])
def test_accepted_rejected_and_open_are_told_apart_on_any_ground(ground):
    fields = "field=score:double&field=status:string(8)"
    layer = in_project(memory_layer([0.9, 0.9, 0.9], fields=fields, status=["accepted", "rejected", None]))
    review = Review(layer, "score")
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(QgsRectangle(500_003, 4_999_973, 500_033, 5_000_003))
    settings.setOutputSize(QSize(300, 300))
    settings.setBackgroundColor(ground)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    edges = []
    for number in range(3):
        column = 20 + 100 * number  # the left edge
        pixels = [image.pixelColor(column + step, row) for step in range(-3, 4) for row in range(150, 170)]
        lines = max(pixels, key=lambda colour: colour.saturation() * colour.value())
        darkest = min(pixels, key=lambda colour: colour.value())
        assert max(lines.value(), ground.value()) - min(darkest.value(), ground.value()) > 100
        edges.append(lines.hue())
    assert len({hue // 30 for hue in edges}) == 3
    review.end()


@pytest.mark.slow
def test_no_step_looks_at_all_of_100_000_detections(tmp_path):
    layer = in_project(file_layer(tmp_path / "many.gpkg", [(number % 1000) / 1000 for number in range(100_000)]))
    add_status(layer)
    review = Review(layer, "score")
    review.set_score(0.3)
    review.next()
    asked = []
    layer.getFeatures = lambda *request: asked.append(request)
    longest = 0.0
    for step in [review.accept, review.reject, review.next, review.undo] * 10:
        began = time.monotonic()
        step()
        review.feature()
        longest = max(longest, time.monotonic() - began)
    assert not asked
    assert longest < 1  # a scan of all takes about half a second; the disk of a busy machine is slow at times
    del layer.getFeatures
    review.end()
