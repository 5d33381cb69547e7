"""The program from outside: exit statuses, one line on standard error, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import geopandas
import pytest
import shapely

from engine.commands import command_modules
from tests.engine.detection.repeated_raster import write_repeated


def maskdino(*arguments, cwd=None, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, **options
    )


def assert_one_line(done: subprocess.CompletedProcess, *words: str) -> None:
    """Exit status 1, one line on standard error with these words, no traceback anywhere."""
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("maskdino: ")
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr


def test_help_names_every_command_and_needs_no_torch(project):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "engine", "--help"], capture_output=True, text=True, cwd=project
    )
    assert done.returncode == 0
    for name in command_modules():
        assert f"  {name} " in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "engine.cli" in imported
    assert not imported & {"torch", "rasterio", "geopandas", "numpy", "timm"}


@pytest.mark.parametrize("command", list(command_modules()))
def test_each_command_has_a_help_page(command):
    done = maskdino(command, "--help")
    assert done.returncode == 0
    assert "Usage: maskdino" in done.stdout


def shell(command: str) -> subprocess.CompletedProcess:
    program = f"{sys.executable} -m engine"
    return subprocess.run(["bash", "-c", command.replace("MASKDINO", program)], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_job_outlives_its_standard_output(scene, tiny_model, tmp_path):
    for number, end in enumerate((">&-", "| head -1 > /dev/null; exit ${PIPESTATUS[0]}", "| true; exit ${PIPESTATUS[0]}")):
        output = tmp_path / f"{number}.gpkg"
        done = shell(f"MASKDINO detect {scene} -o {output} --model {tiny_model} {end}")
        assert (done.returncode, done.stderr) == (0, ""), end
        assert {"score", "area_m2"} <= set(geopandas.read_file(output))


@pytest.mark.parametrize("arguments", ["models list", "models list --json", "--version", "detect --help"])
def test_words_that_are_lost_on_a_full_disk_are_one_line(arguments):
    done = shell(f"MASKDINO {arguments} > /dev/full")
    assert_one_line(done, "No space left")
    for end in (">&-", "| true; exit ${PIPESTATUS[0]}"):
        assert shell(f"MASKDINO {arguments} {end}").stderr == ""


@pytest.mark.slow
def test_names_beyond_all_measure_are_one_line(scene, tiny_model, tmp_path):
    name = tmp_path / ("n" * 300)
    for arguments in (("detect", f"{name}.tif", "-o", tmp_path / "o.gpkg"), ("detect", scene, "-o", f"{name}.gpkg"),
                      ("detect", scene, "-o", tmp_path / "o.gpkg", "--aoi", name), ("models", "info", name),
                      ("detect", scene, "-o", tmp_path / "o.gpkg", "--model", name),
                      ("detect", scene, "-o", tmp_path / "o.gpkg", "--model", tiny_model, "--aoi", tmp_path)):  # fmt: skip
        done = maskdino(*arguments)
        assert_one_line(done)
        assert "should not happen" not in done.stderr


def test_version(project):
    done = maskdino("--version")
    assert f"version={done.stdout.split()[1]}\n" in (project / "metadata.txt").read_text()


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("detect",), ("detect", "a.tif"), ("detect", "a.tif", "-o", "b.gpkg", "--score", "high"),
     ("detect", "a.tif", "-o", "b.gpkg", "--extent", "1", "2"), ("detect", "a.tif", "-o", "b.gpkg", "--wobble"),
     ("detect", "a.tif", "-o", "b.gpkg", "--outline", "fancy"),
     ("detect", "a.tif", "-o", "b.gpkg", "--aoi", "c.gpkg", "--extent", "1", "2", "3", "4")],
)  # fmt: skip
def test_wrong_usage_is_status_2(arguments, tmp_path):
    done = maskdino(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_deterministic_means_the_same_bytes_for_any_threads_workers_and_batches(scene, tmp_path):
    """With the embedded model, whose scores differ in the sixth decimal otherwise."""
    written = []
    for threads, more in (("1", ()), ("2", ("--batch-size", "3")), ("2", ("--workers", "3")), ("4", ())):
        output = tmp_path / f"{len(written)}.geojson"
        done = maskdino("detect", scene, "-o", output, "--score", "0.05", "--deterministic", *more,
                        env={**os.environ, "OMP_NUM_THREADS": threads})  # fmt: skip
        assert done.returncode == 0, done.stderr
        written.append(output.read_bytes())
    assert written[0].count(b"area_m2") > 3 and len(set(written)) == 1


@pytest.mark.parametrize("other", [("--precision", "bfloat16"), ("--compile",)])
def test_what_deterministic_does_not_go_with_is_one_line(other, scene, tiny_model, tmp_path):
    done = maskdino("detect", scene, "-o", tmp_path / "o.gpkg", "--model", tiny_model, "--deterministic", *other)
    assert_one_line(done, "deterministic goes neither with")
    assert not any(tmp_path.glob("o.gpkg*"))


class TestDetect:
    @pytest.mark.slow
    def test_it_writes_the_layer_and_says_so(self, scene, tiny_model, tmp_path):
        output = tmp_path / "Häuser 1.gpkg"
        done = maskdino("detect", scene, "-o", output, "--model", tiny_model, "--score", "0.01", "--min-area", "0")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        layer = geopandas.read_file(output)
        assert f"{len(layer)} buildings" in done.stdout
        assert layer.is_valid.all()
        assert layer.crs == "EPSG:32633"
        assert list(tmp_path.iterdir()) == [output]

    @pytest.mark.slow
    def test_json_lines(self, scene, tiny_model, tmp_path):
        done = maskdino("detect", scene, "-o", tmp_path / "out.gpkg", "--model", tiny_model, "--json-lines")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0
        assert events[-1]["event"] == "result"
        assert events[-1]["output"] == str(tmp_path / "out.gpkg")
        assert {event["event"] for event in events} <= {"progress", "log", "result"}

    def test_json_lines_of_an_error(self, tiny_model, tmp_path):
        done = maskdino("detect", "no.tif", "-o", tmp_path / "out.gpkg", "--model", tiny_model, "--json-lines")
        assert_one_line(done, "no.tif")
        event = json.loads(done.stdout.splitlines()[-1])
        assert (event["event"], event["code"]) == ("error", "raster")
        assert "no.tif" in event["message"]

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_leaves_a_valid_file_within_two_seconds(self, scene, tiny_model, tmp_path, number):
        large = tmp_path / "large.vrt"
        write_repeated(large, scene, width=6000, height=6000)
        output = tmp_path / "out.gpkg"
        process = subprocess.Popen(
            [sys.executable, "-m", "engine", "detect", str(large), "-o", str(output), "--model", str(tiny_model),
             "--json-lines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in process.stdout:
            if json.loads(line).get("done", 0) > 0:
                break
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)  # as whoever passes a Ctrl-C on that the terminal sends to both
        began = time.monotonic()
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 2
        assert process.returncode == 130
        assert json.loads(out.splitlines()[-1])["event"] == "cancelled"
        assert len(err.splitlines()) == 1
        assert "Traceback" not in err
        geopandas.read_file(output)
        assert {path.name for path in tmp_path.iterdir()} == {"large.vrt", "out.gpkg", "out.gpkg.progress"}


class TestBadInput:
    @pytest.fixture
    def detect(self, scene, tiny_model, tmp_path):
        """Run in an empty folder; whatever goes wrong, nothing may be left in it."""
        folder = tmp_path / "work"
        folder.mkdir()

        def run(*more, raster=scene, output="out.gpkg", model=tiny_model):
            done = maskdino("detect", raster, "-o", output, "--model", model, *more, cwd=folder)
            assert list(folder.iterdir()) == []
            return done

        return run

    def test_a_missing_raster(self, detect):
        assert_one_line(detect(raster="missing.tif"), "missing.tif")

    def test_a_folder(self, detect, tmp_path):
        assert_one_line(detect(raster=tmp_path), str(tmp_path))

    @pytest.mark.parametrize("content", [b"", b"GIF89a", b"not a raster at all" * 50])
    def test_what_is_no_raster(self, detect, tmp_path, content):
        (tmp_path / "fake.tif").write_bytes(content)
        assert_one_line(detect(raster=tmp_path / "fake.tif"), "fake.tif")

    @pytest.mark.slow
    def test_a_truncated_raster(self, detect, scene, tmp_path):
        (tmp_path / "half.tif").write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
        assert_one_line(detect(raster=tmp_path / "half.tif"), "half.tif")

    def test_a_raster_without_bands(self, detect, tmp_path):
        (tmp_path / "none.vrt").write_text('<VRTDataset rasterXSize="10" rasterYSize="10"></VRTDataset>')
        assert_one_line(detect(raster=tmp_path / "none.vrt"), "none.vrt")

    def test_a_model_that_is_none(self, detect, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(b"\x00" * 100)
        assert_one_line(detect(model=tmp_path / "model.safetensors"), "model.safetensors")
        assert_one_line(detect(model="maskdino_huge"), "maskdino_huge")

    def test_an_output_folder_that_is_not_there(self, detect):
        assert_one_line(detect(output="nowhere/out.gpkg"), "nowhere")

    def test_an_output_of_an_unknown_kind(self, detect):
        assert_one_line(detect(output="out.doc"), ".doc")

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
    def test_an_output_folder_that_cannot_be_written(self, detect, tmp_path):
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        assert_one_line(detect(output=locked / "out.gpkg"), "locked")

    def test_an_output_folder_that_is_a_file(self, detect, scene):
        assert_one_line(detect(output=scene / "out.gpkg"), "scene.tif")

    @pytest.mark.slow
    def test_an_area_that_is_missing_or_elsewhere(self, detect, tmp_path):
        assert_one_line(detect("--aoi", "no.gpkg"), "no.gpkg")
        geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326").to_file(tmp_path / "far.gpkg")
        assert_one_line(detect("--aoi", tmp_path / "far.gpkg"), "far.gpkg")
        assert_one_line(detect("--extent", 0, 0, 1, 1), "extent")

    @pytest.mark.slow
    def test_a_device_that_is_not_there(self, detect):
        assert_one_line(detect("--device", "cuda:17"), "cuda:17")
        assert_one_line(detect("--device", "abacus"), "abacus")

    @pytest.mark.slow
    def test_values_out_of_range(self, detect):
        assert_one_line(detect("--score", "2"), "score")
        assert_one_line(detect("--bands", "1,2,9"), "bands")
        assert_one_line(detect("--bands", "red"), "bands")

    @pytest.mark.slow
    def test_nothing_to_resume_another_run_with(self, scene, tiny_model, tmp_path):
        (tmp_path / "out.gpkg.progress").write_bytes(b"damaged" * 100)
        done = maskdino("detect", scene, "-o", tmp_path / "out.gpkg", "--model", tiny_model, "--resume")
        assert_one_line(done, "damaged", "--resume")

    def test_quiet_may_stand_anywhere(self, tmp_path):
        done = maskdino("detect", "missing.tif", "-o", tmp_path / "o.gpkg", "--quiet")
        assert_one_line(done, "missing.tif")

    def test_debug_shows_where(self, tmp_path):
        done = maskdino("detect", "missing.tif", "-o", tmp_path / "o.gpkg", "--debug")
        assert done.returncode == 1
        assert "Traceback" in done.stdout + done.stderr
