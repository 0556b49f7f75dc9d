# The only verbs of the project. `make serve` and `make test` need Python 3.11+, git and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup serve test protos protos-check fmt lint types arch reproduce e2e compose-test clean

setup: ## make .venv with everything, once
	@$(PYTHON) scripts/bootstrap.py

serve: setup ## run everything on this machine until Ctrl-C
	@$(BIN)/diffserve up

test: setup protos-check lint types arch ## all checks and the default tests
	@$(BIN)/python -m pytest

protos: setup ## generate the stubs
	@$(BIN)/python scripts/gen_protos.py

protos-check: setup ## fail when the stubs differ from the protos
	@$(BIN)/python scripts/gen_protos.py --check

fmt: setup ## format and mend what can be mended
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup ## formatting and lint
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: setup ## mypy --strict
	@$(BIN)/mypy

arch: setup ## import rules
	@$(BIN)/lint-imports --no-logo

reproduce: setup ## run every experiment and write docs/results; ARGS="--quick" for minutes
	@$(BIN)/diffserve reproduce $(ARGS)

e2e: setup ## slow tests: minutes
	@$(BIN)/python -m pytest -m slow -o faulthandler_timeout=0

compose-test: setup ## build, run, scale and tear down the containers
	@$(BIN)/python -m pytest -m compose -o faulthandler_timeout=0

clean: ## remove what was built, not .venv
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
