"""The class raster is the truth, pixel by pixel, wherever tiles meet; what cannot be is refused before any work."""

from __future__ import annotations

import threading
import time

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon, box

import engine
from engine.errors import ArgumentError, CancelledError, OutputError
from engine.segmentation import ScorePredictor
from engine.segmentation.scores import as_score_predictor
from tests.engine.raster.raster_files import UTM, UTM_TRANSFORM
from tests.engine.segmentation.colour_classes import (
    COLOURS,
    NAMES,
    ColourScores,
    EachTileItsOwn,
    landscape,
    values_of,
    write_landscape,
)

NODATA = 255


def to_map(col, row):
    return UTM_TRANSFORM.c + UTM_TRANSFORM.a * col, UTM_TRANSFORM.f + UTM_TRANSFORM.e * row


@pytest.mark.slow
@settings(max_examples=20)
@given(
    seed=st.integers(0, 999),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile_size=st.integers(16, 90),
    share=st.floats(0, 0.8),
    batch_size=st.integers(1, 5),
    workers=st.integers(1, 3),
)
def test_tiles_are_invisible(tmp_path_factory, seed, height, width, tile_size, share, batch_size, workers):
    """Of a predictor that sees the same wherever in a tile it looks, not a single pixel depends on how the raster is cut."""
    folder = tmp_path_factory.mktemp("segment")
    classes = landscape(seed, height, width)
    raster = write_landscape(folder / "land.tif", classes)
    engine.segment(
        raster,
        folder / "out.tif",
        predictor=ColourScores(tile_size),
        overlap=int(share * tile_size),
        batch_size=batch_size,
        workers=workers,
    )
    assert np.array_equal(values_of(folder / "out.tif"), classes)


def test_tiles_of_another_size_change_few_pixels_that_a_model_sees_by_their_surroundings(tmp_path):
    """The mean over 5 x 5 pixels differs at a tile's edge alone, where the tile weighs least."""

    class Blurred(ColourScores):
        def _scores(self, tile):
            padded = np.pad(super()._scores(tile), [(0, 0), (2, 2), (2, 2)], mode="edge")
            size = self.tile_size
            return sum(padded[:, r : r + size, c : c + size] for r in range(5) for c in range(5)) / 25

    raster = write_landscape(tmp_path / "land.tif", landscape(1, 300, 300))
    for name, tile_size, overlap in (("a", 64, None), ("b", 90, None), ("c", 128, 40)):
        engine.segment(raster, tmp_path / f"{name}.tif", predictor=Blurred(tile_size), overlap=overlap)
    one, *others = (values_of(tmp_path / f"{name}.tif") for name in "abc")
    assert max((one != other).mean() for other in others) < 0.002


def test_no_seam_appears_where_tiles_disagree(tmp_path):
    """From one tile to the next the probability goes over in small steps, though each tile says something else."""
    rng = np.random.default_rng(3)
    raster = write_landscape(tmp_path / "land.tif", rng.integers(0, 4, (192, 256)))
    engine.segment(raster, tmp_path / "out.tif", predictor=EachTileItsOwn(64), overlap=32, probabilities="tree")
    values = values_of(tmp_path / "out.tif").astype(int)
    steps = max(np.abs(np.diff(values, axis=axis)).max() for axis in (0, 1))
    assert np.ptp(values) > 60 and steps <= 254 / 32 * 2
    engine.segment(raster, tmp_path / "cut.tif", predictor=EachTileItsOwn(64), overlap=0, probabilities="tree")
    cut = values_of(tmp_path / "cut.tif").astype(int)
    assert np.abs(np.diff(cut, axis=1)).max() > 40  # which is what would be seen


@pytest.mark.parametrize("workers", [1, 4])
def test_threads_and_batches_change_no_bit(tmp_path, workers):
    raster = write_landscape(tmp_path / "land.tif", np.random.default_rng(3).integers(0, 4, (200, 260)))
    for name, options in (("a", {}), ("b", {"batch_size": 7, "workers": workers})):
        engine.segment(raster, tmp_path / f"{name}.tif", predictor=EachTileItsOwn(64), probabilities="road", **options)
    assert np.array_equal(values_of(tmp_path / "a.tif"), values_of(tmp_path / "b.tif"))


