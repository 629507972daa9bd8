# Two commands need nothing but Python >= 3.10 with venv:
#   make demo    compile, verify and run the example network
#   make test    run the tests
# Both make .venv here and install into it once; a change of pyproject.toml or constraints.txt installs anew.
#   make docs    build the documentation into docs/_build/html
# Variables: PYTHON=python3.12 (interpreter), PYTEST_ARGS="tests/unit -k segment", WORKERS=1 (test processes).

PYTHON ?= python3
WORKERS ?= auto
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.lutkan

PYTHON_VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# What an install depends on: the checkout's place (the install is editable), the interpreter, the files it is made from.
KEY := $(shell { pwd; echo "$(PYTHON_VERSION)"; cat pyproject.toml constraints.txt CMakeLists.txt; \
    find native -type f | sort | xargs cat; command -v cc c++; } 2>/dev/null | cksum | cut -d' ' -f1)
# Without a compiler or Python's headers the install is pure Python; nothing is downloaded for a build.
HAVE_COMPILER := $(shell command -v cc >/dev/null && command -v c++ >/dev/null && \
    "$(PYTHON)" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
    2>/dev/null && echo yes)
ifeq ($(HAVE_COMPILER),)
export LUTKAN_NO_NATIVE := 1
endif
# PyTorch comes from where pip is told to look, so another index is another try.
TORCH_KEY := $(shell { echo $(KEY); env | grep '^PIP_' | sort; } | cksum | cut -d' ' -f1)

.PHONY: help demo test docs lint doctor torch clean

help:
	@sed -n 's/^#  *make /make /p' Makefile

demo: $(STAMPS)/demo-$(KEY)
	@$(BIN)/lutkan demo

# One numeric thread a worker: the workers are the parallelism.
test: $(STAMPS)/test-$(KEY) $(STAMPS)/torch-$(TORCH_KEY)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	    $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 $(PYTEST_ARGS)

# Warnings are errors.
docs: $(STAMPS)/docs-$(KEY)
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The type checker wants to see PyTorch too: examples/ and the adapters name its types.
lint: $(STAMPS)/lint-$(KEY) $(STAMPS)/torch-$(TORCH_KEY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pyright
	$(BIN)/lint-imports --no-logo

doctor: $(STAMPS)/demo-$(KEY)
	@$(BIN)/lutkan doctor

# Try again to install PyTorch for the tests.
torch:
	@rm -f $(STAMPS)/torch-*
	@$(MAKE) --no-print-directory $(STAMPS)/torch-$(TORCH_KEY)

clean:
	rm -rf $(VENV) build dist

# --- installing: one line each, pip's own words only when it fails ---

define check_python
if [ -z "$(PYTHON_VERSION)" ]; then \
    echo "'$(PYTHON)' does not run. Install Python 3.10 or newer, or name one: make demo PYTHON=/path/to/python3" >&2; exit 1; \
fi; \
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
    echo "$(PYTHON) is Python $(PYTHON_VERSION); 3.10 or newer is needed. Name one: make demo PYTHON=python3.12" >&2; exit 1; }; \
"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
    echo "$(PYTHON) (Python $(PYTHON_VERSION)) lacks venv. On Debian and Ubuntu it is the package python3-venv." >&2; exit 1; }
endef

# Keeps a .venv that has pip and runs the asked Python, replaces any other.
define make_venv
found=$$($(BIN)/python -c 'import pip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || found=none; \
if [ "$$found" != "$(PYTHON_VERSION)" ]; then \
    echo "making $(VENV) with Python $(PYTHON_VERSION)"; \
    "$(PYTHON)" -m venv --clear $(VENV) || exit 1; \
fi; \
mkdir -p $(STAMPS)
endef

pip = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input $(1) >$(STAMPS)/pip.log 2>&1
or_show = || { cat $(STAMPS)/pip.log >&2; exit 1; }

native_note = $(BIN)/python -c 'from lutkan.runtimes import available_runtimes; \
    missing = available_runtimes()["native"]; \
    print("installed with native kernels" if not missing else "installed as pure Python, without native kernels")'

$(STAMPS)/demo-$(KEY):
	@$(check_python)
	@$(make_venv)
	@echo "installing lutkan and numba ..."
	@$(call pip,'pip>=23') $(or_show)
	@$(call pip,-e '.[numba]') || { \
	    echo "numba cannot be installed here; going on with numpy alone"; \
	    $(call pip,-e .) $(or_show); }
	@$(native_note)
	@touch $@

$(STAMPS)/test-$(KEY):
	@$(check_python)
	@$(make_venv)
	@echo "installing lutkan and its test packages ..."
	@$(call pip,'pip>=23') $(or_show)
	@$(call pip,-e '.[test]') $(or_show)
	@$(native_note)
	@touch $(STAMPS)/demo-$(KEY) $@

$(STAMPS)/torch-$(TORCH_KEY): $(STAMPS)/test-$(KEY)
	@echo "installing PyTorch (CPU build, for the tests that compare with it) ..."
	@$(call pip,-c constraints.txt torch) || { \
	    grep -m 1 '^ERROR' $(STAMPS)/pip.log; \
	    echo "PyTorch could not be installed: tests that need it are skipped. If your package index has no CPU build,"; \
	    echo "set PIP_EXTRA_INDEX_URL to one that does and run the tests again; 'make torch' tries once more."; }
	@touch $@

$(STAMPS)/docs-$(KEY): | $(STAMPS)/demo-$(KEY)
	@echo "installing Sphinx ..."
	@$(call pip,-e '.[docs]') $(or_show)
	@touch $@

$(STAMPS)/lint-$(KEY): | $(STAMPS)/test-$(KEY)
	@echo "installing the linters ..."
	@$(call pip,-e '.[lint]') $(or_show)
	@touch $@
