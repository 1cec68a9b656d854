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
RECIPE ?=
# An argument of preprocess, unless a recipe sets it and the variable was not given: $(call UNLESS_RECIPE,VARIABLE,TEXT)
UNLESS_RECIPE = $(if $(and $(RECIPE),$(filter file,$(origin $(1)))),,$(2))

# make compare: every method under one protocol. A method that mixes does so in half of the batches.
COMPARED := none cutout mixup cutmix superpixel_grid occamix lgcoamix
GATE := --set mixer.mix_prob=0.5
LOOKER := --set mixer.extractor=resnet10t --set mixer.extractor_weights=runs/compare/none-s0/last.pt
SWEEP = OMP_NUM_THREADS=1 $(PY) -m lgcoamix sweep --shards data/flowers17.h5 --seeds 0:3 --jobs 2 --out runs/compare \
	$(foreach name,$(COMPARED),--cell $(name)='--mixer $(name) $(if $(filter-out none,$(name)),$(GATE))') \
	--cell lgcoamix-pre_norm='--mixer lgcoamix $(GATE) --set mixer.score=pre_norm' \
	--cell snapmix='--mixer snapmix $(GATE) --set mixer.beta=1' \
	--cell snapmix-mid='--mixer snapmix $(GATE) --set mixer.beta=1 --set mixer.mid=true'
PROTOCOL := --backbone resnet10t --weights none --image-size 64 --epochs 20 --set optim.lr=0.02 --workers 0 \
	--device cpu --no-tensorboard

# make cifar10: the same for ResNet-18 with the stem for small images.
METHODS ?= $(COMPARED) snapmix attentive_cutmix
SEEDS ?= 0
EPOCHS ?= 30
BATCH ?= 128
RATE ?= 0.1
JOBS ?= 1
STORE := data/cifar10$(if $(LIMIT),-$(LIMIT)).h5
CIFAR10_RUNS := runs/$(notdir $(basename $(STORE)))-$(EPOCHS)-epochs
# Attentive CutMix looks with the plain network of seed 0; at 56 pixels its last map has 7x7 cells.
CIFAR10_snapmix := --set mixer.beta=1
CIFAR10_attentive_cutmix := --set mixer.extractor=resnet18_cifar --set mixer.extractor_size=56 \
	--set mixer.extractor_normalise=none --set mixer.extractor_weights=$(CIFAR10_RUNS)/none-s0/last.pt
CIFAR10 = $(PY) -m lgcoamix sweep --shards $(STORE) --seeds $(SEEDS) --jobs $(JOBS) --out $(CIFAR10_RUNS) \
	$(foreach name,$(1),--cell $(name)='--mixer $(name) $(if $(filter-out none,$(name)),$(GATE)) $(CIFAR10_$(name))')
CIFAR10_PROTOCOL := --recipe cifar10-resnet18 --epochs $(EPOCHS) --batch-size $(BATCH) --set optim.lr=$(RATE) \
	--set optim.schedule=cosine --amp bf16 --no-tensorboard $(ARGS)

# make gpu: with the Python of .venv, unless there is none or PYTHON is given.
DEVICE ?= cuda
QUICK ?=
MINUTES ?= 9
PARTS ?=
CARRIED ?= data/gpu
OUT ?= runs/gpu
GPU_PYTHON ?= 3.12
GPU_PY = $(if $(filter file,$(origin PYTHON)),$(if $(wildcard $(PY)),$(PY),$(PYTHON)),$(PYTHON))

.DEFAULT_GOAL := help
.PHONY: help setup preprocess datasets compare cifar10 study pictures demo test proof bench gpu gpu-wheels lint format clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install everything into .venv (done by every other target)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, $(PYTHON) is {v.major}.{v.minor}; choose one with: make PYTHON=python3.12 setup")'
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --constraint constraints.txt --editable '.[dev]'
	@touch $@

