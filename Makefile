# Each target does its own set-up: Python 3.11+, a C compiler and make are all it needs.
PYTHON ?= python3
VENV := .venv
SPACE := $(subst ,, )
BIN := $(VENV)/bin
# The variable, unlike the option, also pins what builds the shim.
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip --disable-pip-version-check --quiet
# Configured and built without a word unless something is wrong.
CONFIGURE = $(BIN)/cmake -S runtime/shim -DPython3_EXECUTABLE=$(CURDIR)/$(BIN)/python -DCMAKE_RULE_MESSAGES=OFF -DCMAKE_TARGET_MESSAGES=OFF >/dev/null
BUILD = MAKEFLAGS= MAKELEVEL=0 $(BIN)/cmake --build
QUIET = -- --silent
SOURCES := pyproject.toml constraints.txt azpg/__init__.py $(shell find runtime/shim -type f)

# Further servers to compile against, if their headers are here: PostgreSQL 15 on Debian 12.
SERVER_HEADERS = $(patsubst %/postgres.h,%,$(wildcard /usr/include/postgresql/1[5-8]/server/postgres.h))
SANITIZED_TESTS = embeddings generated_columns models_and_settings extensions extension_schemas reserved_roles locales contrib
FUZZ_SECONDS ?= 30
CHAOS_SECONDS ?= 300
# Any number: it decides texts, operations and faults. Without one, each run has another.
CHAOS_SEED ?=
# Half the time of one after the other; each has its own servers.
PYTEST_ARGS ?= -n 2

# The Pulumi command line: the one on PATH, or one that is built into the cache.
TOOLS := .cache/tools
INSTALLED := $(shell command -v pulumi)
export PATH := $(PATH):$(CURDIR)/$(TOOLS)

# An environment whose Python or pip is gone was left half made, or lost its interpreter: it is made anew.
ifeq ($(shell $(BIN)/python -c 'import pip' 2>/dev/null && echo whole),)
$(shell rm -f $(VENV)/installed $(VENV)/developed)
endif

.PHONY: help demo test fresh sanitize fuzz chaos bench lint tools clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      semantic search over real text on a local Azure PostgreSQL"
	@echo "make test      all tests      (PYTEST_ARGS='-k cancel' for some)"
	@echo "make fresh     the set-up of demo and test, as on a machine that has never seen azpg"
	@echo "make sanitize  tests of the shim with AddressSanitizer and UndefinedBehaviorSanitizer in it"
	@echo "make fuzz      both sides of the wire protocol, FUZZ_SECONDS each (30)"
	@echo "make chaos     a load with faults in it, CHAOS_SECONDS (300), CHAOS_SEED; and what must hold after it"
	@echo "make bench     what it costs, as ratios"
	@echo "make tools     the Pulumi command line for the end-to-end tests, unless it is on PATH"
	@echo "make lint      ruff, mypy, import-linter, and the shim with warnings as errors"

# demo runs what a user installs; test and lint use the source tree in place.
$(VENV)/installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "azpg needs Python 3.11 or newer; %s is %d.%d. Name another: make PYTHON=python3.12" % (sys.executable, *sys.version_info[:2]))'
	@$(PYTHON) tools/prerequisites.py
	$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --editable .
	@touch $@

# Only what the extras add: to install azpg again would compile the shim again.
$(VENV)/developed: $(VENV)/installed tools/extras.py
	$(BIN)/python tools/extras.py arm azure provision pulumi test lint >$(VENV)/extras.txt
	$(PIP) install --requirement $(VENV)/extras.txt
	@touch $@

demo: $(VENV)/installed
	$(BIN)/azpg demo

test: $(VENV)/developed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# A clone of what is committed, in an empty environment.
fresh:
	$(PYTHON) tools/fresh.py

bench: $(VENV)/developed
	$(BIN)/python -m tests.benchmarks
	$(BIN)/python -m tests.benchmarks.vectorize
	$(BIN)/python -m tests.benchmarks.tables

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tools/*.py infra/__main__.py
	$(BIN)/lint-imports
	set -e; for compiler in gcc clang; do \
	  if ! command -v $$compiler >/dev/null; then echo "no $$compiler here: the shim is not compiled by it"; continue; fi; \
	  $(CONFIGURE) -B build/lint-$$compiler -DCMAKE_C_COMPILER=$$compiler -DAZPG_WERROR=ON -DAZPG_CHECK_HEADERS="$(subst $(SPACE),;,$(SERVER_HEADERS))"; \
	  $(BUILD) build/lint-$$compiler --clean-first $(QUIET); \
	done

tools: $(or $(INSTALLED),$(TOOLS)/pulumi) $(TOOLS)/policy/installed

$(TOOLS)/pulumi: tools/go.mod tools/go.sum tools/build.py | $(VENV)/developed
	$(BIN)/python tools/build.py $(TOOLS)

# The policy pack's own environment.
$(TOOLS)/policy/installed: infra/policy/requirements.txt infra/policy/constraints.txt
	$(PYTHON) -m venv $(TOOLS)/policy
	cd infra/policy && $(CURDIR)/$(TOOLS)/policy/bin/python -m pip --disable-pip-version-check --quiet install -r requirements.txt
	@touch $@

sanitize: $(VENV)/developed
	$(CONFIGURE) -B build/sanitize -DCMAKE_C_COMPILER=gcc -DAZPG_SANITIZE=ON
	$(BUILD) build/sanitize $(QUIET)
	SANITIZED_SHIM=$(CURDIR)/build/sanitize $(BIN)/python -m pytest $(SANITIZED_TESTS:%=tests/integration/test_%.py) $(PYTEST_ARGS)

fuzz: $(VENV)/developed
	$(CONFIGURE) -B build/fuzz -DCMAKE_C_COMPILER=$$(command -v clang || echo gcc) -DAZPG_FUZZ=ON
	$(BUILD) build/fuzz --target frame_fuzz $(QUIET)
	build/fuzz/frame_fuzz -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/fuzz/ -print_final_stats=1 -verbosity=0
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

chaos: $(VENV)/developed
	$(BIN)/python -m tests.chaos --seconds $(CHAOS_SECONDS) $(CHAOS_SEED:%=--seed %)

clean:
	rm -rf $(VENV) build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
