# `make run` and `make test` need Python 3.11 or newer and nothing else.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help run secrets test crash test-stack fuzz bench lint format servers lock clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.installed ## Run the gateway with its demo, in ./data.
	exec $(BIN)/crossdock up --demo

secrets: ## Make the secrets that docker-compose.yml needs, in ./secrets.
	@deploy/make-secrets

test: servers $(VENV)/.installed-dev ## Install what the tests need and run them all.
	$(PYTEST)

crash: servers $(VENV)/.installed-dev ## Kill every service at every step, cut the network, and prove that nothing is lost.
	$(PYTEST) tests/crash

test-stack: servers $(VENV)/.installed-dev ## Build the image, run docker-compose.yml, and break it while a study passes.
	@tests/stack/install
	$(BIN)/python -m pytest tests/stack

fuzz: $(VENV)/.installed-dev ## Feed the data plane a million damaged inputs, for ten minutes at most.
	cd tests && ../$(BIN)/python -m fuzz

bench: $(VENV)/.installed-dev ## Measure the data plane beside DCMTK, Orthanc and pynetdicom.
	@for name in receive send tls parcels stall distance end_to_end \
		target_dicom target_dicomweb target_folder target_rsync target_s3 target_sftp target_xnat; do \
		$(BIN)/python benchmarks/$$name.py || exit 1; done

lint: $(VENV)/.installed-dev ## Check style, types and the borders between packages.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Format the code.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

servers: ## Install the servers that tests talk to, where that is possible.
	@tests/servers/install

lock: $(VENV)/.installed-dev ## Pin the newest versions of all dependencies, with hashes.
	$(PIP) install uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url pyproject.toml --extra codecs --extra traces --group dev -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url pyproject.toml --extra codecs --extra traces -c requirements-dev.lock -o deploy/requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url deploy/build.in -o deploy/build.lock

clean: ## Remove the virtual environment and all caches; ./data stays.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Crossdock needs Python 3.11 or newer: install it, or say PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.lock pyproject.toml
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python requirements-dev.lock pyproject.toml
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps -e .
	@touch $@ $(VENV)/.installed