preprocess: $(READY) ## Raw images -> data/NAME.h5: DATASET=cub|dogs|... (make datasets) [RECIPE=name] [ROOT=path] [NAME=name] [ARGS='--size 256 ...']
	@$(PY) -m $(if $(RECIPE),lgcoamix )preprocess build $(call UNLESS_RECIPE,DATASET,$(DATASET)) \
		$(if $(RECIPE),--recipe '$(RECIPE)') $(if $(ROOT),--root '$(ROOT)') $(if $(filter folder,$(DATASET)),--out 'data/$(NAME).h5',$(call UNLESS_RECIPE,NAME,--out 'data/$(NAME).h5')) $(ARGS)

datasets: $(READY) ## List the data sets: counts, defaults, source, licence, and which are here
	@$(PY) -m preprocess datasets

demo: $(READY) ## Generate a data set, preprocess it, measure what stored maps save, train and predict on the CPU
	@$(PY) -m lgcoamix demo $(ARGS)

compare: $(READY) ## Every method on flowers17 from scratch, 3 seeds, a table and a plot (an hour or two): ROOT=folder of flowers17
	@test -f data/flowers17.h5 || $(MAKE) --no-print-directory preprocess DATASET=folder ROOT='$(ROOT)' NAME=flowers17
	@$(SWEEP) -- $(PROTOCOL)
	@$(SWEEP) --cell attentive_cutmix='--mixer attentive_cutmix $(GATE) $(LOOKER)' -- $(PROTOCOL)

cifar10: $(READY) ## The same on CIFAR-10, ResNet-18, 30 epochs: [ROOT=folder of images] [METHODS='none cutmix'] [SEEDS=0:3] [EPOCHS=1 BATCH=32 RATE=0.02] [JOBS=2] [LIMIT=images of a class]
	@test -f $(STORE) || $(PY) -m preprocess build $(if $(ROOT),folder --root '$(ROOT)',cifar10) --out $(STORE) --size 32 \
		--segments 30:35 --compactness 8 $(if $(LIMIT),--limit-per-class $(LIMIT))
	@$(if $(filter-out attentive_cutmix,$(METHODS)),$(call CIFAR10,$(filter-out attentive_cutmix,$(METHODS))) -- $(CIFAR10_PROTOCOL))
	@$(if $(filter attentive_cutmix,$(METHODS)),$(call CIFAR10,$(METHODS)) -- $(CIFAR10_PROTOCOL))

study: $(READY) ## Draw the tables of tests/study from its finished cells: [RUN=1: train those that are missing] [CELL=name: one anew]
	@$(PY) -m tests.study $(if $(RUN),--run) $(if $(CELL),--anew '$(CELL)')

pictures: $(READY) ## Every picture that the product draws, of short runs on real images, on one page: runs/pictures/index.html
	@$(PY) -m tests.pictures

gpu: ## What a GPU shows, in 9 minutes, with a bare Python and what gpu-wheels filled: [PYTHON=python3] [OUT=folder] [PARTS='sync cells'] [DEVICE=cpu QUICK=1: the path alone]
	@$(GPU_PY) -m tests.gpu --device $(DEVICE) --carried '$(CARRIED)' --out '$(OUT)' --minutes $(MINUTES) $(if $(QUICK),--quick) $(PARTS)

gpu-wheels: $(READY) ## Fill data/gpu with what make gpu needs besides torch, and print the sizes: [GPU_PYTHON=3.12] [ROOT=folder of CIFAR-10 as JPEG files]
	@$(PY) -m tests.gpu.carry --into '$(CARRIED)' --python '$(GPU_PYTHON)' $(if $(ROOT),--root '$(ROOT)')

# Some machines forbid Python to keep bytecode: every process would compile torch and timm again (17 s of a core, not 6).
test proof bench demo compare cifar10 study pictures gpu: export PYTHONDONTWRITEBYTECODE =

test: $(READY) ## The tests, two at a time (6 to 14 minutes on 2 cores)
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

proof: $(READY) ## The same campaigns at full counts (long)
	@LGCOAMIX_PROOF=1 $(PY) -m pytest $(ARGS)

bench: $(READY) ## The benchmarks: tests/benchmarks; ARGS=race: our loader against nine others
	@$(PY) -m tests.benchmarks $(ARGS)

lint: $(READY) ## Check style and types
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/pyrefly check

format: $(READY) ## Apply style
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

clean: ## Remove .venv and caches (data/ and runs/ stay)
	rm -rf $(VENV) .pytest_cache .ruff_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
