# make demo   the main job on three demo hosts of this machine (ONCE=1: print the table and end)
# make test   everything that is tested, lint and types included
# make help   the rest

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)

.PHONY: help demo test pytest lint lint-types lint-style bench-deploy bench-overhead bench-executor bench-manifests bench-controller bench-events bench-heartbeats bench-awx bench-wave docs lock clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("plugfleet needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed requirements-test.lock requirements-oldest-ansible.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	$(PYTHON) -m venv $(VENV)/oldest-ansible
	$(VENV)/oldest-ansible/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-oldest-ansible.lock
	@touch $@

demo: $(VENV)/.installed  ## run the main job on three demo hosts of this machine; ONCE=1 ends after the table
	@$(BIN)/python -m demo $(if $(ONCE),--once)

# What Python compiles is kept, whatever the environment says: the tests start it many hundred times.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.test-installed  ## install what the tests need, then lint, types and all tests
	@tests/install-packages
	@$(MAKE) --no-print-directory -j 3 lint-types lint-style pytest

# Four on two cores: much of what is tested waits. In the order of the folders: ends with short files.
pytest: $(VENV)/.test-installed
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=15

lint: $(VENV)/.test-installed  ## ruff, mypy, import-linter, vermin, ansible-lint
	@$(MAKE) --no-print-directory -j 2 lint-types lint-style

lint-types:
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

lint-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vermin --quiet --no-tips --violations -t=3.8- agentplugin executor plugins $$(find roles -path '*/host/*.py')
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/ansible-lint --offline --profile production --strict -q

N ?= 50
bench-deploy: $(VENV)/.test-installed  ## our deploy against the plain play over SSH, N hosts (default 50); needs root
	@tests/install-packages
	@$(BIN)/python -m benchmarks.bench_deploy --hosts $(N)

bench-overhead: $(VENV)/.test-installed  ## deployments through the controller against ansible-playbook alone; needs root
	@tests/install-packages
	@$(BIN)/python -m benchmarks.bench_overhead --hosts $(N)

bench-executor: $(VENV)/.test-installed  ## 200 plugins for two minutes: memory, CPU and jitter of the executor
	@$(BIN)/python -m benchmarks.bench_executor

bench-manifests: $(VENV)/.test-installed  ## 100 looping manifest plugins for ten minutes (MINUTES=10), then one that floods
	@$(BIN)/python -m benchmarks.bench_manifests --minutes $(or $(MINUTES),10)

bench-events: $(VENV)/.installed  ## 5,000 events/s from a run to 20 readers, and the API's times meanwhile
	@$(BIN)/python -m benchmarks.bench_events

bench-heartbeats: $(VENV)/.installed  ## 10,000 agents connected: CPU, memory, times, 2,000 calls/s, a restart under them
	@$(BIN)/python -m benchmarks.bench_heartbeats

bench-awx: $(VENV)/.test-installed  ## 1,000 hosts that AWX's stand-in plays in 4 jobs: the controller's CPU, lost events
	@$(BIN)/python -m benchmarks.bench_awx

bench-wave: $(VENV)/.test-installed  ## what a wave costs beside its visits: CPU and memory of its processes, rows in SQLite
	@$(BIN)/python -m benchmarks.bench_wave

bench-controller: $(VENV)/.installed  ## 10,000 hosts in SQLite: plans, lists, inventory, preview, a deployment that has nothing to do
	@$(BIN)/python -m benchmarks.bench_controller

docs: $(VENV)/.installed  ## write docs/rest-api.md and the reference in docs/cli.md
	@$(BIN)/python -m docs.rest_api
	@$(BIN)/python -m docs.cli_reference

lock: $(VENV)/.installed  ## write the lock files anew from pyproject.toml
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile $(COMPILE) --extra build -o requirements.lock pyproject.toml
	$(BIN)/pip-compile $(COMPILE) --extra build --extra test -o requirements-test.lock -c requirements.lock pyproject.toml
	echo 'ansible-core==2.15.*' | $(BIN)/pip-compile $(COMPILE) -o requirements-oldest-ansible.lock -

COMPILE := --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-options \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

clean:  ## remove the virtual environment and the demo
	rm -rf $(VENV) .plugfleet
