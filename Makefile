# make demo: set everything up and run the main job. make test: set everything up and pass the tests. No root needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST_ARGS ?= -n auto

.PHONY: demo test lint clean

demo: $(STAMP)
	$(BIN)/python bench/demo.py

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

$(STAMP): pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	    { test -x $(BIN)/python || uv venv --quiet $(VENV); } && \
	    uv pip install --python $(BIN)/python -e '.[compile,test]'; \
	else \
	    { test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); } && \
	    $(BIN)/pip install --disable-pip-version-check -e '.[compile,test]'; \
	fi
	@touch $@

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
