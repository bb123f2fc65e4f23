# `make demo` runs the example, `make test` runs every check; both do their own set-up in .venv.
#
#   PYTHON=python3.12   another interpreter (3.10 or later)      VENV=.venv    another place
#   PORT=5000           where the demo listens                   ARGS=--check  options for demo and bench
#   PYTEST_ARGS=...     options for pytest, for example PYTEST_ARGS="-k rollback"

PYTHON ?= python3
VENV ?= .venv
PORT ?= 5000
ARGS ?=
BENCH_VENV ?= .venv-bench
PYTEST_ARGS ?=
WORKERS ?= auto

BIN := $(VENV)/bin
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev
BENCH := $(BENCH_VENV)/.installed-bench
REQUIRES := setup.cfg setup.py pyproject.toml tools/bootstrap.py tools/redis_server.py tools/axe.py
# The check picks a free port for itself.
LISTEN := $(if $(findstring --check,$(ARGS)),,--port $(PORT))

.PHONY: help demo test lint format types layers docstrings docs suite bench screenshots tox clean distclean

help:
	@echo "make demo   the example application on 127.0.0.1:$(PORT)     (ARGS=--check walks through it and ends)"
	@echo "make test   lint, types, layers, docstrings, docs, the suite with coverage"
	@echo "one by one: lint types layers docstrings docs suite; also: format bench screenshots tox clean distclean"

demo: $(BASE)
	$(BIN)/python -m example_app $(LISTEN) $(ARGS)

# The quick checks first, the suite last, so that its summary ends the output.
test: $(DEV)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory layers
	@$(MAKE) --no-print-directory docstrings
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory suite

lint: $(DEV)
	@echo "== lint"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: $(DEV)
	@echo "== types"
	$(BIN)/mypy

layers: $(DEV)
	@echo "== layers"
	$(BIN)/lint-imports --no-logo

docstrings: $(DEV)
	@echo "== docstrings"
	$(BIN)/interrogate flask_statemanager example_app

docs: $(DEV)
	@echo "== docs"
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

# Servers are required here: what plain pytest would skip for want of one is an error.
suite: $(DEV)
	@echo "== suite"
	@rm -f .coverage .coverage.*
	$(BIN)/python tools/browser.py
	REQUIRE_SERVERS=1 $(BIN)/python -m pytest -n $(WORKERS) --cov $(PYTEST_ARGS)

# The packages to compare with stay out of the environment that the tests run in.
bench: $(BENCH)
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

# The pictures of the admin pages in docs/; ARGS="--looks FOLDER" makes others too, to be looked at.
screenshots: $(DEV)
	$(BIN)/python tools/browser.py
	$(BIN)/python -m tools.screenshots $(ARGS)

tox: $(DEV)
	$(BIN)/tox run $(ARGS)

clean:
	rm -rf build dist docs/_build htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './$(BENCH_VENV)/*' -not -path './.tox/*' \
		-prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(BENCH_VENV) .tox

$(BASE): $(REQUIRES)
	$(PYTHON) tools/bootstrap.py $(VENV)
	$(BIN)/python -m pip install --editable '.[dash,frames,stores,web]'
	@touch $@

$(DEV): $(REQUIRES)
	$(PYTHON) tools/bootstrap.py $(VENV)
	$(BIN)/python -m pip install --editable '.[dev]'
	$(BIN)/python tools/redis_server.py
	$(BIN)/python tools/axe.py
	@touch $(BASE) $@

$(BENCH): $(REQUIRES) benchmarks/requirements.txt
	$(PYTHON) tools/bootstrap.py $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --editable '.[test]' --requirement benchmarks/requirements.txt
	$(BENCH_VENV)/bin/python tools/redis_server.py
	@touch $@
