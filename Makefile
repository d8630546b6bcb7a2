# `make help` lists the targets. Everything is installed into .venv; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The oldest environment that is supported, in tests/oldest.txt; its torch is built for these Pythons.
OLDEST := .venv-oldest
OLDEST_PYTHON ?= $(firstword $(shell command -v python3.11 python3.10) $(PYTHON))
OLDEST_FITS = $(OLDEST_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12))'
OLDEST_STAMP := $(OLDEST)/.installed
LINTED := mkbackbones _mkbackbones_mim tools tests configs setup.py docs/site_pages.py
JOBS ?= 2
# One thread a test process: the models are tiny, and threads of several processes get in each
# other's way.
test test-all test-oldest: export OMP_NUM_THREADS ?= 1
test test-all test-oldest: export MKL_NUM_THREADS ?= 1
# Nor compile the package anew in each of the hundred processes that tests start.
test test-all test-oldest: export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup demo test test-all test-oldest lint docs format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install the package, OpenMMLab and the test tools into it

$(STAMP): setup.cfg setup.py pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'error: Python 3.10 or later is needed; name one: make setup PYTHON=python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'error: Python lacks the venv module; on Debian or Ubuntu: apt install python3-venv'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip 'setuptools>=80' wheel
	$(BIN)/python -m pip install torch torchvision
	$(BIN)/python -m pip install -e '.[onedl,dev]'
	@# opencv-python, which OpenMMLab pulls in, needs libGL; the headless build into the same
	@# folder does not. It comes last, so it wins.
	$(BIN)/python -m pip install --force-reinstall --no-deps \
		"opencv-python-headless==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))')"
	$(BIN)/python -c 'import cv2'
	touch $@

demo: setup ## train and compare tiny models on synthetic defects
	$(BIN)/python -m mkbackbones demo

test: setup lint docs ## lint, the documentation, the fast tests, then those of test-oldest
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow'
	@if $(OLDEST_FITS); then $(MAKE) test-oldest; \
		else echo 'left out: make test-oldest, which needs Python 3.10 or 3.11'; fi

# What a project of today is made of: keys, backbones, injection, checkpoints, swaps, and trainings of
# a detector and a segmentor.
test-oldest: $(OLDEST_STAMP) ## a part of the fast tests with the oldest PyTorch, timm and OpenMMLab
	$(OLDEST)/bin/python -m pytest -n $(JOBS) -m 'not slow' --durations=5 \
		$(shell grep -v '^#' tests/oldest_tests.txt)

$(OLDEST_STAMP): setup.cfg setup.py tests/oldest.txt
	@$(OLDEST_FITS) || \
		{ echo 'error: torch 2.1 is built for Python up to 3.11: make test-oldest OLDEST_PYTHON=python3.11'; \
		exit 1; }
	test -x $(OLDEST)/bin/python || $(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -c tests/oldest.txt setuptools wheel
	$(OLDEST)/bin/python -m pip install -c tests/oldest.txt torch torchvision 'numpy<2'
	$(OLDEST)/bin/python -m pip install -c tests/oldest.txt -e . \
		mmengine mmcv-lite mmdet mmsegmentation ftfy regex hypothesis pytest pytest-xdist
	$(OLDEST)/bin/python -m pip install -c tests/oldest.txt --force-reinstall --no-deps opencv-python-headless
	$(OLDEST)/bin/python -m pip check
	touch $@

test-all: setup lint docs ## lint, the documentation, then all tests
	$(BIN)/python -m pytest -n $(JOBS)

lint: setup ## check style, types, and which part imports which (the floors in pyproject.toml)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

docs: setup ## build the documentation as a site, in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

format: setup ## apply style
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

clean: ## remove what set-up, builds and tests leave behind (not work_dirs and data)
	rm -rf $(VENV) $(OLDEST) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
