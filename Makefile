# Every verb sets up what it needs. `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := results/demo

.PHONY: setup check fix test demo bench lock clean

setup: $(VENV)/.ready ## make .venv with the nnlab command in it, versions as locked

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nnlab needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

check: setup ## lint, format and types, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: setup ## mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## all tests, on all cores
	$(BIN)/pytest -n auto

demo: setup ## train sigmoid 20 deep on real data, draw its figures, judge its expectations
	$(BIN)/nnlab train experiments/vanishing_gradients.yaml --out $(DEMO) --force
	$(BIN)/nnlab check $(DEMO)

bench: setup ## speed against a hand-written JAX loop and PyTorch; installs PyTorch into .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python benchmarks/step_time.py

lock: setup ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --no-annotate --upgrade -o requirements.lock

clean: ## remove .venv and results
	rm -rf $(VENV) results/*/
