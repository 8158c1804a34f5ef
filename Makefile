# Every target does its own set-up: from a fresh clone it needs Python 3.11, pip and make only.
# On Linux, pip's default torch brings the CUDA libraries (several GB). For the CPU build alone:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test

PYTHON ?= python3
MIN_PYTHON ?= python3.10
WORKERS ?= 2

VENV := .venv
BIN = $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# One thread for each worker, so that the workers do not fight for cores.
PYTEST = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo docs lint format test check test-contract clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(INSTALLED) ## create .venv with everything in it (the other targets do so too)

# torch comes first and under the constraints, so that nothing after it brings a second one. The
# build backend is installed too, because pip does not apply constraints to isolated builds.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("Got Python %d.%d, but constraints.txt needs 3.11: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation -e '.[test,plot,proba]'
	@touch $@

demo: $(INSTALLED) ## run examples/quickstart.py
	$(BIN)/python examples/quickstart.py

DOCS := $(VENV)/.docs

$(DOCS): $(INSTALLED)
	$(INSTALL) -e '.[docs]' --no-build-isolation
	@touch $@

docs: $(DOCS) ## build the pages and the gallery into docs/_build, from what lies here alone
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/trees docs docs/_build/html
	@echo "open docs/_build/html/index.html"

lint: $(INSTALLED) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## put the code into the format that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## lint, doctests and all tests but the further contract sets
	$(PYTEST) -m "not contract_extra"

check: lint ## lint, doctests and the quick tests, in about a minute
	$(PYTEST) -m "not contract and not contract_extra and not slow"

test-contract: $(INSTALLED) ## sktime's suite on the further parameter sets
	$(PYTEST) -m contract_extra

# On Linux these two bring the CUDA libraries, unless PIP_EXTRA_INDEX_URL says otherwise (above).
test-min: VENV := .venv-min
test-min: ## the tests with the lowest versions that pyproject.toml allows, on Python 3.10
	$(MIN_PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints-min.txt -e '.[test,plot,proba]'
	$(PYTEST) -m "not contract_extra"

test-latest: VENV := .venv-latest
test-latest: ## the tests with the newest versions of everything
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[test,plot,proba]'
	$(PYTEST) -m "not contract_extra"

clean: ## remove environments, caches and build results
	rm -rf docs/_build docs/generated docs/gallery $(VENV) .venv-min .venv-latest build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
