# A fresh machine has git, make and Python 3.10 or later. Every target sets up what it needs in .venv, once.
#   make demo        find the buildings of a generated town: demo/buildings.gpkg, demo/preview.png
#   make test        lint and all tests, those of the plugin in a real QGIS included
#   make test-fast   the tests of engine and training that take less than two seconds each
#   make test-processors   the tests of computed numbers as if on processors with other instructions
#   make plugin      the plugin as QGIS installs it: dist/qgis_maskdino.zip
#   make test-gpu    tests of the kernels on this machine's NVIDIA GPU
#   make gpu-report  all that waits for a GPU, measured on this machine: runs/gpu-report
#   make gpu-bundle  the packages that a bare GPU machine lacks for that: dist/gpu-bundle
#   make test-qgis-newer   the plugin's tests in the QGIS of a newer Debian, which is set up in a folder; needs root
#   make lint        lint alone
#   make embedded-bundle   a folder that trains the embedded model on a bare GPU machine: dist/embedded-bundle
#   make benchmark   the figures that the README quotes
#   make docs        the documentation as a site: build/docs/index.html
#   make test-lowest the fast tests with the oldest packages that pyproject.toml allows, on the oldest Python here
#   make audit-dependencies   the installed packages against known advisories, and against our own bounds
# Another interpreter: make PYTHON=python3.12 demo. QGIS has one of its own: make QGIS_PYTHON=... test-qgis

PYTHON ?= python3
QGIS_PYTHON ?= /usr/bin/python3
BIN := .venv/bin
READY := .venv/.ready
KERNEL := .venv/.kernel
QGIS_BIN := .venv-qgis/bin
QGIS := .venv-qgis/.ready
LOWEST_BIN := .venv-lowest/bin
UV := 'uv>=0.5,<1'

# Looked for when it is needed: pyenv's own commands are there also for versions that are switched off, hence the try.
LOWEST_PYTHON ?= $(shell for minor in 10 11 12 13 14; do for python in python3.$$minor ~/.pyenv/versions/3.$$minor.*/bin/python; do \
  "$$python" -c '' 2>/dev/null && echo "$$python" && exit; done; done)
# Together they touch every direct dependency.
LOWEST_TESTS := tests/engine/test_cli.py $(addprefix tests/engine/,commands raster vector tiles detection segmentation) $(addprefix tests/training/,config data evaluation)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-fast test-fast-detection test-fast-engine test-fast-others test-engine test-qgis test-qgis-newer test-processors test-processors-quick test-as-avx2 test-as-sse test-gpu test-lowest audit-dependencies docs lint benchmark plugin embedded-bundle gpu-report gpu-bundle clean

demo: $(KERNEL)
	$(BIN)/maskdino demo -o demo

# Each of them runs, also when another failed.
test:
	$(MAKE) --keep-going lint test-engine test-qgis test-processors-quick

test-engine: $(KERNEL)
	$(BIN)/python -m pytest

# Two processes at a time, one for each of two cores.
FAST := $(BIN)/python -m pytest -q -m 'not slow and not gpu'

test-fast: $(KERNEL)
	$(MAKE) --jobs=2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync) \
	  test-fast-others test-fast-detection test-fast-engine

test-fast-detection: $(KERNEL)
	$(FAST) tests/engine/detection

test-fast-engine: $(KERNEL)
	$(FAST) tests/engine --ignore=tests/engine/detection

test-fast-others: $(KERNEL)
	$(FAST) tests --ignore=tests/engine

# A processor without AVX-512 or AVX2 runs other kernels, which round otherwise. No result may hang on that. These variables make
# oneDNN, torch and MKL take such kernels; arm64 has none of the three, and torch's compiler looks at the processor itself.
AS_AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2
AS_SSE := ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE
NOT_COMPILED := --deselect tests/engine/model/test_inference.py::test_compiled_it_finds_the_same
COMPUTED := tests/engine/model tests/engine/ops tests/engine/detection/test_predictor.py \
	tests/training/losses tests/training/objectives tests/training/pretrained tests/training/run
TIES := tests/engine/model/families tests/engine/model/test_inference.py tests/engine/model/test_instances.py \
	tests/engine/detection/test_predictor.py 'tests/training/losses/test_parity.py::test_matching[train_r50_dnno_fixedpoints]'

test-processors:
	$(MAKE) --keep-going test-as-avx2 test-as-sse

test-as-avx2: $(KERNEL)
	$(AS_AVX2) $(BIN)/python -m pytest -q $(COMPUTED) $(NOT_COMPILED)

