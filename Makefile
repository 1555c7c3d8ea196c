# make setup | demo | test | test-all | docs | lint. Needs Python >= 3.11 and a network to PyPI; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --dist worksteal --durations=10

.PHONY: setup setup-all demo test test-slow test-all docs lint
.DEFAULT_GOAL := setup

setup: $(VENV)/.ready
setup-all: $(VENV)/.ready-all

# What the demo and the tests need.
$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, and $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

# That, launchers, loggers and linters.
$(VENV)/.ready-all: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/python scripts/demo.py $(if $(FAST),--fast) $(if $(FULL),--full)

test: setup
	$(PYTEST) -n 2 -m 'not slow'

test-slow: setup-all
	$(PYTEST) -n 3 -m slow  # they wait a third of their time for processes that they start

test-all: test test-slow

# The documents as a site, in site/index.html; a link that leads nowhere ends it.
docs: setup-all
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo 'docs: site/index.html'

lint: setup-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
