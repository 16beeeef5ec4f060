# Everything a developer or a user of a checkout does. `make help` is the map.
# Needs Python 3.11 or newer (with venv) and make; everything else is installed into .venv, pinned and checked by hash.

PYTHON  ?= python3
FOR     ?=
REPORT  ?= .arb/report.json
JOBS    ?= 2
WORKERS ?= 1
PLATFORM ?=

VENV := .venv
BIN  := $(VENV)/bin
SOURCES := workloads tests benchmarks requirements e2e

# Packages of another environment must not leak into this one.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help install run test check format bench soak crds lock release wheels weigh image cluster cluster-down e2e clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed ## Make .venv with the locked dependencies and the command .venv/bin/arb

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "arbkube needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." >&2; \
	  echo "Name another one: make install PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; } # half an environment would look like a whole one

$(VENV)/.installed: $(BIN)/python requirements/dev.txt pyproject.toml $(wildcard workloads/arbkube/kernel/*.p[yx][xi] workloads/arbkube/kernel/venues/*.pxi)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: install ## Run the quickstart with paper money (FOR=30s ends by itself, REPORT=file.json)
	@mkdir -p $(dir $(REPORT))
	$(BIN)/arb up -f manifests/quickstart $(if $(FOR),--for $(FOR)) --report $(REPORT)

test: install ## Run all tests but the long campaigns (JOBS=2 processes)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: install ## Formatter, linter, types, import rules, locks and generated files
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python requirements/check.py
	$(BIN)/python -m arbkube.cli.published.generate --check

format: install ## Format the code and mend what the linter can mend
	$(BIN)/ruff check --quiet --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: install ## Run the benchmarks beside their baselines
	$(BIN)/python -m benchmarks

soak: install ## Run the long campaigns and write their figures into docs/
	$(BIN)/python -m pytest -m soak --timeout 0 --figures docs/soak.md

crds: install ## Generate crds/ and docs/reference/ from the types
	$(BIN)/python -m arbkube.cli.published.generate --write

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

lock: $(BIN)/python ## Resolve requirements/ again from pyproject.toml (UPGRADE=1 takes newer versions)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(LOCK) --output-file requirements/base.txt
	$(LOCK) --extra ccxt --extra dev --constraint requirements/base.txt --output-file requirements/dev.txt

release: install ## Build wheel and sdist into dist/ and try the wheel in a fresh environment
	BIN=$(BIN) .ci/release

wheels: install ## Build wheels with the compiled kernel into dist/, for 64-bit ARM too where a cross compiler is
	BIN=$(BIN) .ci/wheels

weigh: install ## Say what a base install weighs
	BIN=$(BIN) .ci/weigh

image: install ## Build the image of all pods, and say its name and weight
	$(BIN)/python -m e2e.cluster image $(if $(PLATFORM),--platform $(PLATFORM))

cluster: install ## Make a kind cluster (WORKERS=1) with the image in it; without a registry everything is built here
	$(BIN)/python -m e2e.cluster up --workers $(WORKERS)
	$(BIN)/python -m e2e.cluster image --load

cluster-down: install ## Remove that cluster
	$(BIN)/python -m e2e.cluster down

e2e: install ## Run the end-to-end tests in a kind cluster made for them (WORKERS=1), or in the one that is up
	$(BIN)/python -m e2e --workers $(WORKERS)

clean: ## Remove .venv, build products and caches (never the state in .arb)
	rm -rf $(VENV) build dist workloads/*.egg-info workloads/arbkube/kernel/_compiled.c workloads/arbkube/kernel/_compiled.*.so .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