class TestAnotherResolution:
    def test_finer_for_the_model_and_coarser_again(self, tmp_path):
        classes = landscape(4, 90, 120, patch=12)
        raster = write_landscape(tmp_path / "land.tif", classes)
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64, gsd=0.1))
        assert summary.gsd == pytest.approx(0.1) and summary.megapixels == pytest.approx(9 * classes.size / 1e6)
        assert (values_of(tmp_path / "out.tif") != classes).mean() < 0.01

    def test_scores_are_resampled_and_not_classes(self, tmp_path):
        """At a third of the resolution, borders between two classes still run at the pixels of the raster."""
        classes = np.zeros((96, 96), np.uint8)
        classes[np.arange(96)[:, None] + np.arange(96) > 100] = 3
        raster = write_landscape(tmp_path / "land.tif", classes)
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(32, gsd=0.9))
        assert summary.gsd == pytest.approx(0.9)
        found = values_of(tmp_path / "out.tif")
        assert found.shape == classes.shape
        ends = np.array([np.flatnonzero(row == 3)[0] for row in found[20:80]])  # of a staircase of thirds, two steps of 3 are 0
        assert np.abs(np.diff(ends)).max() <= 2

    def test_no_data_and_area_are_those_of_the_raster_s_own_pixels(self, tmp_path):
        classes = landscape(5, 90, 120, patch=12)
        mask = np.random.default_rng(0).random(classes.shape) > 0.1
        raster = write_landscape(tmp_path / "land.tif", classes, mask=np.where(mask, 255, 0).astype(np.uint8))
        extent = (360_003.3, 3_049_976.1, 360_027.3, 3_049_997.0)  # columns 11 to 90, rows 10 to 79
        engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(32, gsd=0.72), extent=extent)
        inside = np.zeros(classes.shape, bool)
        inside[10:80, 11:91] = True
        found = values_of(tmp_path / "out.tif")
        assert np.array_equal(found != NODATA, inside & mask)


class TestFile:
    def test_it_lies_on_the_raster_s_own_grid_with_names_and_colours(self, tmp_path):
        classes = landscape(6, 700, 600)
        raster = write_landscape(tmp_path / "land.tif", classes)
        engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(256))
        with rasterio.open(raster) as source, rasterio.open(tmp_path / "out.tif") as out:
            assert (out.crs, out.transform, out.shape) == (source.crs, source.transform, source.shape)
            assert (out.count, out.dtypes, out.nodata) == (1, ("uint8",), NODATA)
            assert out.profile["tiled"] and out.compression.name == "deflate"
            assert out.overviews(1) == [2, 4]
            colours = out.colormap(1)
            assert len({colours[number] for number in range(len(NAMES))}) == len(NAMES)
            assert out.tags()["classes"] == '["road", "building", "tree", "water"]'
            assert out.tags()["model"] == "colours" and out.tags()["raster"] == "land.tif"
        side = (tmp_path / "out.tif.aux.xml").read_text()
        assert "<Category>road</Category>" in side and "<Category>water</Category>" in side
        assert {path.name for path in tmp_path.iterdir()} == {"land.tif", "out.tif", "out.tif.aux.xml"}

    def test_overviews_show_the_most_frequent_class(self, tmp_path):
        classes = np.zeros((600, 600), np.uint8)
        classes[::2, ::2] = 2  # a quarter
        engine.segment(
            write_landscape(tmp_path / "land.tif", classes), tmp_path / "out.tif", predictor=ColourScores(200), overlap=0
        )
        with rasterio.open(tmp_path / "out.tif", overview_level=0) as out:
            assert (out.read(1) == 0).all()

    @pytest.mark.parametrize(
        "transform", [Affine(0.3, 0.1, 360_000, 0.1, -0.3, 3_050_000), Affine(0.3, 0, 360_000, 0, 0.3, 3_050_000)]
    )
    def test_rotated_or_south_up(self, tmp_path, transform):
        classes = landscape(7, 80, 100)
        raster = write_landscape(tmp_path / "land.tif", classes, transform=transform)
        engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64))
        assert np.array_equal(values_of(tmp_path / "out.tif"), classes)
        with rasterio.open(tmp_path / "out.tif") as out:
            assert out.transform == transform

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_a_picture_without_georeference_stays_one(self, tmp_path):
        classes = landscape(7, 80, 100)
        raster = write_landscape(tmp_path / "land.tif", classes, crs=None, transform=None)
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64))
        with rasterio.open(tmp_path / "out.tif") as out:
            assert out.crs is None and out.transform.is_identity
        assert np.isnan(summary.classes["road"].area_m2)

    def test_probabilities_of_one_class(self, tmp_path):
        classes = landscape(8, 90, 130)
        raster = write_landscape(tmp_path / "land.tif", classes)
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64), probabilities="Tree")
        values = values_of(tmp_path / "out.tif")
        scores = ColourScores()._scores(COLOURS[2].reshape(3, 1, 1).astype(np.float32))[:, 0, 0]
        assert (values[classes == 2] == round(254 * scores[2] / scores.sum())).all()
        assert values[classes == 3].max() < 60
        assert list(summary.classes) == ["tree"] and summary.classes["tree"].pixels == (classes == 2).sum()
        with rasterio.open(tmp_path / "out.tif") as out:
            assert out.scales == (1 / 254,) and out.descriptions == ("probability of tree",)
        assert {path.name for path in tmp_path.iterdir()} == {"land.tif", "out.tif"}  # no legend of classes beside it


