PYTHON ?= python3
CONFIG ?= configs/kuairand/mmoe.yaml
CONFIGS ?= $(CONFIG) $(filter-out %/base.yaml $(CONFIG),$(wildcard configs/kuairand/*.yaml))
SEEDS ?= 1
MODEL ?= models:/kuairand-mmoe@champion
LOGS ?= data/kuairand-pure/log/*.parquet
SCORES ?= scores

BIN := .venv/bin
PLATFORM := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
PINS := requirements/base.txt requirements/torchrec.txt requirements/$(PLATFORM).txt requirements/dev.txt
# Reordered, files with few tests would come last, and those few may take minutes.
BY_FILE := --dist loadfile --no-loadscope-reorder
INSTALLED := .venv/.installed-$(PLATFORM)-$(shell cat $(PINS) pyproject.toml | cksum | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: .typing help setup train compare test test-slow lint bench bench-peers ab score serve ui docs gpu-check sbom audit doctor clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## install the pinned set for this machine into .venv (again only when it changed)

train: setup ## train CONFIG and the single-task networks beside it, register the model, promote it if it is good enough
	$(BIN)/fulcrum train $(CONFIG) --reference --promote

compare: setup ## compare CONFIGS over SEEDS seeds: who rises, who pays
	$(BIN)/fulcrum compare $(CONFIGS) --seeds $(SEEDS)

test: setup ## the default tests, a file at a time on each of two to four cores
	$(BIN)/pytest -n auto --maxprocesses 4 $(BY_FILE)

test-slow: setup ## the tests that take minutes, a file at a time on each of two cores
	$(BIN)/pytest -m 'slow and not gpu' -n auto --maxprocesses 2 $(BY_FILE)

lint: setup .typing ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## time the line from raw rows to answers, and write the table
	$(BIN)/python -m benchmarks

bench-peers: setup .peers/.installed ## time the same work of other libraries beside it
	$(BIN)/python -m benchmarks peers

ab: setup ## try designs of A/B tests where models learn from each other (FULL=1: long enough to compare spreads)
	$(BIN)/fulcrum ab simulate configs/worlds/$(if $(FULL),loop_full,loop).yaml

score: setup ## score LOGS with MODEL into the folder SCORES
	$(BIN)/fulcrum score --model $(MODEL) --input '$(LOGS)' --history '$(LOGS)' --output $(SCORES)

serve: setup ## answer HTTP requests with MODEL, knowing the past in LOGS
	$(BIN)/fulcrum serve --model $(MODEL) --history '$(LOGS)'

ui: setup ## browse runs and models
	$(BIN)/fulcrum ui

docs: setup .typing ## build the documentation into site/
	$(BIN)/mkdocs build --strict

gpu-check: setup ## the tests and benchmarks that need an NVIDIA GPU
	$(BIN)/pytest -m gpu && $(BIN)/python -m benchmarks.gpu

sbom: .audit/.installed ## list every pinned package in sbom.json (CycloneDX)
	cat $(PINS) | grep -v '^-r' | .audit/bin/cyclonedx-py requirements --output-reproducible -o sbom.json -

audit: .audit/.installed ## look every pinned package up in PyPI's advisories; fails where one has any or is not known there
	cat $(PINS) | grep -v '^-r' > .audit/pins.txt
	.audit/bin/pip-audit --strict --no-deps --disable-pip -r .audit/pins.txt

doctor: setup ## check this machine and print the fix for what is wrong
	$(BIN)/fulcrum doctor

clean: ## remove caches; runs, models and .venv stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .typing .hypothesis .audit .peers site build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.typing: # the rooms below their import name, for tools that read files and import none
	mkdir -p .typing/fulcrum && ln -sfn $(foreach part,$(wildcard fulcrum/*.py* fulcrum/testing features models serving pipelines),../../$(part)) .typing/fulcrum/

$(INSTALLED):
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements/$(PLATFORM).txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/torchrec.txt --editable .
	rm -f .venv/.installed-* && touch $@

.peers/.installed: requirements/peers.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .peers -r requirements/peers.txt
	touch $@

.audit/.installed: requirements/audit.txt
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet -r requirements/audit.txt
	touch $@