test-as-sse: $(KERNEL)
	$(AS_SSE) $(BIN)/python -m pytest -q $(COMPUTED) $(NOT_COMPILED)

# Where ties have been broken before.
test-processors-quick: $(KERNEL)
	$(AS_AVX2) $(BIN)/python -m pytest -q $(TIES) $(NOT_COMPILED)

# Without a CUDA device each of them is skipped; `make test` tries them out on the CPU.
test-gpu: $(KERNEL)
	$(BIN)/python -m pytest -m gpu tests/gpu

# The plugin's tests run in QGIS's own Python and drive the engine of .venv as a process.
test-qgis: $(KERNEL) $(QGIS)
	QT_QPA_PLATFORM=offscreen $(QGIS_BIN)/python -m pytest --confcutdir=tests/qgis_maskdino tests/qgis_maskdino

# Once: some minutes and 3 GB. No part of `make test`.
NEWER_DEBIAN ?= /var/tmp/maskdino-trixie
test-qgis-newer: $(KERNEL)
	packaging/newer_qgis.sh $(NEWER_DEBIAN) $(abspath $(BIN)/python)

# Are the lower bounds true? uv takes the oldest of what is named, and the newest of what those need.
test-lowest: $(READY)
	$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/uv venv --quiet --clear --python $(LOWEST_PYTHON) .venv-lowest
	$(BIN)/uv pip install --quiet --resolution lowest-direct --python $(LOWEST_BIN)/python -r pyproject.toml --extra train --extra parquet --extra test
	$(BIN)/uv pip install --quiet --no-deps --python $(LOWEST_BIN)/python -e .
	$(LOWEST_BIN)/python -m pytest -q -m 'not slow and not gpu' $(LOWEST_TESTS)

audit-dependencies: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[audit]'
	$(BIN)/python packaging/audit_dependencies.py

docs: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

plugin: $(READY)
	$(BIN)/python packaging/build_plugin.py -o dist/qgis_maskdino.zip

# Needs the imagery of training/config/ready/embedded.yaml, which is not part of the project.
embedded-bundle: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[pretrained]'
	$(BIN)/python packaging/embedded_bundle.py

# Sets nothing up: such a machine has a torch of its own, and often no network.
gpu-report:
	$(PYTHON) benchmarks/gpu_report.py

gpu-bundle: $(READY)
	$(BIN)/python packaging/gpu_bundle.py

benchmark: $(KERNEL)
	@set -e; for program in benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program; done

# Installed again only when what is to be installed has changed; what is there already is not upgraded.
$(READY): pyproject.toml setup.py metadata.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "This needs Python 3.10 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || packaging/system_packages.sh python3-venv
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	$(BIN)/python -m pip install --quiet -e '.[train,test]'
	@touch $@

# The C++ kernel of the attention operator. Where it cannot be built, the plain PyTorch kernel runs: not an error.
$(KERNEL): $(READY) $(wildcard engine/csrc/*)
	@rm -f engine/ops/maskdino_cpu.*
	@$(BIN)/python setup.py --quiet build_ext --inplace >.venv/kernel.log 2>&1 || true
	@ls engine/ops/maskdino_cpu.* >/dev/null 2>&1 || \
	  echo "The C++ kernel was not built, plain PyTorch stands in; .venv/kernel.log says why."
	@touch $@

# QGIS itself is the distribution's. 3.22 is the oldest that the plugin supports, and Debian 12 has it.
$(QGIS): packaging/system_packages.sh
	@$(QGIS_PYTHON) -c 'import ensurepip, qgis.core, shutil, sys; \
	  sys.exit(not all(map(shutil.which, ["qgis", "qgis_process", "xvfb-run", "xauth"])))' >/dev/null 2>&1 || \
	  packaging/system_packages.sh qgis python3-qgis python3-venv xvfb xauth
	@test -x $(QGIS_BIN)/python || $(QGIS_PYTHON) -m venv --system-site-packages .venv-qgis
	$(QGIS_BIN)/python -m pip install --quiet 'pytest>=8,<10' 'pytest-qgis>=2,<6' $(UV)
	-@$(QGIS_BIN)/python -m pip install --quiet PyQt6  # without it one test is skipped
	@touch $@

clean:
	rm -rf .venv .venv-qgis .venv-lowest .qgis-settings build dist demo engine/ops/maskdino_cpu.* *.egg-info .pytest_cache .ruff_cache .hypothesis