class TestWhere:
    def test_no_data_stays_no_data(self, tmp_path):
        classes = landscape(9, 140, 150)
        mask = np.random.default_rng(1).random(classes.shape) > 0.2
        mask[:100, :70] = False  # whole tiles
        raster = write_landscape(tmp_path / "land.tif", classes, mask=np.where(mask, 255, 0).astype(np.uint8))
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(32), overlap=8)
        assert np.array_equal(values_of(tmp_path / "out.tif"), np.where(mask, classes, NODATA))
        assert summary.tiles_seen < summary.tiles
        assert sum(cover.pixels for cover in summary.classes.values()) == mask.sum()

    def test_an_area_with_a_hole(self, tmp_path):
        classes = landscape(10, 200, 240)
        raster = write_landscape(tmp_path / "land.tif", classes)
        shell, hole = ((20, 30), (150, 40), (180, 160), (60, 170)), ((80, 80), (120, 80), (120, 120), (80, 120))
        shell, hole = ([to_map(*point) for point in ring] for ring in (shell, hole))
        area = geopandas.GeoSeries([Polygon(shell, [hole])], crs=UTM)
        area.to_crs("EPSG:4326").to_file(tmp_path / "area.gpkg")
        engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(32), aoi=tmp_path / "area.gpkg")
        found = values_of(tmp_path / "out.tif")
        cols, rows = np.meshgrid(np.arange(240) + 0.5, np.arange(200) + 0.5)
        points = geopandas.GeoSeries.from_xy(*to_map(cols.ravel(), rows.ravel()), crs=UTM)
        inside = points.within(area[0]).to_numpy().reshape(classes.shape)
        on_border = points.distance(area[0].boundary).to_numpy().reshape(classes.shape) < 0.02
        expected = np.where(inside, classes, NODATA)
        assert np.array_equal(found[~on_border], expected[~on_border])

    def test_what_is_far_from_the_area_is_neither_seen_nor_stored(self, tmp_path):
        raster = write_landscape(tmp_path / "land.tif", landscape(11, 2000, 1500))
        x, y = to_map(700, 900)
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64), extent=(x, y - 30, x + 30, y))
        assert summary.tiles_seen == summary.tiles <= 25
        assert (values_of(tmp_path / "out.tif") != NODATA).sum() == 100 * 100
        with rasterio.open(tmp_path / "out.tif") as out:
            assert out.shape == (2000, 1500)
        assert (tmp_path / "out.tif").stat().st_size < 40_000

    def test_classes_that_are_not_asked_for_have_no_data(self, tmp_path):
        classes = landscape(12, 90, 100)
        raster = write_landscape(tmp_path / "land.tif", classes)
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64), classes="WATER, road")
        assert np.array_equal(values_of(tmp_path / "out.tif"), np.where(np.isin(classes, (0, 3)), classes, NODATA))
        assert list(summary.classes) == ["road", "water"]

    @pytest.mark.parametrize(("crs", "size"), [(UTM, 0.3), ("EPSG:4326", 3e-6), ("EPSG:3857", 0.3)])
    def test_areas_are_true_ground(self, tmp_path, crs, size):
        classes = landscape(13, 130, 150)
        at = {"EPSG:4326": (85.5, 60.0), "EPSG:3857": (9_500_000, 8_400_000)}.get(crs, (360_000, 3_050_000))
        transform = Affine(size, 0, at[0], 0, -size, at[1])
        raster = write_landscape(tmp_path / "land.tif", classes, crs=crs, transform=transform)
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64))
        whole = box(*rasterio.transform.array_bounds(130, 150, transform))
        lonlat = geopandas.GeoSeries([whole.segmentize(size * 10)], crs=crs).to_crs("EPSG:4326")
        true = abs(lonlat.crs.get_geod().geometry_area_perimeter(lonlat[0])[0])
        assert sum(cover.area_m2 for cover in summary.classes.values()) == pytest.approx(true, rel=1e-4)
        for number, cover in enumerate(summary.classes.values()):
            assert cover.pixels == (classes == number).sum()
            assert cover.area_m2 == pytest.approx(true * cover.pixels / classes.size, rel=1e-4)


