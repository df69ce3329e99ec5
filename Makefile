# Every target does all its own set-up: a machine with make and Python 3.11 or newer is enough. Where Node.js is
# there too, the tests also ask a language server what an editor shows.
# The set-up is done again only when the lock file or pyproject.toml has changed.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
EDITOR := build/editor
LOCK   := requirements.lock
# Which uv resolves the lock file; it is no dependency of the project, so it gets an environment of its own.
UV     := uv==0.13.9
# Tests run side by side; the suite's time limit is meant for two cores.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check bench peers soak lock editor setup clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(STAMP) ## Show the whole job on the example: plan, apply, serve, sync, deliver, retry, survive kill -9
	@$(BIN)/python scripts/demo.py

test: $(STAMP) editor ## Run the tests
	@$(BIN)/pytest -n $(WORKERS) $(ARGS)

check: $(STAMP) ## Lint, check the formatting, the types and the dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/audit.py $(AUDIT)

bench: $(STAMP) ## Measure deliveries, isolation, a long queue and plans beside the limits of this machine
	@$(BIN)/python bench/end_to_end.py $(ARGS)
	@$(BIN)/python bench/isolation.py $(ISOLATION)
	@$(BIN)/python bench/backlog.py $(BACKLOG)
	@$(BIN)/python bench/planning.py $(PLANNING)

peers: $(STAMP) ## Measure deliveries beside BullMQ, and triggers beside adnanh/webhook; gets what is missing
	@$(BIN)/python bench/compare.py $(ARGS)

soak: $(STAMP) ## Kill the daemon under load, again and again, and account for every event
	@$(BIN)/python bench/soak.py $(ARGS)

setup: $(STAMP) ## Create the environment and nothing else

editor: ## Install the language server that some tests ask, if npm is there
	@if command -v npm >/dev/null; then $(MAKE) --silent $(EDITOR)/.installed; \
	else echo 'No npm here: the tests of what an editor shows are left out.' >&2; fi

$(EDITOR)/.installed: tests/editor/package.json tests/editor/package-lock.json
	@mkdir -p $(EDITOR)
	@cp $^ $(EDITOR)
	@echo "Installing the language server that tests/editor/package-lock.json pins into $(EDITOR) (once) ..."
	@cd $(EDITOR) && npm ci --ignore-scripts --no-audit --no-fund --silent </dev/null
	@touch $@

lock: ## Resolve the dependencies anew into requirements.lock
	@$(call python) -m venv --clear $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check '$(UV)'
	@$(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--group dev --no-header --no-annotate --output-file $(LOCK) pyproject.toml
	@rm -rf $(VENV)-lock
	@echo "$(LOCK) is up to date"

clean: ## Remove everything that these targets have made, but no state
	rm -rf $(VENV) $(VENV)-lock build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is new enough; the message says what to do where there is none.
define python
$$(for name in $${PYTHON:-python3} python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; exit; }; \
done; echo 'Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3' >&2; echo false)
endef

$(STAMP): $(LOCK) pyproject.toml
	@test -x $(BIN)/python || { $(call python) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; }
	@echo "Installing what $(LOCK) pins into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@touch $@
