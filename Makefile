# Two commands do everything on a fresh machine: `make serve` and `make test`.

PYTHON ?= python3
RUNTIME ?= cpu
SBOM ?= seedling-$(RUNTIME).cdx.json
VENV ?= .venv$(addprefix -,$(filter-out cpu,$(RUNTIME)))
RAY_VENV ?= .venv-ray$(addprefix -,$(filter-out cpu,$(RUNTIME)))
RAY ?= replicas=1
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL := $(PIP) --constraint constraints.txt
LOCK := $(BIN)/uv pip compile --quiet --constraint constraints.txt --universal --python-version 3.11 \
  --generate-hashes --no-annotate --custom-compile-command "make lock" --output-file requirements/

.DEFAULT_GOAL := help
.PHONY: help serve serve-ray train-env test test-ray soak check format docs lock sbom audit image image-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  settings: PORT=$(PORT) HOST=$(HOST) RUNTIME=$(RUNTIME) (cpu, cuda or openvino) VENV=$(VENV) PYTHON=$(PYTHON)"

serve: $(VENV)/.runtime ## serve the shipped model, or the one that SEEDLING_MODEL names, on PORT and HOST
	@SEEDLING_HOST=$(HOST) SEEDLING_PORT=$(PORT) \
	  SEEDLING_PROVIDER=$${SEEDLING_PROVIDER:-$(or $(filter-out cpu,$(RUNTIME)),auto)} exec $(BIN)/python -m app

serve-ray: $(RAY_VENV)/.ray ## the same as a deployment of Ray Serve; RAY='replicas=2 cpus=1' says how (docs/ray.md)
	@SEEDLING_HOST=$(HOST) SEEDLING_PORT=$(PORT) exec $(RAY_VENV)/bin/python -m app.on_ray $(RAY)

train-env: $(VENV)/.full ## make the environment for training, export and the tests; some GB

test: check ## run everything that must pass
	$(BIN)/python -m pytest

test-ray: $(RAY_VENV)/.ray ## run the tests of the service on Ray, on a cluster of three nodes on this machine
	$(RAY_VENV)/bin/python -m pytest --noconftest -m ray -s tests/test_ray.py

soak: $(VENV)/.full ## run what takes minutes each: a million pictures, overload, reloads, workers killed, bad input
	$(BIN)/python -m pytest -m soak -s

check: $(VENV)/.full ## format, lint, types and layering
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.full ## rewrite the source as `check` wants it
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.docs ## build the site of docs/ into site/
	$(BIN)/zensical build --strict

lock: $(VENV)/.full ## choose what the service needs anew, within constraints.txt, with hashes: requirements/
	@for runtime in cpu cuda openvino; do $(LOCK)$$runtime.txt --extra $$runtime pyproject.toml || exit; done
	@echo setuptools | $(LOCK)build.txt -
	@echo cyclonedx-bom | $(LOCK)list.txt -

sbom: $(VENV)/.full ## list the parts of the service, for RUNTIME, as CycloneDX: SBOM
	$(BIN)/cyclonedx-py requirements requirements/$(RUNTIME).txt --pyproject pyproject.toml --output-reproducible \
	  --output-file $(SBOM)

audit: $(VENV)/.full ## ask the advisory database about them; needs the net
	$(BIN)/pip-audit --requirement requirements/$(RUNTIME).txt --require-hashes --disable-pip

image: ## build the container image with docker; TARGET=cuda for the GPU one
	docker build --target $(or $(TARGET),cpu) --tag seedling:$(or $(TARGET),cpu) \
	  --build-arg VERSION=$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
	  --build-arg REVISION=$(shell git rev-parse HEAD) .

image-test: ## build the image and test it, with buildah, where there is no docker; TARGET=cuda for the GPU one
	scripts/image-test $(TARGET)

clean: ## remove the environment and what tools left
	rm -rf $(VENV) $(RAY_VENV) site .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info

# An environment for training serves too, so serving does not ask for a second one.
$(VENV)/.runtime: pyproject.toml requirements/$(RUNTIME).txt requirements/build.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || { echo "making $(VENV) for the service"; $(PYTHON) -m venv $(VENV); }
	@$(PIP) --require-hashes --requirement requirements/$(RUNTIME).txt --requirement requirements/build.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.full: $(VENV)/.runtime constraints.txt
	@echo "adding what training and the tests need to $(VENV): torch among it, some GB"
	@$(INSTALL) --editable '.[$(RUNTIME),train,dev]'
	@touch $@

# Of its own: Ray is large, and nothing else needs it.
$(RAY_VENV)/.ray: pyproject.toml constraints.txt
	@test -x $(RAY_VENV)/bin/python || { echo "making $(RAY_VENV) for the service on Ray"; $(PYTHON) -m venv $(RAY_VENV); }
	@$(RAY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[$(RUNTIME),ray]' onnx pytest
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	@$(INSTALL) --editable '.[$(RUNTIME),docs]'
	@touch $@
