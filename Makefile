# The few commands of this project. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

SECONDS ?= 3600
# How many processes share the tests, most of which wait most of the time.
JOBS ?= 3
.DEFAULT_GOAL := help
.PHONY: help venv engine test coverage lint audit reliability soak quota fuzz bench demo clean

help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1@\2/p' $(firstword $(MAKEFILE_LIST)) | tr '@' '\t' | expand -t 20

venv: $(STAMP)  ## set up .venv with the project and its tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is missing or older than 3.10; try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) can't make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@# As pip does, but not for what is editable. Without, the first start takes 0.07 s longer; each one
	@# where PYTHONDONTWRITEBYTECODE is set.
	@$(BIN)/python -m compileall -q docker_kernel magics container
	@touch $@

engine: $(STAMP)  ## start a throw-away Docker engine where there is none, and leave it on
	@$(BIN)/python tests/engine.py start
	@$(BIN)/python tests/engine.py env

test: $(STAMP)  ## run all tests; those in containers where an engine can be had
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder || { \
	  test $$? -eq 1 || exit 1; echo "What failed runs once more, alone:"; \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

coverage: $(STAMP)  ## run all tests and say which lines and branches they miss
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

lint: $(STAMP)  ## check style, format and types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy
	@for platform in win32 darwin; do $(BIN)/python -m mypy --platform $$platform \
	  --cache-dir .mypy_cache/$$platform docker_kernel magics || exit 1; done

audit: $(STAMP)  ## look for known vulnerabilities of the dependencies, with pip-audit
	@$(BIN)/python tests/dependencies.py

reliability: $(STAMP)  ## let every part die at every moment, and write the figures of docs/reliability.md
	@$(BIN)/python tests/reliability.py

soak: $(STAMP)  ## work at random for an hour, and count what has grown; SECONDS=60 for less
	@$(BIN)/python tests/soak.py $(SECONDS) $(SEED)

quota: $(STAMP)  ## fill the disk of a container, on a throw-away engine that can bound it
	@$(BIN)/python tests/quota.py

fuzz: $(STAMP)  ## feed the wire with bytes for SECONDS, flood a port, and write the figures of docs/security.md
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@$(BIN)/python tests/fuzzing.py $(SECONDS)

bench: $(STAMP)  ## measure it beside other kernels, and write docs/performance.md; a quiet machine is needed
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@cd tests && ../$(BIN)/python -m bench

demo: $(STAMP)  ## run examples/quickstart.ipynb in a container and show it
	@$(BIN)/python tests/demo.py

clean:  ## stop the throw-away engine and remove all that was built
	@if [ -x $(BIN)/python ]; then $(BIN)/python tests/engine.py stop; fi
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov
	rm -f examples/*.executed.ipynb
