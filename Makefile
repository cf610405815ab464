# Every command a person types; CI types the same ones. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PROFILE ?= release
RUST_SOURCES := $(shell find rust/src -name '*.rs') rust/Cargo.toml rust/Cargo.lock
DATA_DIR ?= ./data
HTTP ?= 127.0.0.1:7070
SOAK_SECONDS ?= 3600

.PHONY: help tools setup build run test lint format compat soak peers bench bench-check wheel wheel-check clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

tools:
	@bash tools/check_tools.sh $(PYTHON)

$(STAMPS)/environment: pyproject.toml | tools
	@test -d $(VENV) || { echo "[1/3] making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@mkdir -p $(STAMPS)
	@echo "[2/3] installing Python dependencies"
	@$(BIN)/python tools/install_dependencies.py
	@touch $@

$(STAMPS)/core: $(STAMPS)/environment $(RUST_SOURCES)
	@echo "[3/3] building the core ($(PROFILE); a few minutes the first time)"
	@PIP_QUIET=1 VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --quiet --profile $(PROFILE)
	@touch $@

setup: $(STAMPS)/core ## make .venv, install what is needed, build the core

build: setup ## rebuild the core after a change to rust/

run: setup ## start Orrery on loopback, data under ./data, this host's metrics flowing in
	@$(BIN)/orrery serve --data-dir $(DATA_DIR) --http $(HTTP) --host-metrics-seconds 5

test: setup ## run the tests (but for the compatibility and the long ones)
	$(BIN)/pytest -m "not compat and not soak"
	cd rust && cargo test --quiet

lint: setup ## formatting, lint, types
	$(BIN)/ruff format --check src tests bench tools
	$(BIN)/ruff check src tests bench tools
	$(BIN)/mypy
	cd rust && cargo fmt --check && cargo clippy --quiet --all-targets --features python -- -D warnings

format: setup ## reformat everything
	$(BIN)/ruff format src tests bench tools
	$(BIN)/ruff check --fix --quiet src tests bench tools || true
	cd rust && cargo fmt

peers: ## unpack the original products from Debian packages, under build/peers
	@$(PYTHON) tools/install_peers.py

compat: setup peers ## run the tests that put Orrery beside the original products
	$(BIN)/pytest -m compat

soak: setup ## run the long suites: crashes, fuzzing (SOAK_SECONDS each)
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -m soak

bench: setup peers ## one table: Orrery beside its peers (HOURS of data)
	$(BIN)/python bench/compare.py --hours $(or $(HOURS),1)

bench-check: setup peers ## name what became dearer than recorded, beside a peer, beyond noise
	$(BIN)/python bench/check.py

wheel: setup ## build the wheel that is published, into dist/
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin build --quiet --profile dist --out dist

wheel-check: wheel ## install the wheel into a fresh environment and start it
	@bash tools/check_wheel.sh $(PYTHON)

clean: ## remove what was built
	rm -rf $(VENV) rust/target dist build
