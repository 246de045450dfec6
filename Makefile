# `make` alone lists the targets. Everything runs in .venv, which `install` makes from the lock.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 3

.PHONY: help install demo example-sleuths example-storyboard example-studio serve test proof bench check format docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

install: .venv/installed ## make .venv from the lock

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Safelight needs Python 3.11 or newer")'
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --clear --python $(PYTHON) .venv && \
	  uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(PYTHON) -m venv --clear .venv && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

demo: install ## 14 pictures of a mystery case, from the sandbox, into demo-output/
	@$(BIN)/safelight demo

example-sleuths: install ## a daily mystery game at 127.0.0.1:8500, its pictures from the sandbox
	@$(BIN)/python examples/run.py sleuths

example-storyboard: install ## a film's storyboard at 127.0.0.1:8510, the same way
	@$(BIN)/python examples/run.py storyboard

example-studio: install ## a product studio at 127.0.0.1:8520, the same way
	@$(BIN)/python examples/run.py studio

serve: install ## database, API and worker on 127.0.0.1:8420
	@$(BIN)/safelight serve

test: install ## every test that fits in eight minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow"

proof: install ## the long versions as well
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

bench: install ## measure, and write figures and profile into docs/benchmarks.md
	$(BIN)/python -m benchmarks --page docs/benchmarks.md
	$(BIN)/python -m benchmarks --profile --page docs/benchmarks.md

check: install ## format, lint, types, layers, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check

format: install ## format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install ## write the generated documents
	$(BIN)/python scripts/generate_docs.py

lock: ## resolve the lock anew (needs uv)
	uv pip compile pyproject.toml --group build --group check --group test --universal --python-version 3.11 \
	  --generate-hashes --no-header -q -o requirements.lock

clean: ## remove what was built and made
	rm -rf .venv .demo .demo-sleuths .demo-storyboard .demo-studio demo-output dist
