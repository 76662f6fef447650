# make demo        the main job on real data: five hospitals, one coordinator, real processes
# make test        the tests
# make fuzz-programs  random programs on the machine and on CPython; PROGRAMS=n of them
# Each target does its own set-up in $(VENV). Needs Python 3.11 or newer and make.

PYTHON ?= python3
VENV ?= .venv
SEED ?= 0
WORKERS ?= auto
CHAOS ?=
OUTPUT ?= demo-output
PROGRAMS ?= 20000
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz-programs lint types arch bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sojourn needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "installing Sojourn and what the demo needs (about a minute, 1 GB on disk)"
	@$(PIP) --editable '.[coordinator,samples]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "installing Sojourn and the development tools (about a minute, 1 GB on disk)"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## Train over five hospitals; CHAOS=1 kills machines on the way, SEED=n draws other splits
	@$(BIN)/python samples/01_hospitals/demo.py --seed $(SEED) --output $(OUTPUT) $(if $(filter-out 0,$(CHAOS)),--chaos)

test: $(VENV)/.dev ## Run the tests on all cores, with coverage by package; ARGS="tests/vm" for a part, WORKERS=0 for one process
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term:skip-covered $(ARGS)

fuzz-programs: $(VENV)/.dev ## Compare PROGRAMS=20000 random programs with CPython, stops included (about 10 minutes)
	@SOJOURN_FUZZ_PROGRAMS=$(PROGRAMS) $(BIN)/python -m pytest -q tests/programs/test_random_programs.py

lint: $(VENV)/.dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

arch: $(VENV)/.dev ## The import contracts
	@$(BIN)/lint-imports

bench: $(VENV)/.dev ## Rounds by number of agents and size; last line is one JSON object
	@$(BIN)/python tests/benchmarks/rounds.py

clean: ## Remove the environment, caches and the demo's output
	@rm -rf $(VENV) $(OUTPUT) .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
