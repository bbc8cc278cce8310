# make run: install, fetch WordNet, run the pipeline, show the results. make test: install and run all checks.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION := false
export TOKENIZERS_PARALLELISM := false

.PHONY: run test lint wordnet flow bench nano clean

run: .venv/installed wordnet
	dvc repro
	@iedit summary

test: lint wordnet
	pytest

lint: .venv/installed
	ruff check .
	ruff format --check .
	mypy

wordnet: .venv/installed
	@python -m stages.language.wordnet

flow: .venv/installed wordnet
	python -m flows.pipeline

# Time of an edit against diffusers' own img2img pipeline, side by side in one process.
bench: .venv/installed
	python -m stages.benchmark

# The models of the embedded world from nothing: takes about four hours on two cores. `make run` never needs it.
nano: .venv/installed
	@echo "training the nano family from nothing: about four hours on two cores, one model after the other; interrupt at will, it resumes"
	cd nano && dvc repro

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0]'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf data models logs mlruns mlflow.db .venv
