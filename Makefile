# make book and make test do all their own set-up. Python 3.11 or newer; PYTHON=... picks another one.
BIN := .venv/bin
NOTEBOOKS = $(wildcard book/*.ipynb)
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.PHONY: env book test execute check bench clean

env: .venv/installed

# A candidate must run, not only be found: version managers put stubs on the path for Pythons they do not provide.
.venv/installed: requirements.txt requirements-no-deps.txt pyproject.toml
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	    $$python $(NEW_ENOUGH) 2>/dev/null || continue; \
	    echo "Setting up .venv with $$($$python --version)"; \
	    exec $$python -m venv .venv; \
	done; echo "No Python 3.11 or newer with venv found (tried: $(or $(PYTHON),python3.13 ... python3)). Try: make env PYTHON=/path/to/python3" >&2; exit 1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-no-deps.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

book: env
	$(BIN)/python -m tools.build_book

# Two files at a time with a thread each: more threads than cores slow each other down severalfold. The notebooks in their
# order, because the longest do not have the most cells.
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 600 -n 2 --dist loadfile --no-loadscope-reorder $(NOTEBOOKS)

execute: env
	$(BIN)/python -m tools.execute

check: env
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(BIN)/python -m course_lib.grading release --check

bench: env
	$(BIN)/python -m bench

clean:
	rm -rf _build vendor .mypy_cache .pytest_cache .ruff_cache
