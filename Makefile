# Each target does its own set-up: Python 3.11+, a C compiler and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The variable, unlike the option, also pins what builds the shim.
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := pyproject.toml constraints.txt $(shell find runtime/shim -type f)

.PHONY: demo test bench lint clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    semantic search over real text on a local Azure PostgreSQL"
	@echo "make test    all tests      (PYTEST_ARGS='-k cancel' for some)"
	@echo "make bench   what it costs, as ratios"
	@echo "make lint    ruff, mypy, import-linter, and the shim with warnings as errors"

# demo runs what a user installs; test and lint use the source tree in place.
$(VENV)/installed: $(SOURCES)
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "azpg needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	@touch $@

$(VENV)/developed: $(VENV)/installed
	$(PIP) install --editable '.[test,lint]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/azpg demo

test: $(VENV)/developed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/developed
	$(BIN)/python -m tests.benchmarks

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cmake -S runtime/shim -B build/lint -DAZPG_WERROR=ON -DPython3_EXECUTABLE=$(CURDIR)/$(BIN)/python --log-level=WARNING
	$(BIN)/cmake --build build/lint --clean-first -- --silent

clean:
	rm -rf $(VENV) build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
