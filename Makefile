# The front door. `make` alone lists what there is. Everything can be interrupted and run again.

PYTHON ?= python3
JOBS ?= auto
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export RESEED ?= 0
# Freed memory is kept at hand: given back after every small array, it costs a page fault a page, a third of all time.
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
export MALLOC_TRIM_THRESHOLD_ ?= 268435456

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup book test lint unit notebooks pages lab serve baselines claims grade bench clean

help: ## list the targets
	@echo "From Likelihood to Diffusion"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say make PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(READY)
	@echo "Setting up $(VENV): once, a few minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@mkdir -p $(VENV)/share/jupyter/lab/settings && cp course/lab.json $(VENV)/share/jupyter/lab/settings/overrides.json
	@touch $(READY)

setup: $(READY) ## set up the environment, and nothing else

book: $(READY) ## check the claims, run the chapters, build the book
	$(BIN)/jupyter-book build . --warningiserror --nitpick --keep-going

test: lint unit notebooks book pages ## run every check

lint: $(READY) ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# There are as many workers as cores: one thread each.
unit notebooks: export OMP_NUM_THREADS ?= 1
# What the claims' tests found is kept, so that the book need not check the claims again. nbval takes four seconds to import.
unit: $(READY) ## the tests of solutions, claims, wrong answers and tools
	$(BIN)/python -m pytest -p no:nbval -n $(JOBS) --dist worksteal --ignore=tests/test_pages.py --keep-claims=_build/.claims

notebooks: $(READY) ## run the chapters against their baselines
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout 300 tests/notebooks

pages: book ## open every page of the book in a browser, with no network
	$(BIN)/python -m pytest -p no:nbval -n $(JOBS) --dist worksteal tests/test_pages.py

lab: $(READY) ## open the chapters as notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=. book

serve: book ## build the book, then serve it on this machine
	@echo "The book is at http://127.0.0.1:8000/ (Ctrl-C stops)"
	@$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory _build/html

baselines: $(READY) ## run the chapters and keep what they print as the new baselines
	$(BIN)/python -m course.baselines $(CHAPTERS)

claims: $(READY) ## check every theorem of the book and print the ledger
	$(BIN)/python -m course.claims

grade: $(READY) ## grade your own solutions: make grade ATTEMPT=folder
	@test -n "$(ATTEMPT)" || { echo "Say which folder holds your solutions: make grade ATTEMPT=folder"; exit 2; }
	@$(BIN)/python -m course.grading "$(ATTEMPT)"

bench: $(READY) ## compare speed side by side with other libraries
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt -c requirements.txt
	$(BIN)/python -m benchmarks.run --json _build/benchmarks.json

clean: ## remove what was built (the environment stays)
	rm -rf _build
