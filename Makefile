# make demo | make test | make check | make drill | make docs | make dist. Everything is installed into .venv by the first of them.
# make lowest | make newest: the quick tests with the oldest, or the newest, releases that pyproject.toml's ranges allow.
PYTHON ?= python3
BIN := .venv/bin
# The release that was tried, in whichever build pip offers; TORCH= takes the newest in pyproject.toml's range.
TORCH ?= torch==2.13.0

# Each of two workers begins with one half, so that what a file's tests share is made once.
ON_TWO := -n 2 --dist worksteal

.PHONY: demo test check lint drill docs dist install clean lowest newest

install: .venv/installed

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "rggan needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(if $(TORCH),$(BIN)/pip install --quiet "$(TORCH)")
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@

demo: install
	bash runs/digits.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ON_TWO)

check: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ON_TWO) -m "not slow"

RESOLUTION_lowest := lowest-direct
RESOLUTION_newest := highest

lowest newest: %: .venv-%/installed
	OMP_NUM_THREADS=1 .venv-$@/bin/python -m pytest $(ON_TWO) -m "not slow"

.venv-%/installed: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet "uv>=0.8,<1"
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --resolution $(RESOLUTION_$*) --editable ".[dev]"
	@touch $@

drill: install
	$(BIN)/python -m tests.faults --page docs/reliability.md

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html; $(BIN)/mkdocs serve shows it with its search"

dist: install
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf .venv .venv-* build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache demo
