# 'make' shows what there is. Everything happens in .venv; data/ is never touched by make.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
REQUIREMENTS := pyproject.toml constraints.txt client-js/package.json
ARGS :=
# Many tests wait for clocks and disks, so a few at once; PARALLEL= runs one after the other.
PARALLEL := --numprocesses 3 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help run install test checks types tests lint format docs bench clean system-packages

help: ## Show this
	@echo "pushd: a durable push server in one program"
	@echo
	@awk -F ': .*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run ARGS='--listen 127.0.0.1:9000'   passes options on (pushctl serve --help)"
	@echo "  make run PYTHON=/path/to/python3          another Python than the first that is new enough"

run: install ## Install into .venv and start a development server; it prints what to try
	@exec $(BIN)/pushctl serve --dev $(ARGS)

install: $(VENV)/.for-run ## Install pushd into .venv

test: system-packages $(VENV)/.for-test ## Install what tests need, then lint, types and all tests
	@$(MAKE) --no-print-directory checks
	@$(MAKE) --no-print-directory -j 2 types tests

lint: $(VENV)/.for-test ## Style and types only
	@$(MAKE) --no-print-directory checks types

checks: $(VENV)/.for-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.for-test
	$(BIN)/mypy

tests: $(VENV)/.for-test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

format: $(VENV)/.for-test ## Format the code and sort its imports
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

docs: $(VENV)/.for-run ## Write docs/settings.md anew
	$(BIN)/pushctl config docs > docs/settings.md

bench: system-packages $(VENV)/.for-test ## Run the benchmarks, side by side with peers
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove .venv, caches and builds; data/ stays
	rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed again only when what is asked for has changed.

$(VENV)/.for-run: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing pushd into $(VENV) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.for-test: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing pushd and its test tools into $(VENV) ..."
	@$(PIP) -e '.[test]'
	@if command -v npm >/dev/null; then cd client-js && \
		npm install --no-package-lock --no-audit --no-fund --loglevel=error || \
		echo "The types of client-js are not checked: npm could not install TypeScript."; fi
	@touch $(VENV)/.for-run $@

# PYTHON may name one; otherwise the first that is new enough. Debian ships venv apart.
$(BIN)/python:
	@new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; found=; \
	for python in $(or $(PYTHON),python3 python3.11 python3.12 python3.13 python3.14); do \
		if "$$python" -c "$$new_enough" 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		seen=$$($(or $(PYTHON),python3) --version 2>&1 || :); \
		echo "pushd needs Python 3.11 or newer, and finds: $${seen:-none}." >&2; \
		echo "Install one (Debian: apt-get install python3 python3-venv), or name it:" >&2; \
		echo "make run PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$found cannot make virtual environments: its venv module is missing." >&2; \
		echo "Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$found ($$("$$found" --version)) ..."; \
	"$$found" -m venv --clear $(VENV)

# Programs that tests start. Missing ones are installed where that needs no question.
system-packages:
	@missing=; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	[ -n "$$missing" ] || exit 0; \
	sudo=; \
	if [ "$$(id -u)" != 0 ]; then sudo="sudo -n"; fi; \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
		echo "Installing Debian packages that tests start:$$missing"; \
		$$sudo apt-get update -qq && \
		$$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $$missing >/dev/null && exit 0; \
	fi; \
	echo "Not installed:$$missing. Tests that start them will fail; please install them." >&2
