# `make demo` and `make test` are the two commands to know; both install what they need into .venv first.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Tests mostly wait for the compiler, which uses one core; what shares a fixture stays together.
WORKERS := -n 2 --dist loadfile
# The fast tier leaves out what takes the compiler longest; programs are then slower and compute the same.
COMPILE_SOON := XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

# `make env REQUIREMENTS=requirements.lock` installs the very files that were tested, by their hashes.
REQUIREMENTS ?= requirements.txt

.PHONY: env demo test test-all test-torch lint docs lock sbom wheel

env: $(INSTALLED)

$(INSTALLED): $(REQUIREMENTS) pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) not found: install Python 3.11, 3.12 or 3.13, or name one with PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "$$($(PYTHON) --version) does not fit: name Python 3.11, 3.12 or 3.13 (tensorflow has no wheels for others yet) with PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || $(MAKE) --no-print-directory venv-module
	@echo "installing into .venv (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
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
	$(COMPILE_SOON) $(BIN)/python -m pytest -m "not slow" $(WORKERS)

test-all: $(INSTALLED)
	$(BIN)/python -m pytest $(WORKERS)

# What compares with PyTorch; where it is not in .venv, PYTHONPATH says where it is.
test-torch: $(INSTALLED)
	@$(BIN)/python -c 'import torch' 2> /dev/null || { echo "torch not found: PYTHONPATH must name a folder that has it, torchvision and timm"; exit 2; }
	$(BIN)/python -m pytest -m torch

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The versions and hashes of everything that requirements.txt installs, for all systems and Python versions. What is in
# the file stays where it still fits; without the file the newest are taken.
lock:
	@command -v uv > /dev/null || { echo "uv not found: pip install uv, into another environment than .venv"; exit 2; }
	@uv pip compile requirements.txt --quiet --universal --python-version=3.11 --generate-hashes --no-annotate \
		--custom-compile-command='make lock' --output-file=requirements.lock

# What the project is made of, as CycloneDX.
sbom: $(INSTALLED)
	$(BIN)/python scripts/sbom.py

# Built twice; fails where the two differ.
wheel: $(INSTALLED)
	$(BIN)/python scripts/wheel.py

# The site of the pages and docstrings, in site/; a warning is an error. Installs the extra `docs` first.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "site/index.html"

.venv/.docs: $(INSTALLED) pyproject.toml
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $@.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $@.txt
	@touch $@
