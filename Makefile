# Everything a developer types. `make` alone shows this list.
# Each target makes .venv by itself, from the hash-pinned requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Development mode: an embedded database, fixed secrets, simulated payments. Off in production.
export LICET_DEBUG ?= 1
export DJANGO_SETTINGS_MODULE := marketplace.settings
export PYTHONUNBUFFERED := 1
# The many processes that tests start read what the first of them compiled.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
APPS := marketplace licensing payments api_docs
# The processes share what is left, so that none ends long before the others.
PYTEST := $(BIN)/python -m pytest --dist worksteal
# One more than there are processors: a test and its database wait for each other.
PROCESSES := $(shell echo $$(($$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) + 1)))
# The first Python that is new enough. Another one: make PYTHON=/path/to/python3.13 ...
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& command -v "$$name" && break; done)

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.ready ## license this machine's own files from one tenant to another; FROM=DIR for yours
	@$(BIN)/python manage.py demo $(if $(FROM),--from "$(FROM)")

.PHONY: run
run: .venv/.ready ## run the server, the worker and the payment simulator until Ctrl-C
	@exec $(BIN)/python manage.py run

.PHONY: test
test: .venv/.ready ## run the tests; ARGS="-k orders" hands arguments to pytest
	@$(PYTEST) -n $(PROCESSES) -m "not (browser or chaos or clients or oracle)" $(ARGS)

.PHONY: chaos
chaos: .venv/.ready ## kill processes at work, and see what is left
	@$(PYTEST) -n $(PROCESSES) -m chaos $(ARGS)

.PHONY: oracles
oracles: .venv/.ready .data/oracles/.ready ## run what takes long: every probe of the studio, and other people's verifiers
	@$(PYTEST) -n $(PROCESSES) -m oracle $(ARGS)

# Verifiers that are not for this Python, or in no Python. What cannot be had is not fatal: its
# tests skip, and say what they lacked. Go's is a Debian package: golang-golang-x-mod-dev.
.data/oracles/.ready: tests/oracles/witness.lock tests/oracles/tlog_js/package-lock.json
	@mkdir -p $(@D)/npm
	@cp tests/oracles/tlog_js/package*.json $(@D)/npm/
	@if { if command -v uv >/dev/null; then uv pip install --quiet --no-deps --require-hashes \
			--python-version 3.13 --target $(@D)/python -r tests/oracles/witness.lock; \
		else $(BIN)/python -m pip install --quiet --no-deps --require-hashes \
			--ignore-requires-python --target $(@D)/python -r tests/oracles/witness.lock; fi; } && \
		{ ! command -v npm >/dev/null || \
			npm ci --prefix $(@D)/npm --ignore-scripts --no-audit --no-fund --silent; }; \
	then touch $@; else echo "Some verifiers could not be installed: their tests are skipped."; fi

.PHONY: fuzz-short fuzz
fuzz-short: .venv/.ready ## try the API by its document, in about 5,000 requests; ARGS="--seed 2"
	@$(BIN)/python -m tests.fuzz $(ARGS)

fuzz: .venv/.ready ## the same in 50,000 requests, each operation by each bound of its parameters
	@$(BIN)/python -m tests.fuzz --cases 50000 $(ARGS)

.PHONY: clients
clients: .venv/.ready .data/clients/.ready ## generate clients in six languages, and have each buy a license
	@$(BIN)/python -m pytest -n 0 -m clients tests/clients $(ARGS)

# Generators of clients, and what the clients run on. What cannot be had is not fatal, as above. The
# rest are Debian packages: default-jdk-headless, nodejs, npm, ruby, ruby-typhoeus, golang-go,
# golang-golang-x-mod-dev, golang-gopkg-validator.v2-dev, php-cli, php-curl, php-guzzlehttp-guzzle and
# php-mbstring.
.data/clients/.ready: tests/clients/generators.lock tests/clients/typescript/package-lock.json
	@mkdir -p $(@D)/typescript
	@cp tests/clients/typescript/package*.json $(@D)/typescript/
	@if { if command -v uv >/dev/null; then uv pip install --quiet --no-deps --require-hashes \
			--python $(BIN)/python --target $(@D)/generators -r tests/clients/generators.lock; \
		else $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
			--require-hashes --target $(@D)/generators -r tests/clients/generators.lock; fi; } && \
		{ ! command -v npm >/dev/null || npm ci --prefix $(@D)/typescript --ignore-scripts \
			--no-audit --no-fund --silent; }; \
	then touch $@; else echo "Some generators could not be installed: their tests are skipped."; fi

.PHONY: browser
browser: .venv/.ready ## run the workspace in a real browser (needs Debian's chromium)
	@$(BIN)/python -m pytest -n 0 -m browser tests/browser $(ARGS)

.PHONY: screenshots
screenshots: .venv/.ready ## take the pictures of README and guide anew (needs Debian's chromium)
	@$(BIN)/python -m tests.browser.screenshots

.PHONY: check
check: check-style check-types check-imports check-migrations check-openapi check-plans ## run every check but the tests
	@echo "check: no findings"

.PHONY: bench
bench: .venv/.ready ## measure, one JSON line for each figure
	@$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: offline
