# `make` alone lists the targets. Everything runs in .venv, which `install` makes from the lock.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Where PYTHONDONTWRITEBYTECODE is set, every process would compile all of it again.
COMPILE := $(BIN)/python -m compileall -q src examples
BYTECODE := PYTHONDONTWRITEBYTECODE=
JOBS ?= 4
MINUTES ?= 10
SEED ?= 0

.PHONY: help install demo example-sleuths example-storyboard example-studio serve test proof mutants soak bench bench-long bench-peers scale check format docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

install: .venv/installed ## make .venv from the lock

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Safelight needs Python 3.11 or newer; name one as in: make demo PYTHON=python3.12")'
	@echo "installing into .venv what the lock names; this takes a minute or two, once"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --clear --python $(PYTHON) .venv && \
	  uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
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
	@$(COMPILE)
	$(BYTECODE) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -rs -m "not slow"

proof: install .venv-peers/installed ## the long versions as well
	@$(COMPILE)
	$(BYTECODE) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -rs

mutants: install ## switch safety lines off, one at a time: a test has to notice each
	$(BIN)/python -m pytest tests/mutations -v

soak: install ## break an installation for MINUTES (10), judge it, and write that into docs/reliability.md
	$(BIN)/safelight doctor --chaos --minutes $(MINUTES) --seed $(SEED) --page docs/reliability.md
	$(BIN)/python scripts/generate_docs.py

bench: install ## measure, and write figures and profile into docs/benchmarks.md
	@$(COMPILE)
	$(BIN)/python -m benchmarks --page docs/benchmarks.md
	$(BIN)/python -m benchmarks --profile --page docs/benchmarks.md
	$(BIN)/python scripts/generate_docs.py

bench-long: install ## 100 000 images, and 100 000 queued: minutes; writes into docs/benchmarks.md
	@$(COMPILE)
	$(BIN)/python -m benchmarks --long --page docs/benchmarks.md

bench-peers: install .venv-peers/installed ## measure Safelight beside its peers, into docs/benchmarks.md
	$(BIN)/python -m benchmarks.peers --page docs/benchmarks.md

.venv-peers/installed: benchmarks/peers/requirements.lock
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --clear --python $(PYTHON) .venv-peers && \
	  uv pip install -q --python .venv-peers/bin/python --require-hashes -r $<; \
	else \
	  $(PYTHON) -m venv --clear .venv-peers && \
	  .venv-peers/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $<; \
	fi
	@touch $@

scale: install ## calculate what large volumes take, from the figures in docs/benchmarks.md, into docs/scale.md
	$(BIN)/python -m benchmarks.queue_model --page docs/scale.md

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
	cd benchmarks/peers && uv pip compile requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-header -q -o requirements.lock
	uv pip compile pyproject.toml --extra alerts --extra otel --group build --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate -q -c requirements.lock -o deploy/requirements.lock

clean: ## remove what was built and made
	rm -rf .venv .venv-peers .demo .demo-sleuths .demo-storyboard .demo-studio demo-output dist
