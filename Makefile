# make demo        the main job on real data: five hospitals, one coordinator, real processes
# make test        the tests
# make coverage    the tests, and which part of each package they run; fails where the machine's own leave out a branch
# make fuzz-programs  random programs on the machine and on CPython; PROGRAMS=n of them
# make fuzz-regions   random programs with private regions, each on two private inputs; PROGRAMS=n of them
# make vm-stop     stop every program of the corpus at every instruction, go on in another process
# make fuzz-vm     programs and states of the machine, changed at random and led by coverage; SECONDS=n of it
# Each target does its own set-up in $(VENV). Needs Python 3.11 or newer and make.

PYTHON ?= python3
VENV ?= .venv
SEED ?= 0
WORKERS ?= auto
CHAOS ?=
OUTPUT ?= demo-output
PROGRAMS ?= 20000
SECONDS ?= 600
BIN := $(VENV)/bin
# What is used is compiled when it is used first: compiling all of what is installed takes a third of the set-up. It has
# to be kept, then, whatever the caller's environment says: demo and tests start processes by the dozen.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile
VM_TESTS := tests/vm tests/labels tests/programs
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test coverage coverage-vm fuzz-programs fuzz-regions vm-stop fuzz-vm lint types arch bench bench-vm clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sojourn needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "installing Sojourn and what the demo needs (half a minute to a minute, 1 GB on disk)"
	@$(PIP) --editable '.[coordinator,samples]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "installing Sojourn and what the tests need (half a minute to a minute, 1 GB on disk)"
	@$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: pyproject.toml $(VENV)/.test
	@echo "installing ruff and mypy"
	@$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.fuzz: pyproject.toml $(VENV)/.test
	@echo "installing atheris (Linux on x86-64 has it)"
	@$(PIP) --editable '.[fuzz]'
	@touch $@

demo: $(VENV)/.demo ## Train over five hospitals; CHAOS=1 kills machines on the way, SEED=n draws other splits
	@$(BIN)/python samples/01_hospitals/demo.py --seed $(SEED) --output $(OUTPUT) $(if $(filter-out 0,$(CHAOS)),--chaos)

test: $(VENV)/.test ## Run the tests on all cores; ARGS="tests/vm" for a part, WORKERS=0 for one process
	@$(PYTEST) $(ARGS)

coverage: $(VENV)/.test $(if $(ARGS),,coverage-vm) ## coverage-vm, then all other tests: how much of each package they run
	@$(PYTEST) --cov $(if $(ARGS),,--cov-append $(addprefix --ignore=,$(VM_TESTS))) --cov-report=json:.coverage.json $(ARGS)
	@$(BIN)/python tests/coverage_by_package.py .coverage.json

coverage-vm: $(VENV)/.test ## The machine's own tests; fails where they leave out a line or branch of vm or labels
	@$(PYTEST) --cov --cov-report= $(VM_TESTS)
	@$(BIN)/coverage report --include='*/sojourn/vm/*,*/sojourn/labels/*' \
		--skip-covered --show-missing --fail-under=100

fuzz-programs: $(VENV)/.test ## Compare PROGRAMS=20000 random programs with CPython, stops included (about 10 minutes)
	@SOJOURN_FUZZ_PROGRAMS=$(PROGRAMS) $(BIN)/python -m pytest -q tests/programs/test_random_programs.py

fuzz-regions: $(VENV)/.test ## Look for a leak in PROGRAMS=20000 random programs with private regions (about 5 minutes)
	@SOJOURN_FUZZ_REGIONS=$(PROGRAMS) $(BIN)/python -m pytest -q tests/vm/exfiltration/test_non_interference.py

vm-stop: $(VENV)/.test ## Stop programs everywhere (up to 2,000 stops each), go on in another process; ARGS="--stops 100 hanoi"
	@$(BIN)/python tests/programs/stopping.py $(ARGS)

fuzz-vm: $(VENV)/.fuzz ## Fuzz the machine for SECONDS=600; a finding stops it and is kept in .fuzz-vm. ARGS="--keep" keeps what was learnt
	@$(BIN)/python tests/fuzz/fuzz_vm.py --seconds $(SECONDS) $(ARGS)

lint: $(VENV)/.dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

arch: $(VENV)/.test ## The import contracts
	@$(BIN)/lint-imports

bench: $(VENV)/.test ## Rounds by number of agents and size; last line is one JSON object
	@$(BIN)/python tests/benchmarks/rounds.py

bench-vm: $(VENV)/.dev ## The machine beside CPython and pydantic-monty; last line is one JSON object
	@$(PIP) --editable '.[bench]'
	@$(BIN)/python tests/benchmarks/vm.py

clean: ## Remove the environment, caches and the demo's output
	@rm -rf $(VENV) $(OUTPUT) .coverage .coverage.json .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
