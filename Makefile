# The two commands of the README. Each makes .venv and installs the project into it first.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: sweep test slow

sweep: .venv/.installed
	$(BIN)/python -m bench.sweep --variant ds-gru

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(JOBS)

# Minutes long: whole sweeps of real processes, interrupted and resumed.
slow: .venv/.installed-dev
	$(BIN)/pytest -m slow

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[spoken]'
	touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[spoken,dev]'
	touch $@
