# Every command a person types; CI types the same ones. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
RUST_SOURCES := $(shell find rust -name '*.rs' -not -path '*/target/*') rust/Cargo.toml rust/Cargo.lock
PROFILE ?= release

.PHONY: help setup build test lint format clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

$(STAMPS)/environment: pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python tools/install_dependencies.py
	@touch $@

$(STAMPS)/core: $(STAMPS)/environment $(RUST_SOURCES)
	cd $(CURDIR) && VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --quiet --profile $(PROFILE)
	@touch $@

setup: $(STAMPS)/core ## make .venv, install what is needed, build the core

build: $(STAMPS)/core ## rebuild the core after a change to rust/

test: setup ## run the tests
	$(BIN)/pytest
	cd rust && cargo test --quiet

lint: setup ## formatting, lint, types, imports
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	cd rust && cargo fmt --check && cargo clippy --quiet --all-targets --features python -- -D warnings

format: setup ## reformat everything
	$(BIN)/ruff format src tests bench
	$(BIN)/ruff check --fix --quiet src tests bench || true
	cd rust && cargo fmt

clean: ## remove what was built
	rm -rf $(VENV) rust/target dist