class TestErrors:
    @pytest.fixture
    def raster(self, tmp_path):
        return write_landscape(tmp_path / "land.tif", landscape(14, 70, 80))

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"output": "out.gpkg"}, "the extension '.gpkg'"),
            ({"output": "out"}, "no extension"),
            ({"output": "land.tif"}, "is a file that is read too"),
            ({"classes": "rood"}, "Did you mean 'road'"),
            ({"probabilities": "sky"}, "no class 'sky'"),
            ({"probabilities": "road", "classes": "road"}, "Give --classes or --probabilities, not both"),
            ({"overlap": 64}, "overlap is 64 with tiles of 64"),
            ({"extent": (0, 0, 1, 1)}, "lies beside"),
        ],
    )
    def test_one_sentence_and_nothing_left(self, tmp_path, raster, arguments, says):
        arguments = {"output": "out.tif", **arguments}
        before = {path.name for path in tmp_path.iterdir()}
        with pytest.raises(ArgumentError, match=says):
            engine.segment(raster, tmp_path / arguments.pop("output"), predictor=ColourScores(64), **arguments)
        assert {path.name for path in tmp_path.iterdir()} == before

    def test_more_classes_than_numbers(self, tmp_path, raster):
        class Many(ColourScores):
            classes = tuple(f"class {number}" for number in range(255))

            def _scores(self, tile):
                return np.ones((255, self.tile_size, self.tile_size), np.float32)

        with pytest.raises(ArgumentError, match="has 255 classes, and a class raster holds at most 254"):
            engine.segment(raster, tmp_path / "out.tif", predictor=Many(64))
        engine.segment(raster, tmp_path / "out.tif", predictor=Many(64), probabilities="class 254")
        assert (values_of(tmp_path / "out.tif") == 1).all()

    @pytest.mark.parametrize(
        ("scores", "says"),
        [
            (np.ones((3, 64, 64)), r"scores of shape \(3, 64, 64\)"),
            (np.full((4, 64, 64), -1.0), "the score -1"),
            (np.full((4, 64, 64), np.nan), "the score nan"),
        ],
    )
    def test_what_a_predictor_gives_has_to_fit(self, tmp_path, raster, scores, says):
        predictor = ColourScores(64)
        predictor._scores = lambda tile: scores
        with pytest.raises(ArgumentError, match=says):
            engine.segment(raster, tmp_path / "out.tif", predictor=predictor)
        assert not (tmp_path / "out.tif").exists()

    def test_a_file_of_somebody_else_is_replaced_only_where_that_is_asked_for(self, tmp_path, raster):
        other = write_landscape(tmp_path / "ortho.tif", landscape(15, 30, 30))
        before = other.read_bytes()
        with pytest.raises(OutputError, match=r"ortho\.tif is there, and is no raster that this program wrote.*--overwrite"):
            engine.segment(raster, other, predictor=ColourScores(64))
        assert other.read_bytes() == before
        for options in ({"overwrite": True}, {}):  # the second time it is one of this program
            engine.segment(raster, other, predictor=ColourScores(64), **options)
        assert values_of(other).shape == (70, 80)

    def test_a_failure_leaves_what_was_there(self, tmp_path, raster):
        engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64))
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        predictor = ColourScores(64)
        predictor._scores = lambda tile: 1 / 0
        with pytest.raises(ZeroDivisionError):
            engine.segment(raster, tmp_path / "out.tif", predictor=predictor)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pixels_that_no_class_has_a_score_for_have_no_data(tmp_path):
    classes = landscape(16, 60, 60)
    predictor = ColourScores(64)
    plain = predictor._scores
    predictor._scores = lambda tile: np.where(tile[2] > 200, 0, plain(tile))  # water is blue
    engine.segment(write_landscape(tmp_path / "land.tif", classes), tmp_path / "out.tif", predictor=predictor)
    assert np.array_equal(values_of(tmp_path / "out.tif"), np.where(classes == 3, NODATA, classes))


