# `make demo` and `make test` are the two commands to know; both install what they need into .venv first.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Tests mostly wait for the compiler, which uses one core; what shares a fixture stays together.
WORKERS := -n 2 --dist loadfile

.PHONY: env demo test test-all lint docs

env: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) not found: install Python 3.11, 3.12 or 3.13, or name one with PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "$$($(PYTHON) --version) does not fit: name Python 3.11, 3.12 or 3.13 (tensorflow has no wheels for others yet) with PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || $(MAKE) --no-print-directory venv-module
	@echo "installing into .venv (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# Debian splits the module that makes environments from python3.
.PHONY: venv-module
venv-module:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "$(PYTHON) lacks the venv module: installing the package python3-venv"; \
		apt-get update -qq && apt-get install -y -qq python3-venv > /dev/null; \
	else \
		echo "$(PYTHON) lacks the venv module: run 'sudo apt-get install python3-venv' (or your system's counterpart), then make again"; \
		exit 2; \
	fi

# Learns synthetic people from scratch, evaluates, draws; continues where an earlier run was stopped.
demo: $(INSTALLED)
	$(BIN)/python launch.py --config=configs/synthetic_tiny.py --workdir=runs/demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow" $(WORKERS)

test-all: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of the pages and docstrings, in site/; a warning is an error. Installs the extra `docs` first.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "site/index.html"

.venv/.docs: $(INSTALLED) pyproject.toml
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $@.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $@.txt
	@touch $@
