# Targets: install, study, quick, test, faults, lint, format, docs, clean. PYTHON picks the interpreter that makes .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

# The repository itself on the import path: `import scorerates` also works beside its folder.
COMPAT := --config-settings editable_mode=compat

PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: install study quick test faults lint format docs clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' $(COMPAT)
	touch $@

install: $(VENV)/.installed

study: install
	$(BIN)/scorerates run examples/quickstart.yaml

# What a change needs: no Ray, no server, nothing that takes long.
quick: install
	$(PYTEST) -m "not ray and not services and not slow"

test: install
	$(PYTEST) --durations 10

# Every fault under SEEDS seeds, about a quarter of a minute to a minute each; a run cut short at every
# fifth of its file operations; 5,000 random inputs.
SEEDS ?= 3
faults: install
	FAULT_SEEDS=$(SEEDS) $(BIN)/python -m pytest -s tests/study_tests/running/test_faults.py \
		tests/study_tests/running/test_cut_short.py tests/study_tests/test_fuzz.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A site of docs/ in build/site, with every link checked.
docs: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]' $(COMPAT)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:
	rm -rf $(VENV) *.egg-info build dist .import_linter_cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
