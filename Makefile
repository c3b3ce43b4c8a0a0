# Every target does its own set-up: git, make and Python 3.11 or newer with venv are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SECONDS ?= 60

# Tests start the program hundreds of times: with this set, each start would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test soak fuzz mutants bench pictures fresh lint lock clean

# The sample job against the embedded Cognito.
demo: $(VENV)/installed
	$(BIN)/bulkreset demo

# The whole test suite, with linters, types and the import contract.
test: lint
	$(BIN)/python -m pytest

# What takes minutes: kills by the dozen, millions of rows.
soak: $(VENV)/installed
	$(BIN)/python -m pytest -m soak

# Every target of tests/fuzz for so many seconds, guided by coverage: `make fuzz SECONDS=300`. Needs x86-64 Linux.
fuzz: $(VENV)/installed
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Figures, beside what a script would do; asserts nothing.
bench: $(VENV)/installed
	$(BIN)/python -m tests.bench

# Whether the tests notice a change: one small change of the code after the other; CONTRIBUTING.md has what was found.
mutants: $(VENV)/installed
	nice $(BIN)/uv run --quiet --no-project --with mutmut==3.8.1 mutmut run --max-children 2
	nice $(BIN)/python -m tests.record.statements

# The README's pictures, of report.html and of a terminal; needs Chromium and tmux.
pictures: $(VENV)/installed
	$(BIN)/python -m tests.pictures
	$(BIN)/python -m tests.screens

# Both commands of the README as a new user, with an empty home and environment; needs root.
fresh:
	tests/fresh.sh

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python samples/make_samples.py --check

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# Exact versions of everything, for every supported Python; names no index.
lock: $(VENV)/installed
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) mutants
