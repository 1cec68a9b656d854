# One entry for everything; `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
UV_VERSION := 0.13.8

DATASET ?= demo
ROOT ?=
NAME ?= $(if $(filter folder,$(DATASET)),$(notdir $(patsubst %/,%,$(ROOT))),$(DATASET))
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup preprocess datasets demo test proof bench lint format clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install everything into .venv (done by every other target)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, $(PYTHON) is {v.major}.{v.minor}; choose one with: make PYTHON=python3.12 setup")'
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --constraint constraints.txt --editable '.[dev]'
	@touch $@

preprocess: $(READY) ## Raw images -> data/NAME.h5: DATASET=cub|dogs|cars|... (make datasets) [ROOT=path] [NAME=name] [ARGS='--size 256 ...']
	@$(PY) -m preprocess build $(DATASET) $(if $(ROOT),--root '$(ROOT)') --out 'data/$(NAME).h5' $(ARGS)

datasets: $(READY) ## List the data sets: counts, defaults, source, licence, and which are here
	@$(PY) -m preprocess datasets

demo: $(READY) ## Generate a data set, preprocess it, train plain and LGCOAMix on the CPU, show a table
	@$(PY) -m lgcoamix demo $(ARGS)

test: $(READY) ## The tests, two at a time (some 16 minutes on 2 cores)
	@$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

proof: $(READY) ## The same campaigns at full counts (long)
	@LGCOAMIX_PROOF=1 $(PY) -m pytest $(ARGS)

bench: $(READY) ## The benchmarks: tests/benchmarks
	@$(PY) -m tests.benchmarks $(ARGS)

lint: $(READY) ## Check style
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

format: $(READY) ## Apply style
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

clean: ## Remove .venv and caches (data/ and runs/ stay)
	rm -rf $(VENV) .pytest_cache .ruff_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
