# Everything runs in .venv, made from the versions in uv.lock. Needs python3 (3.11 or newer, with venv), make and git.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
INSTALLED := .venv/.installed
FAULTS := $(CURDIR)/.venv/faults.json

# The outputs stay, since tests/notebooks/test_nbval.py proves them; .pre-commit-config.yaml has the same words.
NBSTRIPOUT := --keep-output --keep-count --keep-id --drop-empty-cells \
  --extra-keys "metadata.papermill metadata.widgets cell.metadata.papermill cell.metadata.execution \
cell.metadata.collapsed cell.metadata.scrolled cell.metadata.jp-MarkdownHeadingCollapsed"

# Byte-code is wanted in .venv whatever the environment says: kernels start twice as fast with it.
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV
unexport UV_PROJECT_ENVIRONMENT
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Accounts without a home (services, containers) cannot cache there.
ifneq ($(shell test -n "$$UV_CACHE_DIR$$XDG_CACHE_HOME" || test -w "$$HOME" || echo homeless),)
export UV_CACHE_DIR := $(CURDIR)/.venv/cache
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test bench lab notebooks pictures schemas projects faults lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## set up .venv; does nothing when it is up to date
	@echo 'Installed in .venv. Next: `make demo` shows a whole run; or `. .venv/bin/activate`, then `runbooks doctor`.'

demo: $(INSTALLED) ## start the lab, carry the whole phase out in it, write the report, stop the lab
	@$(BIN)/runbooks demo

test: $(INSTALLED) ## run all tests, on two to four cores
	@$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

bench: $(INSTALLED) ## measure against what one would use otherwise (half an hour); BENCH="--quick --json" are options
	@$(BIN)/python tests/benchmarks/bench.py $(BENCH)

lab: $(INSTALLED) ## start a lab, and JupyterLab on the notebooks
	@$(BIN)/runbooks lab up --jupyter

projects: $(INSTALLED) ## a real project with 220 migrations, in every disorder: to green or to a refusal (minutes)
	@RUNBOOKS_TEST_PROJECTS=1 RUNBOOKS_FUZZED_BASELINES=200 $(BIN)/python -m pytest tests/projects \
	  tests/integration/test_fuzzed_baselines.py tests/integration/test_left_out_sections.py \
	  tests/integration/test_safe_ways.py tests/integration/test_prisma_cases.py tests/integration/test_prisma_layouts.py \
	  tests/integration/test_prisma_configuration.py tests/integration/test_prisma_doors.py
	@RUNBOOKS_PRISMA_MAJOR=6 $(BIN)/python -m pytest tests/integration/test_settling.py tests/integration/test_data_done.py

faults: $(INSTALLED) ## all faults that it must survive, on two cores (40 minutes), and docs/faults.md out of what became of them
	@rm -f $(FAULTS)
	@failed=0; RUNBOOKS_FAULTS=$(FAULTS) $(BIN)/python -m pytest -m fault --numprocesses=2 --dist=loadfile \
	  --no-loadscope-reorder || failed=1; $(BIN)/python tests/faults/page.py $(FAULTS) && exit $$failed

notebooks: $(INSTALLED) ## run the notebooks in a lab, and write down what they show: commit that with them
	@$(BIN)/python tests/notebooks/record.py

pictures: $(INSTALLED) ## take the README's pictures anew, from a real run: commit that with what they show
	@RUNBOOKS_PICTURES=1 $(BIN)/python -m pytest tests/browser/test_jupyterlab.py -k pictures

schemas: $(INSTALLED) ## write the JSON Schemas of what others read of runs, from the types
	@$(BIN)/python tests/schemas.py

lint: $(INSTALLED) ## check style, types and workflows, and that notebooks hold no metadata of who ran them
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/nbstripout --verify $(NBSTRIPOUT) notebooks/*.ipynb
	@$(BIN)/zizmor --offline --quiet --no-progress .github .pre-commit-config.yaml

clean: ## remove .venv, build results and caches; runs/ stays
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find runbooks_lib tests notebooks -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml uv.lock Makefile
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'make: $(PYTHON) is not found. Install Python 3.11 or newer (Debian: apt-get install python3 python3-venv).' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	    'Name a newer one: make PYTHON=python3.13 demo' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'make: $(PYTHON) has no venv module (Debian: apt-get install python3-venv).' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo '1 of 3: making .venv' && $(PYTHON) -m venv --clear .venv; }
	@echo '2 of 3: getting uv, which installs the rest'
	@$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@# Until 0.2.0 this project was installed as runbooks: what is left of that would name modules that have moved.
	@$(BIN)/uv pip uninstall --quiet --python $(BIN)/python runbooks
	@echo '3 of 3: installing some 220 MB of packages, where they are not here yet: one to three minutes'
	@# At a terminal uv shows its own progress.
	@if [ -t 2 ]; then unset UV_NO_PROGRESS; else quiet=--quiet; fi; \
	$(BIN)/uv sync $$quiet --frozen --inexact --reinstall-package runbooks-lib \
	  --extra lab --extra kubernetes --extra test --compile-bytecode
	@touch $@
