# Every target makes its own environment: a machine with Python 3.11 or later, make and a
# package registry is enough.
#
#   make demo                                  the main job on real input (ARGS="--help" for options)
#   make test                                  the whole suite, doctests and slow tests included
#   make test EXTRAS="torch==2.13.0 jax"       the same on more array libraries
#   make packages                              source distribution and wheel in empty environments
#   make lint | docs | bench                   style, types and architecture | manual | benchmarks
#   make device EXTRAS=cupy-cuda12x            all modules on a device, into docs/dev/gpu.md
#
# PYTHON   the interpreter that makes the environment     (python3)
# VENV     where the environment lies                     (.venv)
# EXTRAS   requirements to install beside ours; remembered until they change
# ARGS     arguments of `make demo`, `make bench` and `make device`
# TESTS    arguments of pytest in `make test`, for example TESTS="tests/core -k merge"

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?=
ARGS ?=
TESTS ?= -n logical --maxprocesses 4

BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet --requirement $(VENV)/.extras

# The demo, test workers and the kernels measured each own one BLAS thread.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 VECLIB_MAXIMUM_THREADS=1
export MPLBACKEND ?= Agg

.DELETE_ON_ERROR:
.PHONY: help demo test lint docs bench bench-check device packages clean FORCE

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo
	$(ONE_THREAD) $(BIN)/python -m linalgkit $(ARGS)

test: $(VENV)/.test
	$(ONE_THREAD) $(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(ONE_THREAD) $(BIN)/python -m sphinx -b html -W --keep-going docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

bench: $(VENV)/.bench-all bench-check
	$(ONE_THREAD) $(BIN)/python asv_benchmarks/compare.py --output docs/benchmarks_table.rst $(ARGS)

device: $(VENV)/.demo
	$(BIN)/python asv_benchmarks/device.py --output docs/dev/gpu.md $(ARGS)

bench-check: $(VENV)/.bench
	cd asv_benchmarks && $(ONE_THREAD) $(BIN)/asv check --environment existing:$(BIN)/python

packages:
	PYTHON='$(PYTHON)' .ci/packages

clean:
	rm -rf docs/_build docs/gallery docs/api/generated
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# One stamp a group of tools: made again when pyproject.toml or EXTRAS has changed.

$(VENV)/.demo: pyproject.toml $(VENV)/.extras
	$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.extras
	$(INSTALL) --editable '.[all]' --group test
	@touch $@

$(VENV)/.lint: pyproject.toml $(VENV)/.extras
	$(INSTALL) --editable '.[all]' --group lint
	@touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.extras
	$(INSTALL) --editable '.[all]' --group docs
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.extras
	$(INSTALL) --editable . --group bench
	@touch $@

$(VENV)/.bench-all: $(VENV)/.bench
	$(INSTALL) --group bench-all
	@touch $@

# The file is written only when EXTRAS names something new, so that a later call without
# EXTRAS keeps what is installed and installs nothing again.
$(VENV)/.extras: $(VENV)/.python FORCE
	@test -e $@ || : > $@
	@printf '%s\n' $(foreach extra,$(EXTRAS),'$(extra)') > $@.new
	@if [ -n '$(strip $(EXTRAS))' ] && ! cmp -s $@.new $@; then mv $@.new $@; else rm $@.new; fi

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'linalgkit needs Python 3.11 or later: make PYTHON=/path/to/python ...' >&2; exit 1; }
	$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	@touch $@

FORCE:
