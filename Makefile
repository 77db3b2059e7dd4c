PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip -qq
SCHEMA := configs/tflq.schema.json
ZOO_SCHEMA := configs/zoo.schema.json
DIGITS := examples/digits
QAT := examples/qat
PARALLEL := -n logical --maxprocesses 4 --dist worksteal
COVERED := not slow

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo demo-qat demo-micro format format-check lint types test test-slow coverage schema docs docs-check site check bench constraints picture browser compiler clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

install: $(INSTALLED) ## make .venv with tflq and all that its tests need

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV)"
	@$(PIP) install --upgrade "pip>=25.1,<27"
	@$(PIP) install --constraint constraints.txt --editable . --group dev
	@touch $@

demo: install ## train a digits classifier, quantize it seven ways, show the report
	@$(BIN)/python -m examples.digits.train
	@$(BIN)/tflq convert $(DIGITS)/recipe.yaml
	@echo
	@cat $(DIGITS)/build/tflite/report.md
	@echo
	@echo "This report is $(DIGITS)/build/tflite/report.md"

demo-qat: install ## train a network that int8 ruins, and win it back by quantization-aware training
	@$(BIN)/python -m examples.qat.train
	@$(BIN)/tflq convert $(QAT)/recipe.yaml
	@$(BIN)/tflq convert $(QAT)/recipe.yaml --set model.keras=build/net.h5 --output $(QAT)/build/keras2
	@$(BIN)/tflq advise $(QAT)/recipe.yaml --tolerate 0.05

demo-micro: install compiler ## make C++ source of the digits classifier, and run it on this machine against its golden vectors
	@test -d $(DIGITS)/build/digits || $(BIN)/python -m examples.digits.train
	@$(BIN)/tflq convert examples/micro/recipe.yaml
	@$(BIN)/python -m examples.micro.check

format: install ## rewrite the code in the house format
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

format-check: install
	@$(BIN)/ruff format --check .

lint: install ## look for mistakes in the code
	@$(BIN)/ruff check .

types: install ## check the types
	@$(BIN)/mypy

test: install ## run the fast tests
	@$(BIN)/pytest -q -m "not slow" $(PARALLEL)

test-slow: install ## run the slow tests: real training and conversions
	@$(BIN)/pytest -q -m slow $(PARALLEL)

coverage: install ## print which lines and branches the fast tests do not reach
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -m "$(COVERED)" $(PARALLEL)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

schema: install ## write the JSON Schemas of recipes and zoos
	@$(BIN)/tflq schema > $(SCHEMA)
	@$(BIN)/tflq schema zoo > $(ZOO_SCHEMA)

docs: schema ## write the generated parts of README.md and docs/
	@$(BIN)/python docs/make.py

docs-check: install
	@$(BIN)/tflq schema | diff $(SCHEMA) - || { echo "$(SCHEMA) is stale: run make docs"; exit 1; }
	@$(BIN)/tflq schema zoo | diff $(ZOO_SCHEMA) - || { echo "$(ZOO_SCHEMA) is stale: run make docs"; exit 1; }
	@$(BIN)/python docs/make.py --check

site: install ## build the documentation in build/site; a broken link is an error
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --fresh-env -c docs -d build/doctrees . build/site

check: format-check lint types test test-slow docs-check site ## all of the above without changing a file, as CI does

bench: install ## measure tflq against a converter script written by hand
	@$(BIN)/python -m benchmarks

constraints: $(BIN)/python ## pin what pyproject.toml asks for, for every Python at once
	@$(PIP) install uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.10 pyproject.toml --group dev \
		--no-header --no-annotate --output-file constraints.txt

picture: install ## make the picture in README.md, of the report of make demo-qat
	@$(BIN)/python docs/picture.py $(QAT)/build/tflite/report.html docs/report.png

compiler: ## install g++, with which tests compile the source for firmware, where apt-get can
	@command -v g++ >/dev/null || \
		{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends g++ libc6-dev >/dev/null; }

browser: ## install Chromium, in which the slow tests look at pages, where apt-get can
	@command -v chromium chromium-browser google-chrome >/dev/null || \
		{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium >/dev/null; }

clean: ## remove everything that can be made again, except .venv
	@rm -rf build dist *.egg-info examples/*/build benchmarks/build .mypy_cache .pytest_cache .ruff_cache
	@find . -path "*/.venv" -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf $(VENV)