offline: .venv/.ready ## build licet-offline.pyz: verify, decide and pull, without the server
	@$(BIN)/python -m licensing.offline.build

.PHONY: clean
clean: ## stop the development database; delete it, .venv and all caches
	@if [ -x $(BIN)/python ] && [ -d .data/postgres ]; then $(BIN)/python -c \
		"from pathlib import Path; from marketplace import devdb; devdb.reset(Path('.data/postgres'))"; fi
	rm -rf .venv .data .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache \
		licet-offline.pyz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- parts of `check` -------------------------------------------------------------------------

.PHONY: check-style
check-style: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: check-types
check-types: .venv/.ready
	$(BIN)/mypy

.PHONY: check-imports
check-imports: .venv/.ready
	$(BIN)/lint-imports

.PHONY: check-migrations
check-migrations: .venv/.ready
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python -m tests.migration_lint

# The document is committed so that a change of the API shows in review.
.PHONY: check-openapi
check-openapi: .venv/.ready
	@mkdir -p .data
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --format openapi-json \
		--file .data/openapi.json
	@diff -u api_docs/openapi.json .data/openapi.json >.data/openapi.diff || { \
		head -n 60 .data/openapi.diff; \
		echo "api_docs/openapi.json is out of date: run 'make openapi' and commit it."; exit 1; }
	@$(BIN)/python -m api_docs.breaking api_docs/openapi.released.json .data/openapi.json
	@$(BIN)/python -m api_docs.typed_terms | diff -u api_docs/typed_terms.md - || { \
		echo "api_docs/typed_terms.md is out of date: run 'make openapi' and commit it."; exit 1; }

# What is slower than it could be is told, and refused by nobody.
.PHONY: check-plans
check-plans: .venv/.ready
	@$(BIN)/python manage.py readplan

.PHONY: openapi
openapi: .venv/.ready ## write api_docs/openapi.json, typed_terms.md and the ledger's schema anew
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --format openapi-json \
		--file api_docs/openapi.json
	$(BIN)/python -m api_docs.typed_terms >api_docs/typed_terms.md
	$(BIN)/python -m api_docs.ledger_schema >api_docs/ledger_entry.schema.json

.PHONY: examples
examples: .venv/.ready ## take examples for the document from tests (FROM=tests/…), then make openapi
	@$(PYTEST) -n 0 -p tests.api_docs.taking -m "not (browser or chaos or oracle)" \
		$(or $(FROM),tests/api_docs/test_every_operation.py) $(ARGS)
	@$(MAKE) openapi

# What clients are promised from now on. A release runs it; nothing else does.
.PHONY: promise
promise: .venv/.ready
	$(BIN)/python -m api_docs.breaking --promise api_docs/openapi.json \
		>api_docs/openapi.released.json

.PHONY: lint-api
lint-api: .data/lint-api/.ready ## hold the OpenAPI document to Spectral's, OWASP's and Redocly's rules (needs npm)
	@if [ ! -e $< ]; then echo "lint-api: the linters could not be installed: skipped."; else \
		cp tests/oracles/lint_api/*.yaml $(<D)/; \
		$(<D)/node_modules/.bin/spectral lint --fail-severity warn \
			-r $(<D)/spectral.yaml api_docs/openapi.json; \
		REDOCLY_TELEMETRY=off $(<D)/node_modules/.bin/redocly lint \
			--config $(<D)/redocly.yaml api_docs/openapi.json; fi

.data/lint-api/.ready: tests/oracles/lint_api/package-lock.json
	@mkdir -p $(@D)
	@cp tests/oracles/lint_api/package*.json $(@D)/
	@if command -v npm >/dev/null && \
		npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent; then touch $@; fi

# --- the environment --------------------------------------------------------------------------

# The project is used where it stands, so only its dependencies are installed: all that the lock
# names, and no others (pip would look for newer ones of those that are asked for with extras).
.venv/.ready: requirements.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "Licet needs Python 3.11 or later: none found as python3, python3.13, 3.12 or 3.11."; \
		exit 1; fi
	@echo "Installing the dependencies into .venv (once; from requirements.lock)"
	@if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		rm -rf .venv; \
		if command -v uv >/dev/null; then uv venv --quiet --python "$(PYTHON)" .venv; \
		else "$(PYTHON)" -m venv .venv || { \
			echo "On Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }; fi; fi
	@if command -v uv >/dev/null; then \
		uv pip install --python $(BIN)/python --require-hashes -r requirements.lock; \
	else \
		$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip; \
		$(BIN)/python -m pip install --disable-pip-version-check --no-compile --require-hashes \
			--no-deps -r requirements.lock; fi
	@touch $@

.PHONY: lock
lock: ## pin the newest allowed dependencies, with hashes, for Python 3.11 to 3.13 (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv."; exit 1; }
	uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 \
		--no-header --no-emit-index-url --no-emit-find-links \
		--extra dev --extra oracles --extra otel --extra parquet pyproject.toml --output-file requirements.lock
	@if grep -nE '://|^--' requirements.lock; then \
		echo "requirements.lock names an address."; rm requirements.lock; exit 1; fi
