# The two commands of the README. Each makes .venv and installs the project into it first.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: sweep test slow docs

sweep: .venv/.installed
	$(BIN)/python -m bench.sweep --variant ds-gru

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPY_NUM_WORKERS=$(JOBS) $(BIN)/mypy
	$(BIN)/pytest -n $(JOBS)

# Minutes long: whole sweeps of real processes, interrupted and resumed.
slow: .venv/.installed-dev
	$(BIN)/pytest -m slow

# The pages of docs/ as a site; a dead link is an error.
docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir out/site

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[spoken,lm]'
	touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[spoken,dev]'
	touch $@

.venv/.installed-docs: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@
