# Two commands: `make book` and `make test`. Everything else is a part of them.

PYTHON ?= python3
PRESET ?= fast
BENCH ?= --suite bars
VENV := .venv
# Idle threads sleep and do not spin, so that a busy machine is not made ten times slower.
export OMP_WAIT_POLICY ?= PASSIVE
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NOTEBOOKS = $(wildcard book/*.ipynb)

.PHONY: help install book test unit smoke bench lint clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  PRESET=smoke|fast|full sets the size of the book (now $(PRESET)), PYTHON= the interpreter (now $(PYTHON))"

install: $(STAMP) ## make .venv with the package and everything it needs (again only if pyproject.toml changes)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python %d.%d found, expected 3.11 or newer: make PYTHON=python3.12 install" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all]"
	@touch $@

book: install ## run the chapters that changed and make the pages
	$(BIN)/python -m mpbook book --preset $(PRESET)

test: install unit smoke ## the whole check: unit tests, every chapter, its outputs, its pages

unit: install
	$(BIN)/python -m pytest

smoke: install unit
	$(BIN)/python -m mpbook run --preset smoke
	$(BIN)/python -m mpbook compare
	$(BIN)/python -m mpbook render --preset smoke
	$(BIN)/python -m mpbook look

bench: install ## measure whether it is fast enough here, in under 8 minutes (BENCH= other words of `mplib bench`)
	$(BIN)/python -m mplib bench $(BENCH)

lint: install ## style, types, and notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy mplib mpbook
	@test -z "$(NOTEBOOKS)" || $(BIN)/nbstripout --verify --keep-id $(NOTEBOOKS)

clean: ## remove what was made, but not .venv
	rm -rf build _build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mplib mpbook tests -name __pycache__ -type d -prune -exec rm -rf {} +
