# A fresh machine has git, make and Python 3.10 or later. Every target sets up what it needs in .venv, once.
#   make demo        find the buildings of a generated town: demo/buildings.gpkg, demo/preview.png
#   make test        lint and tests
#   make lint        lint alone
#   make benchmark   the figures that the README quotes
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
KERNEL := .venv/.kernel

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint benchmark clean

demo: $(KERNEL)
	$(BIN)/maskdino demo -o demo

test: lint $(KERNEL)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmark: $(KERNEL)
	@set -e; for program in benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program; done

# Installed again only when what is to be installed has changed; what is there already is not upgraded.
$(READY): pyproject.toml setup.py metadata.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "This needs Python 3.10 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "Python cannot make virtual environments here; on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet -e '.[train,test]'
	@touch $@

# The C++ kernel of the attention operator. Where it cannot be built, the plain PyTorch kernel runs: not an error.
$(KERNEL): $(READY) $(wildcard engine/csrc/*)
	@rm -f engine/ops/maskdino_cpu.*
	@$(BIN)/python setup.py --quiet build_ext --inplace >.venv/kernel.log 2>&1 || true
	@ls engine/ops/maskdino_cpu.* >/dev/null 2>&1 || \
	  echo "The C++ kernel was not built, plain PyTorch stands in; .venv/kernel.log says why."
	@touch $@

clean:
	rm -rf .venv build dist demo engine/ops/maskdino_cpu.* *.egg-info .pytest_cache .ruff_cache .hypothesis
