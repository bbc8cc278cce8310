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

.PHONY: run test lint audit wordnet flow bench tune tables ablation nano clean

run: .venv/installed wordnet
	dvc repro
	@iedit summary

test: lint wordnet
	pytest --cov

lint: .venv/installed
	ruff check .
	ruff format --check .
	mypy

# Known vulnerabilities of what requirements.lock names. What could not be looked up counts as a failure: without
# --strict, pip-audit passes over it and calls the rest free of vulnerabilities.
audit: .venv/audit/installed
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement requirements.lock

wordnet: .venv/installed
	@python -m stages.language.wordnet

flow: .venv/installed wordnet
	python -m flows.pipeline

# Time of an edit against diffusers' own img2img pipeline, side by side in one process.
bench: .venv/installed
	python -m stages.benchmark

# How each system should sample, tried on the validation cases; what is found goes into params.yaml by hand. Hours.
tune: .venv/installed
	python -m stages.tune

# The curves of Table 1's systems over their settings, and Table 2. Many hours; interrupted, both go on where they were.
tables: .venv/installed
	python -m stages.tradeoff
	python -m flows.ablation

# Table 2 alone: every row of conf/ablation trained with three seeds, as DVC experiments.
ablation: .venv/installed
	python -m flows.ablation

# The models of the embedded world from nothing: takes about seven hours on two cores. `make run` never needs it.
nano: .venv/installed
	@echo "training the nano family from nothing: about seven hours on two cores, one model after the other; interrupt at will, it resumes"
	cd nano && dvc repro

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0]'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/audit/installed:
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet pip-audit==2.10.1
	touch $@

clean:
	rm -rf data models logs mlruns mlflow.db .venv
