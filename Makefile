# Every target makes the environment it needs. git, make and Python 3.11 or newer with venv are enough.
PYTHON ?= python3
UV := .uv/bin/uv
VENV := .venv
DEMO := $(VENV)-demo
BIN := $(VENV)/bin
LOCK := requirements.lock

SECONDS ?= 60

# Tests start the program hundreds of times: with this set, each start would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE
# An active environment of the user is not the one that is meant, and a Python is never downloaded.
unexport VIRTUAL_ENV
export UV_PYTHON_DOWNLOADS := never
# The certificates that pip, git and the browser go by: a company's own are among them.
export UV_SYSTEM_CERTS ?= true

.PHONY: demo test check soak peers fuzz mutants bench pictures fresh lint contracts style lock lowest pythons clean

# The sample job against the embedded Cognito.
demo: $(DEMO)/installed
	$(DEMO)/bin/bulkreset demo

# The whole test suite, with linters, types and the import contract.
test: lint
	$(BIN)/python -m pytest

# The quick part of `make test`, for the time between two changes: everything but the tests that start a process.
check: lint
	$(BIN)/python -m pytest -m "not soak and not process" --hypothesis-profile=few

# What takes minutes: kills by the dozen, millions of rows, properties with 500 examples.
soak: $(VENV)/installed
	$(BIN)/python -m pytest -m "soak or hypothesis" --hypothesis-profile=long

# Beside parts that nobody here wrote: two Cognitos, S3, age, Airflow, Prometheus, cron, Dask's commands. Installs them from
# their registries into ~/.cache/bulkreset-peers, and prints a table; CONTRIBUTING.md has the last one.
peers: $(VENV)/installed
	$(BIN)/python -m pytest -n 0 -rs -m peers tests/peers

# Every target of tests/fuzz for so many seconds, guided by coverage: `make fuzz SECONDS=300`. Needs x86-64 Linux.
fuzz: $(VENV)/installed
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Figures, beside what a script would do; asserts nothing.
bench: $(VENV)/installed
	$(BIN)/python -m tests.bench

# Whether the tests notice a change: one small change of the code after the other; CONTRIBUTING.md has what was found.
mutants: $(VENV)/installed
	nice $(UV) run --quiet --no-project --with mutmut==3.8.1 mutmut run --max-children 2
	nice $(BIN)/python -m tests.journal.statements

# The README's pictures, of report.html and of a terminal; needs Chromium and tmux.
pictures: $(VENV)/installed
	$(BIN)/python -m tests.pictures
	$(BIN)/python -m tests.screens

# Both commands of the README as a new user, with an empty home and environment; needs root.
fresh:
	tests/fresh.sh

# Two of them at once: each uses one core.
lint: $(VENV)/installed
	@$(MAKE) --no-print-directory -j 2 contracts style

contracts: $(VENV)/installed
	$(BIN)/mypy
	$(BIN)/lint-imports

style: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python samples/make_samples.py --check

# Development: everything, in exact versions.
$(VENV)/installed: pyproject.toml $(LOCK) | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --require-hashes --python $(BIN)/python $(LOCK)
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	touch $@

# The demo: the command with its extra `emulator`, in the same versions, each checked against its hash in the lock.
$(DEMO)/installed: pyproject.toml $(LOCK) | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(DEMO)
	$(UV) pip install --quiet --require-hashes --python $(DEMO)/bin/python -c $(LOCK) -r pyproject.toml --extra emulator
	$(UV) pip install --quiet --no-deps --build-constraints $(LOCK) --python $(DEMO)/bin/python -e .
	touch $@

# uv itself, in the version of the lock and checked against its hash there. A pip that Python has already saves seconds.
$(UV): requirements.lock
	@if $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	  $(PYTHON) -m venv --clear --without-pip .uv && pip="$(PYTHON) -m pip --python .uv/bin/python"; \
	else \
	  $(PYTHON) -m venv --clear .uv && pip=".uv/bin/python -m pip"; \
	fi && \
	awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock >.uv/requirements.txt && \
	$$pip install --quiet --disable-pip-version-check --require-hashes -r .uv/requirements.txt
	touch $@

# Exact versions of everything, for every supported Python; names no index. `make lock UPGRADE=--upgrade` renews them all.
lock: $(UV)
	$(UV) pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes --all-extras --no-header pyproject.toml -o requirements.lock

# The lowest versions that pyproject.toml allows: `make check` and the demo with them.
lowest: .lowest.lock
	$(MAKE) VENV=.venv-lowest LOCK=.lowest.lock check demo
	.venv-lowest/bin/python -m tests.floors

.lowest.lock: pyproject.toml | $(UV)
	$(UV) pip compile --quiet --resolution lowest-direct --universal --python-version 3.11 --generate-hashes --all-extras --no-header pyproject.toml -o $@

# `make check` and the demo on every supported Python. Fails if one fails, or if one is not found; says which.
pythons: $(UV)
	tests/pythons.sh

clean:
	rm -rf .uv .venv .venv-* .lowest.lock mutants
