# make demo   the main job on made-up scans, from nothing but python3 and make
# make test   style, types and tests
# make site   the pages of docs/ as a site
# make campaign   kills, full disks and damaged scans by the thousand, within an hour on two cores
# make lowest   tests of files, models and scores with the lowest versions of the dependencies
# All create .venv first. On a GPU machine name another torch build when .venv is created:
#   make env TORCH="torch==2.13.0 --index-url <the address pytorch.org shows for your driver>"

PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := .venv/.installed

.PHONY: env demo test campaign lowest lint format site dist clean

env: $(STAMP)

# Pinned versions come without their dependencies, torch with its own, so that TORCH alone decides
# which torch there is; `pip check` then proves that the set is complete.
$(STAMP): pyproject.toml requirements.lock Makefile
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "simcvd needs Python 3.11 to 3.13, and this is %s; try make PYTHON=python3.11" % sys.version)'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --no-deps --requirement requirements.lock
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	$(PIP) check
	touch $@

demo: env
	$(BIN)/simcvd demo --out demo-out

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell src tests docs benchmarks examples *.md

# One process a core, each with one thread: threads that wait for each other's cores are slower.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --durations=10

campaign: env
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.campaign

# A user may have had an environment for longer than requirements.lock has stood as it is.
LOWEST := build/lowest
lowest: env
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet $(TORCH)
	$(BIN)/python .ci/lowest.py >$(LOWEST)/versions.txt
	$(LOWEST)/bin/pip install --quiet --requirement $(LOWEST)/versions.txt \
	  pytest pytest-xdist hypothesis
	$(LOWEST)/bin/pip install --quiet --no-deps .
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest --numprocesses=auto --dist=loadfile \
	  tests/formats tests/layouts tests/checking tests/data tests/planning tests/inference \
	  tests/metrics tests/scoring tests/share

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of docs/ as a site in site/; a dead link or an unknown reference is an error.
site: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

dist: env
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

# .venv stays: to build it anew, rm -r .venv
clean:
	rm -rf build dist site demo-out .mypy_cache .ruff_cache .pytest_cache
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
