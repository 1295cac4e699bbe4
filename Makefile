# Lormas. `make help` lists the targets. Needs only make and Python 3.11+; everything else goes into .venv.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV ?= .venv
export VENV
# ARGS go to the command behind a target: make test ARGS="-k nodes -x"
ARGS ?=

.PHONY: help run stop machines machines-down doctor test lint format audit bench load chaos assets screenshots clean env env-dev

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: ## set up what is missing and run panel, worker and a local agent (Ctrl-C stops)
	@python=$$(scripts/python) && exec "$$python" -m lormas.quickstart.bootstrap run $(ARGS)

stop: ## stop what `make run` started from this folder
	@python=$$(scripts/python) && exec "$$python" -m lormas.quickstart.bootstrap stop

machines: env ## bring up ten small SSH machines and register them in the pool (after the first `make run`)
	@LOG_LEVEL=$${LOG_LEVEL:-warn} exec $(VENV)/bin/python manage.py demo_machines up $(ARGS)

machines-down: env ## take them away again
	@LOG_LEVEL=$${LOG_LEVEL:-warn} exec $(VENV)/bin/python manage.py demo_machines down

doctor: ## look at this machine, and say what to do about what is wrong
	@python=$$(scripts/python) && exec "$$python" -m lormas.quickstart.bootstrap doctor $(ARGS)

env: ## make .venv with what the panel needs
	@python=$$(scripts/python) && "$$python" -m lormas.quickstart.bootstrap env

env-dev: ## make .venv with what development needs, too
	@python=$$(scripts/python) && "$$python" -m lormas.quickstart.bootstrap env --dev

test: env-dev ## run all tests that can run here; the summary says what was skipped and why
	@exec $(VENV)/bin/python -m pytest $(ARGS)

lint: env-dev ## ruff, mypy --strict, import contracts, missing migrations
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/lint

format: env-dev ## let ruff put the code in order
	@$(VENV)/bin/ruff check -q --fix . ; $(VENV)/bin/ruff format -q .

audit: env-dev ## look for known vulnerabilities in what is locked (needs the network)
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/audit

bench: env-dev ## measure against the raw engine; writes bench/results/latest.json
	@exec $(VENV)/bin/python -m bench $(ARGS)

load: env-dev ## 200 agents, 2,000 containers, 50 log viewers, 20 requests a second, for three minutes
	@exec $(VENV)/bin/python -m bench.load $(ARGS)

chaos: env-dev ## break everything, one after the other, while people work (needs root, Docker, PostgreSQL)
	@exec $(VENV)/bin/python -m tests.chaos $(ARGS)

assets: env ## build the console's script and style files
	@exec $(VENV)/bin/python -m lormas.assets build

screenshots: env-dev ## take docs/img/*.png of the console with Chromium
	@exec $(VENV)/bin/python scripts/screenshots.py $(ARGS)

clean: ## remove what was built (not the data folder)
	@rm -rf $(VENV) build dist static/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis node_modules frontend/node_modules frontend/build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