def test_a_predictor_that_derives_from_the_class_says_what_it_wants_alone():
    class Derived(ScorePredictor):
        tile_size, gsd, bands, classes = 64, None, 3, NAMES

        def scores(self, tiles):
            return [np.ones((4, 64, 64), np.float32) for _ in tiles]

    predictor = Derived()
    assert (as_score_predictor(predictor), predictor.device, predictor.batch_size) == (predictor, "cpu", 1)
    assert predictor.identity.endswith("Derived")
    stand_in = as_score_predictor(ColourScores(48, identity="known"))
    assert (stand_in.tile_size, stand_in.classes, stand_in.identity, stand_in.device) == (48, NAMES, "known", "cpu")


def test_progress_counts_up_to_the_end_in_megapixels_too(tmp_path):
    seen = []
    raster = write_landscape(tmp_path / "land.tif", landscape(17, 300, 500))
    engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64, seconds=0.01), progress=seen.append)
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert seen[-1].done == seen[-1].total and seen[-1].note == "0.1 of 0.1 MPix" and seen[-1].buildings is None
    assert any(each.seconds_left for each in seen) and seen[-1].megapixels_per_second > 0


class TestCancel:
    def test_what_is_done_is_kept_and_nothing_stands_under_the_name(self, tmp_path):
        classes = landscape(18, 400, 300)
        raster = write_landscape(tmp_path / "land.tif", classes)
        predictor = ColourScores(64, seconds=0.01)
        with pytest.raises(CancelledError, match=r"rows of tiles are kept, and --resume goes on"):
            engine.segment(raster, tmp_path / "out.tif", predictor=predictor, cancel=lambda: len(predictor.batches) > 30)
        assert {path.name for path in tmp_path.iterdir()} == {"land.tif", "out.tif.progress"}
        summary = engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64), resume=True)
        assert 0 < summary.tiles_seen < summary.tiles
        assert np.array_equal(values_of(tmp_path / "out.tif"), classes)
        assert [cover.pixels for cover in summary.classes.values()] == np.bincount(classes.ravel(), minlength=4).tolist()
        assert {path.name for path in tmp_path.iterdir()} == {"land.tif", "out.tif", "out.tif.aux.xml"}

    def test_before_anything_was_done(self, tmp_path):
        raster = write_landscape(tmp_path / "land.tif", landscape(18, 100, 100))
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(CancelledError):
            engine.segment(raster, tmp_path / "out.tif", predictor=ColourScores(64), cancel=cancel)
        assert {path.name for path in tmp_path.iterdir()} == {"land.tif"}

    def test_a_slow_model_is_not_waited_for(self, tmp_path):
        raster = write_landscape(tmp_path / "land.tif", landscape(18, 100, 100))
        predictor = ColourScores(64, seconds=6)
        began = []

        def cancel():
            began.append(time.monotonic())
            return bool(predictor.batches)

        with pytest.raises(CancelledError):
            engine.segment(raster, tmp_path / "out.tif", predictor=predictor, cancel=cancel)
        assert time.monotonic() - began[-1] < 2
