"""Options are declared once: command line, Python and the service follow from the declaration, and refuse in one sentence."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import engine
from engine.commands import command_modules, load_command
from engine.commands.command_line import terminal_command
from engine.detection.polygons.request import RegularizeRequest
from engine.detection.request import DetectRequest
from engine.detection.settings import Settings
from engine.errors import ArgumentError, MaskDinoError, RequestError
from engine.request import Bands, Names, Request, argument, option

SERVED = [name for name in command_modules() if hasattr(load_command(name), "serve")]


class TownRequest(Request):
    """One option of each kind."""

    command = "town"

    raster: str = argument("What to read.", metavar="RASTER")
    output: str = option(..., "What to write.", "-o", "--output", metavar="FILE")
    words: tuple[str, ...] = argument("What else.", metavar="WORDS", default=())
    json_file: str | None = option(None, "Figures.", alias="json")
    score: float = option(0.5, "How sure.", ge=0, le=1)
    tiles: int | None = option(None, "How many.", ge=1)
    extent: tuple[float, float, float, float] | None = option(None, "Where.")
    bands: Bands | None = option(None, "Which.", metavar="1,2,3")
    classes: Names | None = option(None, "Which.", metavar="NAMES")
    outline: Literal["regular", "raw"] = option("regular", "How.")
    half_size: bool = option(False, "Half.")


def on_terminal(*words: object) -> TownRequest | Result:
    """Return the request that a command line makes; what the program made of it otherwise."""
    made = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(terminal_command(TownRequest)(made.append))
    done = CliRunner().invoke(app, list(map(str, words)))
    return made[0] if made else done


def test_a_command_line_is_a_request():
    assert on_terminal("a.tif", "-o", "b.gpkg") == TownRequest.checked(raster="a.tif", output="b.gpkg")
    words = [
        "a.tif", "-o", "b.gpkg", "x=1", "y=2", "--json", "c.json", "--score", 1, "--tiles", 3, "--extent", -1, 2, "3.5", 4,
        "--bands", "3,2,1", "--classes", "car, truck", "--outline", "raw", "--half-size",
    ]  # fmt: skip
    assert on_terminal(*words) == TownRequest.checked(
        raster="a.tif", output="b.gpkg", words=["x=1", "y=2"], json="c.json", score=1.0, tiles=3, extent=(-1, 2, 3.5, 4),
        bands=(3, 2, 1), classes=["car", "truck"], outline="raw", half_size=True,
    )  # fmt: skip


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "score": st.floats(0, 1),
            "tiles": st.integers(1, 2**62),
            "bands": st.lists(st.integers(1, 999), min_size=1),
            "classes": st.lists(st.text("abc é", min_size=1).map(str.strip).filter(bool), min_size=1),
            "extent": st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 4),
            "outline": st.sampled_from(["regular", "raw"]),
        },
    )
)
def test_what_a_terminal_writes_and_what_python_gives_is_the_same(options):
    words = []
    for name, value in options.items():
        commas = name in ("bands", "classes")
        texts = [",".join(map(str, value))] if commas else map(repr, value) if name == "extent" else [str(value)]
        words += [f"--{name}", *texts]
    assert on_terminal("a", "-o", "b", *words) == TownRequest.checked(raster="a", output="b", **options)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["a"], 2, "--output"),
        (["a", "-o", "b", "--outline", "fancy"], 2, "--outline"),
        (["a", "-o", "b", "--tiles", "1.5"], 2, "--tiles"),
        (["a", "-o", ""], 2, "output is ''; it should be a text that is not empty."),
        (["a", "-o", "b", "--tiles", 0], 1, "tiles is 0; it should be at least 1."),
        (["a", "-o", "b", "--score", 2], 1, "score is 2.0; it should be at most 1."),
        (["a", "-o", "b", "--score", "nan"], 1, "score is nan; it should be a finite number."),
        (
            ["a", "-o", "b", "--bands", "red"],
            1,
            "bands is 'red'; it should be numbers of bands, counted from 1, such as 1,2,3.",
        ),
        (["a", "-o", "b", "--bands", "0,1"], 1, "bands is '0,1'; it has an entry that should be at least 1."),
        (["a", "-o", "b", "--classes", "car,"], 1, "classes is 'car,'; it should be names with commas between them"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words, status, says):
    done = on_terminal(*words)
    assert done.exit_code == status
    assert says in (str(done.exception) if status == 1 else " ".join(done.output.replace("\n", " ").split()))
    assert status == 2 or isinstance(done.exception, ArgumentError)


def test_python_may_give_paths_arrays_and_lists():
    request = TownRequest.checked(
        raster=Path("a"), output=Path("b"), score=np.float32(0.25), tiles=np.int64(3), extent=np.arange(4.0), bands=[1, 2]
    )
    assert (request.raster, request.score, request.tiles) == ("a", 0.25, 3)
    assert (request.extent, request.bands) == ((0, 1, 2, 3), (1, 2))


@pytest.mark.parametrize("given", [{"score": "0.5"}, {"score": True}, {"tiles": 1.5}, {"half_size": 1}, {"extent": [1, 2, 3]}])
def test_nothing_is_guessed(given):
    with pytest.raises(RequestError) as caught:
        TownRequest.checked(raster="a", output="b", **given)
    assert caught.value.field == next(iter(given))
    assert "\n" not in str(caught.value)


def test_a_file_whose_name_is_no_utf_8_is_a_file():
    assert TownRequest.checked(raster="\udcff.tif", output="b").raster == "\udcff.tif"


@pytest.mark.parametrize("name", ["cls", "self", "checked", "raster ", ""])
def test_whatever_an_unknown_option_is_called_it_is_named(name):
    with pytest.raises(RequestError) as caught:
        TownRequest.checked(raster="a", output="b", **{name: 1})
    assert caught.value.field == name


@pytest.mark.parametrize("command", SERVED)
def test_every_option_that_is_served_is_explained_and_on_the_command_line(command):
    module = load_command(command)
    request = module.serve.request
    assert request.command == command
    for field in request.options().values():
        assert field.description.endswith("."), field
    if command != "models":  # a group
        shown = inspect.signature(getattr(module, command, module.command)).parameters
        assert set(shown) >= set(request.model_fields)


@pytest.mark.parametrize(("function", "request_model"), [("detect", DetectRequest), ("regularize", RegularizeRequest)])
def test_python_has_the_options_of_the_command_with_their_defaults(function, request_model):
    """Two lists stand twice: people and their editors read the signatures of functions."""
    parameters = inspect.signature(getattr(engine, function)).parameters
    own = {"predictor", "progress", "cancel"}
    assert set(parameters) - own == set(request_model.model_fields)
    for name, field in request_model.model_fields.items():
        default = inspect.Parameter.empty if field.is_required() else field.default
        assert parameters[name].default == default, name


def test_settings_are_what_shapes_a_detection():
    request = DetectRequest.checked(raster="a", output="b", score=0.25, bands=[1], device="cpu")
    assert request.settings() == Settings(score=0.25, bands=(1,))


@pytest.mark.parametrize(
    "given", [{"aoi": "a", "extent": [0, 0, 1, 1]}, {"layer": "a", "overwrite": True}, {"deterministic": True, "compile": True}]
)
def test_options_that_do_not_go_together(given):
    with pytest.raises(MaskDinoError, match=r"not both|goes neither") as caught:
        DetectRequest.checked(raster="a", output="b", **given)
    assert caught.value.field in given
